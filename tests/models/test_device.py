"""The process's memory."""

from __future__ import annotations

import platform

import psutil
import pytest
import torch

from metier.models.device import give_back_memory, prepare_process


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
