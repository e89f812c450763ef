"""What a plan runs on: accelerators by name, or this machine as measured."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import yaml

from metier.errors import MetierError, nearest

THIS_MACHINE = "this-machine"
SHARE = 102 / 312  # of its peak that an A100 reached in BloombergGPT's training (Wu et al. 2023, section 3.4)
USABLE = 0.9  # of a device's memory; the rest is for the runtime, buffers of communication and fragments


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One kind of device and how many. Each figure has a ``…_source``: catalogue, measured, given or assumed."""

    name: str
    tflops: float
    """Sustained in training on one device, recomputed passes counted."""
    tflops_source: str
    memory_gb: float
    devices: int = 1
    shard: int = 1
    """Devices that weights, gradients and optimizer are spread over (FSDP, ZeRO-3)."""
    compute_bytes: int = 2
    """Of a number in forward and backward passes: 2 for bf16, 4 for fp32."""
    watts: float | None = None
    watts_source: str = ""
    dollars_per_hour: float | None = None
    price_source: str = ""
    seconds_per_step: float | None = None
    assumed: bool = False

    @property
    def usable_bytes(self) -> float:
        """Of one device's memory."""
        return USABLE * self.memory_gb * 2**30

    @property
    def flops(self) -> float:
        """FLOP/s of all devices together."""
        return self.tflops * 1e12 * self.devices

    def spread(self, devices: int) -> Hardware:
        """The same devices in another number, everything spread over all of them."""
        return replace(self, devices=devices, shard=devices)


@dataclass(frozen=True, kw_only=True)
class HardwareChoice:
    """What is known of the hardware; None is as in the catalogue."""

    device: str | None = None
    devices: int = 1
    shard: int | None = None
    tflops: float | None = None
    memory_gb: float | None = None
    watts: float | None = None
    dollars_per_hour: float | None = None
    seconds_per_step: float | None = None


@functools.cache
def catalogue() -> dict[str, dict[str, Any]]:
    """The accelerators known by name, as in ``hardware.yaml``."""
    text = resources.files("metier.planning").joinpath("hardware.yaml").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return entries


def names() -> list[str]:
    """What ``device`` may be."""
    return [THIS_MACHINE, *catalogue()]


def accelerator(name: str) -> Hardware:
    """One accelerator of the catalogue, at the share of its peak that is usual.

    Errors: :class:`MetierError` for an unknown name, with the nearest.
    """
    if name not in catalogue():
        raise MetierError(f"there is no accelerator '{name}'", where="hardware.device", fix=nearest(name, names()))
    entry = catalogue()[name]
    return Hardware(
        name=name,
        tflops=entry["tflops"] * SHARE,
        tflops_source=f"assumed: {SHARE:.1%} of {entry['tflops']} TFLOP/s ({entry['source']}), as BloombergGPT's "
        "102 of 312",
        memory_gb=entry["memory_gb"],
        watts=entry["watts"],
        watts_source=f"board power limit, {entry['source']}",
        dollars_per_hour=entry.get("dollars_per_hour"),
        price_source=entry.get("price", ""),
    )


def resolve(choice: HardwareChoice, machine: Hardware | None, *, usual: str) -> Hardware:
    """The hardware of a plan: a name, ``usual`` if none, with what the choice says in place of the catalogue's.

    Args:
        choice: what the user says.
        machine: this machine as measured; needed where the plan is for it.
        usual: the device where none is named.

    Errors: :class:`MetierError` for an unknown device, for a rate that is not known, or a shard that does not divide.
    """
    name = choice.device or usual
    if name == THIS_MACHINE:
        if machine is None:
            raise MetierError(
                "the speed of this machine's device is not measured", where="hardware.tflops",
                fix="give tflops, or another device",
            )  # fmt: skip
        found = machine
    else:
        found = accelerator(name)
    shard = choice.shard or choice.devices
    if choice.devices % shard:
        raise MetierError(
            f"{choice.devices} devices cannot be grouped by {shard}",
            where="hardware.shard",
            fix="use a divisor of devices",
        )
    given: dict[str, Any] = {"devices": choice.devices, "shard": shard, "assumed": choice.device is None}
    for field, source in (
        ("tflops", "tflops_source"), ("memory_gb", None), ("watts", "watts_source"),
        ("dollars_per_hour", "price_source"), ("seconds_per_step", None),
    ):  # fmt: skip
        value = getattr(choice, field)
        if value is not None:
            given[field] = value
            if source:
                given[source] = "given"
    return replace(found, **given)
