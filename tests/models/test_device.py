"""The process's memory."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil
import pytest
import torch

from metier.models.device import _cpu_name, give_back_memory, prepare_process


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
