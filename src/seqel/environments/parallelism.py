"""Measures whether parallel environments are faster in one process or in one process each."""

from __future__ import annotations

import os
import time
from typing import Any, Literal

import numpy as np

from seqel.environments.probe import Probe
from seqel.environments.resolve import EnvMaker
from seqel.environments.vector import VectorStream, make_vector
from seqel.spaces import ActionSpec, ObservationSpec

__all__ = ["Mode", "choose_mode", "time_env"]

Mode = Literal["sync", "async", "envpool"]

FAST = 2_000.0  # steps/s of one environment; above this, passing a step to another process takes longer than the step
TRIAL = 1.0  # seconds for which each mode is tried


def choose_mode(make: EnvMaker, probed: Probe, envs: int) -> Mode:
    """Choose "sync" or "async" by trying each for a second, if the environment is slow enough for it to matter.

    Both play the same episodes from the same seeds, so the choice only changes how long a run takes.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if probed.steps_per_second >= FAST or cores < 2 or envs < 2:
        return "sync"
    modes: tuple[Mode, ...] = ("sync", "async")
    speed = {
        mode: time_env(make, probed.observation, probed.action, envs, mode, TRIAL)["steps_per_s"] for mode in modes
    }
    return max(modes, key=lambda mode: speed[mode])


def time_env(
    make: EnvMaker, spec: ObservationSpec, action: ActionSpec, envs: int, mode: Mode, seconds: float
) -> dict[str, Any]:
    """Take random actions in `envs` copies for `seconds` and return the environment steps per second, resets included."""
    stream = VectorStream(make_vector(make, envs, mode), spec, action)
    rng = np.random.default_rng(0)
    try:
        stream.reset([None] * envs)
        steps, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            allowed = stream.unmasked() if stream.mask is None else stream.mask
            chosen = np.argmax(np.where(allowed, rng.random(allowed.shape), -1.0), axis=-1)
            outcome = stream.step(chosen)
            steps += int(outcome.stepped.sum())
            if stream.seedable and outcome.ended.any():
                stream.reset([None] * envs, outcome.ended)
        return {"steps_per_s": steps / (time.perf_counter() - began), "mode": mode, "environments": envs}
    finally:
        stream.close()
