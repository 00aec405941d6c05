"""Trains a pruned agent to decide as the full agent does, on whole windows of experience."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.compression.experience import Experience
from seqel.compression.loss import distillation
from seqel.errors import ConfigError, NonFiniteError

__all__ = ["DistillationConfig", "Tell", "distil"]

Tell = Callable[[float, str], None]  # share of the work that is done, a note

WARM = 0.05  # share of the updates in which the learning rate rises
PLAYING = 0.8  # share of the updates during which new episodes are played
ROUNDS = 16  # times that the pruned agent plays


@dataclass(frozen=True, slots=True)
class DistillationConfig:
    """How long and how fast the pruned agent is trained."""

    updates: int = 2_000
    steps: int = 40_000  # environment steps, half of them of the pruned agent
    tokens: int = 1_024  # steps per update
    learning_rate: float = 2e-3  # the largest; it rises first and then falls to 0 as a cosine
    max_grad_norm: float = 1.0  # the largest norm of a gradient

    def __post_init__(self) -> None:
        for name, least in (("updates", 0), ("steps", 1), ("tokens", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if not self.learning_rate > 0.0 or not self.max_grad_norm > 0.0:
            raise ConfigError(
                f"learning_rate, max_grad_norm: expected numbers above 0, got {self.learning_rate} and {self.max_grad_norm}"
            )


def distil(
    full: Agent,
    pruned: Agent,
    experience: Experience,
    temperature: float,
    config: DistillationConfig,
    seed: int,
    tell: Tell | None = None,
) -> float | None:
    """Train `pruned` in place and return the mean loss of the last tenth of the updates; None without updates.

    `experience` holds histories of the full agent; the pruned agent adds `config.steps` / 2 of its own.

    Raises:
        NonFiniteError: the loss is not finite.
    """
    teacher, student = full.network, pruned.network
    device = student.head.scale.device
    optimizer = torch.optim.AdamW(student.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True)
    rng = np.random.default_rng((seed, 2))
    plays = {round(PLAYING * config.updates * part / ROUNDS) for part in range(ROUNDS)}
    last: list[torch.Tensor] = []
    for update in range(config.updates):
        if update in plays:
            experience.play(pruned, -(-config.steps // (2 * len(plays))))
        batch = experience.sample(config.tokens, rng).to(device)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _rate((update + 1) / config.updates)
        with torch.no_grad():
            wanted = teacher(batch)
        loss = distillation(student, student(batch), teacher, wanted, batch, temperature)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(student.parameters(), config.max_grad_norm)
        if not bool(torch.isfinite(norm)):
            raise NonFiniteError(f"distillation: the gradient of update {update} is not finite")
        optimizer.step()
        loss = loss.detach()
        if update >= 0.9 * config.updates:
            last.append(loss)
        if tell is not None and (update + 1) % 10 == 0:
            tell((update + 1) / config.updates, f"{update + 1:,} updates, loss {float(loss):.2g}")
    optimizer.zero_grad(set_to_none=True)
    return float(torch.stack(last).mean()) if last else None


def _rate(progress: float) -> float:
    """Return the factor of the learning rate: a rise, then half a cosine to 0."""
    if progress < WARM:
        return progress / WARM
    return 0.5 * (1.0 + math.cos(math.pi * (progress - WARM) / (1.0 - WARM)))
