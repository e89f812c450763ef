"""What this machine has, and what will be used of it and why."""

from __future__ import annotations

import ctypes
import functools
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from metier.errors import MetierError

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True)
class Device:
    """Where and in which number format a model runs. ``gflops`` are measured on this machine, 0 if not."""

    device: str
    dtype: str
    why: str
    threads: int
    cpu: str
    memory_gb: float
    gflops: float

    @property
    def torch_dtype(self) -> torch.dtype:
        """The number format as torch names it."""
        return DTYPES[self.dtype]

    def to_json(self) -> dict[str, object]:
        """For the manifest."""
        return asdict(self)


def widest(device: torch.device) -> torch.dtype:
    """The most exact number format of a device: MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def prepare_process(device: str) -> None:
    """Settings of the whole process: the allocator's thresholds, and the same result every time."""
    if device == "cpu":
        _keep_large_buffers()
    torch.use_deterministic_algorithms(True, warn_only=device != "cpu")
    # otherwise every new tensor is filled before it is written: a few percent of the time, for reading none unwritten
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _keep_large_buffers() -> None:
    """Tell glibc to reuse large buffers: mapping and faulting them in anew costs up to two thirds of the time."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_threshold, top_pad = -1, -3, -2
    # older releases refuse more than 32 MB (mallopt(3)); with the next option their threshold would stay at 128 KB
    if not libc.mallopt(mmap_threshold, 1 << 30):
        libc.mallopt(mmap_threshold, 32 << 20)
    libc.mallopt(trim_threshold, (1 << 31) - 1)
    libc.mallopt(top_pad, 64 << 20)


def give_back_memory(share: float = 0.25) -> bool:
    """Return the allocator's free pages to the system, if this process holds more than ``share`` of all memory.

    Batches of ever other shapes leave holes between the large buffers that are kept: a training whose steps need 3 GB
    came to hold 9. To fault the pages in again costs less than a second, so it is done now and then, not every step.
    """
    import psutil

    if platform.libc_ver()[0] != "glibc" or psutil.Process().memory_info().rss < share * psutil.virtual_memory().total:
        return False
    return bool(ctypes.CDLL(None).malloc_trim(0))


def choose_device(device: str = "auto", dtype: str = "auto") -> Device:
    """Find the device, and whether bfloat16 pays on it: by its instructions, or else as measured.

    A processor with such instructions takes it whatever else runs beside the measurement, so that the same recipe gives
    the same bytes there.

    Errors: :class:`MetierError` for a device that is not there or an unknown number format.
    """
    if dtype not in ("auto", *DTYPES):
        raise MetierError(f"unknown dtype '{dtype}'", fix=f"use auto, {', '.join(DTYPES)}")
    name = _available(device)
    threads = torch.get_num_threads()
    if name != "cpu":
        chosen = dtype if dtype != "auto" else ("bfloat16" if name == "cuda" else "float32")
        why = "asked for" if dtype != "auto" else f"the usual format on {name}"
        return Device(name, chosen, why, threads, _cpu_name(), _memory_gb(), 0.0)
    slow, fast = _rates()
    if dtype != "auto":
        chosen, why = dtype, f"asked for (measured: float32 {slow:.0f}, bfloat16 {fast:.0f} GFLOP/s)"
    elif _multiplies_bfloat16() or fast > 1.3 * slow:
        chosen, why = "bfloat16", f"bfloat16 matmuls run at {fast:.0f} GFLOP/s here, float32 at {slow:.0f}"
    else:
        chosen, why = (
            "float32",
            f"bfloat16 does not pay here: {fast:.0f} against {slow:.0f} GFLOP/s in float32",
        )
    return Device(name, chosen, why, threads, _cpu_name(), _memory_gb(), fast if chosen == "bfloat16" else slow)


def _available(device: str) -> str:
    found = {"cpu"}
    if torch.cuda.is_available():
        found.add("cuda")
    if torch.backends.mps.is_available():
        found.add("mps")
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if name in found)
    if device not in found:
        raise MetierError(f"device '{device}' is not on this machine", fix=f"use auto or {', '.join(sorted(found))}")
    return device


def _multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for it: AVX-512 BF16 or AMX."""
    # an older torch does not say: it is measured then
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


@functools.cache
def _rates() -> tuple[float, float]:
    """GFLOP/s of float32 and of bfloat16 matmuls; without bfloat16 instructions a small one already tells."""
    if not _multiplies_bfloat16():
        few = _gflops(torch.bfloat16, rows=32, repeats=2)
        if few < 0.5 * _gflops(torch.float32, rows=32, repeats=2):
            return _gflops(torch.float32), few
    return _gflops(torch.float32), _gflops(torch.bfloat16)


def _gflops(dtype: torch.dtype, *, rows: int = 2048, repeats: int = 3) -> float:
    """Best rate of a matmul shaped like a small model's feed-forward layer, in GFLOP/s."""
    left, right = torch.ones(rows, 576, dtype=dtype), torch.ones(576, 1536, dtype=dtype)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(4):
            left @ right
        best = min(best, time.perf_counter() - start)
    return 4 * 2 * rows * 576 * 1536 / best / 1e9


def _cpu_name(place: Path = Path("/proc/cpuinfo")) -> str:
    """Such as "AMD EPYC (family 26, model 2)": virtual machines often leave the model out of the name."""
    try:
        lines = place.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.processor() or platform.machine()
    kind = [f"{what.removeprefix('cpu ')} {facts[what]}" for what in ("cpu family", "model") if what in facts]
    return f"{name} ({', '.join(kind)})" if kind else name


def _memory_gb() -> float:
    import psutil

    total: int = psutil.virtual_memory().total
    return round(total / 2**30, 1)
