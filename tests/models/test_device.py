"""The process's memory, and the number format of a device."""

from __future__ import annotations

import platform
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from metier.models import device
from metier.models.device import _cpu_name, give_back_memory, prepare_process, widest


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_buffers_go_back_to_the_system() -> None:
    prepare_process("cpu")
    process = psutil.Process()
    buffers = [torch.ones(1 << 20) for _ in range(64)]  # 4 MB each
    last = torch.ones(1 << 20)  # keeps the heap from shrinking by itself
    del buffers
    held = process.memory_info().rss
    assert not give_back_memory(share=1.0)  # a small process keeps what it has
    assert give_back_memory(share=0.0)
    assert held - process.memory_info().rss > 128 << 20
    assert last.sum() == 1 << 20


def test_a_processor_is_named_by_its_kind_too(tmp_path: Path) -> None:
    # two generations of one maker's processors call themselves the same in a virtual machine
    file = tmp_path / "cpuinfo"
    first = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n"
    file.write_text(first + "\nprocessor\t: 1\nmodel name\t: another\n")
    assert _cpu_name(file) == "AMD EPYC (family 26, model 2)"
    file.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert _cpu_name(file) == (platform.processor() or platform.machine())
    assert _cpu_name(tmp_path / "absent") == _cpu_name(file)


def test_an_older_allocator_gets_the_largest_threshold_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[int, int] = {}

    def mallopt(option: int, value: int) -> int:
        if option == -3 and value > 32 << 20:
            return 0
        settings[option] = value
        return 1

    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.28"))
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    prepare_process("cpu")
    assert settings[-3] == 32 << 20


def test_sums_are_taken_in_the_widest_format_that_a_device_has() -> None:
    assert widest(torch.device("cpu")) == widest(torch.device("cuda")) == torch.float64
    assert widest(torch.device("mps")) == torch.float32


@pytest.mark.parametrize(
    ("instructions", "rates", "chosen"),
    [
        ({"avx512_bf16": True}, (82.0, 9.0), "bfloat16"),  # another program was running
        ({"amx_bf16": True}, (300.0, 310.0), "bfloat16"),
        ({"avx2": True}, (82.0, 9.0), "float32"),
        ({}, (82.0, 200.0), "bfloat16"),
    ],
)
def test_a_busy_moment_changes_no_number_format(
    monkeypatch: pytest.MonkeyPatch, instructions: dict[str, bool], rates: tuple[float, float], chosen: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    monkeypatch.setattr(device, "_rates", lambda: rates)
    assert device.choose_device("cpu").dtype == chosen
    assert device.choose_device("cpu", "float32").dtype == "float32"
