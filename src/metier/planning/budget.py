"""What may be spent, and what it pays for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metier.errors import MetierError
from metier.planning.hardware import Hardware
from metier.planning.laws import RECOMPUTE

Kind = Literal["gpu_hours", "flops", "dollars", "hours"]
UNITS = {"gpu_hours": "GPU-hours", "flops": "FLOPs", "dollars": "dollars", "hours": "hours"}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """GPU-hours, training FLOPs (6·N·D), dollars or hours until a deadline; ``reserve`` is a share kept back."""

    kind: Kind
    amount: float
    reserve: float = 0.0

    @property
    def unit(self) -> str:
        """In words."""
        return UNITS[self.kind]

    def device_hours(self, hardware: Hardware) -> float:
        """Hours of one device, all that the budget pays for.

        Errors: :class:`MetierError` for dollars where no price is known.
        """
        if self.kind == "gpu_hours":
            return self.amount
        if self.kind == "hours":
            return self.amount * hardware.devices
        if self.kind == "flops":
            return self.amount / (hardware.tflops * 1e12) / 3600
        if hardware.dollars_per_hour is None:
            raise MetierError(
                f"no price of {hardware.name} is known",
                where="hardware.dollars_per_hour",
                fix="give dollars_per_hour, what one device costs an hour",
            )
        return self.amount / hardware.dollars_per_hour

    def training_flops(self, hardware: Hardware, *, checkpointing: bool) -> float:
        """C as the laws count it, the reserve kept back.

        With activation checkpointing a quarter of the hours goes into running layers again (the 0.75 of Wu et al.
        2023, section 3.2).
        """
        if self.kind == "flops":
            return self.amount * (1 - self.reserve)
        paid = self.device_hours(hardware) * 3600 * hardware.tflops * 1e12
        return paid * (1 - self.reserve) / (RECOMPUTE if checkpointing else 1)

    def formula(self, *, checkpointing: bool) -> str:
        """How the training FLOPs follow."""
        kept = f"·(1 − {self.reserve:g})" if self.reserve else ""
        if self.kind == "flops":
            return f"the budget{kept}" if kept else "the budget itself"
        hours = {"gpu_hours": "GPU-hours", "hours": "hours·devices", "dollars": "dollars / price"}[self.kind]
        return f"{hours}·3600·rate{kept}" + ("·0.75" if checkpointing else "")
