"""What this processor (or GPU) can do that decides the speed of a run: instruction sets, cores, bf16; and how busy it is."""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from seqel.training.hardware.threads import available_cores

__all__ = ["busy", "describe_processor", "float32_speed", "has_bf16", "instructions", "slow_bf16"]

# the instruction sets that matter for matrix products, by their names in `torch.cpu.get_capabilities`
INSTRUCTIONS = {
    "avx2": "AVX2", "avx512_f": "AVX-512", "avx512_bf16": "AVX-512 bf16", "amx_bf16": "AMX bf16",
    "neon": "NEON", "sve": "SVE", "bf16": "bf16", "sve_bf16": "SVE bf16",
}  # fmt: skip
BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # any of these; "bf16" is ARM's
SIDE = 512  # of the square matrices that are multiplied to measure the speed


def instructions() -> list[str]:
    """Return the instruction sets of this processor that matter, the oldest first."""
    found = torch.cpu.get_capabilities()
    return [said for name, said in INSTRUCTIONS.items() if found.get(name)]


def has_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 numbers by instructions of its own. Only CPUs and CUDA are asked."""
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return any(bool(found.get(name)) for name in BF16)
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def slow_bf16(device: torch.device) -> str | None:
    """Return why `learner.precision = 'bf16'` makes no update faster on the device, and the way out; None: it may."""
    if has_bf16(device):
        return None
    needed, here = "bf16 instructions (avx512_bf16 or amx_bf16; bf16 on ARM)", ", ".join(instructions()) or "none known"
    if device.type == "cuda":
        needed, here = "bf16 units", torch.cuda.get_device_name(device)
    return (
        f"learner.precision: 'bf16' is faster only with {needed}, which this processor ({here}) lacks: an update would take "
        "as long as in float32 or longer, 8 times as long with AVX2. Set learner.precision = 'float32'"
    )


def float32_speed(repeats: int = 5) -> float:
    """Return the GFLOP/s of a square matrix product in float32, with torch's threads; the best of a few. Takes 0.03 s."""
    a, best = torch.randn(SIDE, SIDE), float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - began)
    return 2 * SIDE**3 / 1e9 / best


def describe_processor(device: torch.device) -> dict[str, Any]:
    """Return what the device can do, as figures, and as one line under "says"."""
    cores, threads, speed, bf16 = available_cores(), torch.get_num_threads(), float32_speed(), has_bf16(device)
    names = instructions()
    where = f"{', '.join(names) or 'no known instruction sets'}; {cores} {'core' if cores == 1 else 'cores'}"
    where += f"; {speed:,.0f} GFLOP/s in float32 with {threads} {'thread' if threads == 1 else 'threads'}"
    if device.type == "cuda":
        where += f"; {torch.cuda.get_device_name(device)}"
    may = "learner.precision = 'bf16' may make updates faster" if bf16 else "learner.precision = 'bf16' would not help"
    return {
        "instructions": names, "cores": cores, "float32_gflop_per_s": speed, "bf16": bf16,
        "says": f"{where}; {'bf16' if bf16 else 'no bf16'}: {may}",
    }  # fmt: skip


def busy(threads: int) -> str | None:
    """Return that other processes leave less than `threads` cores of this machine free, so that times are too long.

    None: there is room for them, or the system does not tell. Ask before the work begins, which is load as well.
    """
    if not hasattr(os, "getloadavg"):
        return None
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load + threads <= cores + 0.5:  # half a process is often what has just ended
        return None
    return (
        f"the machine is busy (load {load:.1f} in the last minute, on {cores} {'core' if cores == 1 else 'cores'}): "
        "these times are longer than on a free machine"
    )
