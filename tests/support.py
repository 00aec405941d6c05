"""Helpers shared by several tests: networks with nonzero weights, batches, and a scripted environment."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.runs import folder, plots
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.types import SequenceBatch

SPACE = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)

# a run of seconds
TINY: dict[str, Any] = {
    "network.width": 16, "network.heads": 2, "network.layers": 1, "threads": 1, "device": "cpu", "environments": 4,
    "validation.every": 300, "validation.episodes": 4, "replay.learning_starts": 100, "replay.replay_ratio": 1.0,
    "replay.batch_tokens": 64, "log_every": 100, "vectorization": "sync",
}  # fmt: skip
MAZE = "seqel/TMaze10-v0"


@contextmanager
def curves_drawn() -> Iterator[None]:
    """Let runs draw their learning curves, which the tests otherwise leave out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "draw_curve", plots.draw_curve)
        yield


def names(directory: Path) -> list[str]:
    """Return the names of what is in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Limit the size of files of this process to `size` bytes in the kernel, which acts like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def network(actions: int | ActionSpec = 3, std: float = 0.3, **settings: Any) -> QNetwork:
    """Make a small network with random weights everywhere, including the (otherwise zero) head."""
    torch.manual_seed(0)
    config = NetworkConfig(**{"width": 16, "heads": 2, "layers": 2, "context": 5, **settings})
    spec = actions if isinstance(actions, ActionSpec) else ActionSpec((actions,), (0,))
    net = QNetwork(config, ObservationSpec.from_space(SPACE), spec)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * std)
    return net.eval()


def batch(rows: int = 2, steps: int = 12, actions: int = 3, start: int = 0, seed: int = 0) -> SequenceBatch:
    """Make random windows, all valid; the first step is an episode's first if `start` is 0."""
    rng = torch.Generator().manual_seed(seed)
    first = torch.zeros(rows, steps + 1, dtype=torch.bool)
    first[:, 0] = start == 0
    return SequenceBatch(
        observation={"observation": torch.randn(rows, steps + 1, 3, generator=rng)},
        action=torch.randint(actions, (rows, steps, 1), generator=rng),
        reward=torch.randn(rows, steps, generator=rng),
        discount=torch.full((rows, steps), 0.9),
        is_first=first,
        valid=torch.ones(rows, steps, dtype=torch.bool),
        loss_mask=torch.ones(rows, steps, dtype=torch.bool),
        start_step=torch.full((rows,), start),
        previous_action=torch.randint(actions, (rows, 1), generator=rng),
        previous_reward=torch.randn(rows, generator=rng),
        num_learned=rows * steps,
    )


def step_through(net: QNetwork, windows: SequenceBatch, state: Any = None) -> torch.Tensor:
    """Compute q of every step, one step at a time with the cache.  -> (B, T+1, M, A)."""
    rows, steps = windows.is_first.shape
    state = net.initial_state(rows) if state is None else state
    found = []
    with torch.no_grad():
        for t in range(steps):
            previous = windows.action[:, t - 1] if t else windows.previous_action
            reward = windows.reward[:, t - 1] if t else windows.previous_reward
            net.trunk.reset(state, windows.is_first[:, t])
            seen = {path: leaf[:, t] for path, leaf in windows.observation.items()}
            out, state = net.step(seen, previous, reward, windows.is_first[:, t], state)
            found.append(out.q)
    return torch.stack(found, dim=1)


def same_q(one: torch.Tensor, other: torch.Tensor) -> None:
    """Assert equality as rule 1 defines it: |dq| <= 1e-5 * max(1, |q|), and equal greedy actions."""
    worst = ((one - other).abs() / other.abs().clamp(min=1.0)).max()
    assert worst <= 1e-5, f"largest difference {worst:.2e}"
    assert (one.argmax(-1) == other.argmax(-1)).all()


def play(env: Any, choose: Callable[[list[Any]], int], **reset: Any) -> tuple[list[float], list[Any], dict[str, Any]]:
    """Return the rewards, observations and last info of one episode; `choose` gets the observations so far."""
    info: dict[str, Any] = {}
    seen, rewards, terminated = [env.reset(**reset)[0]], [], False
    while not terminated:
        observation, reward, terminated, truncated, info = env.step(choose(seen))
        assert not truncated and env.observation_space.contains(observation)
        assert terminated or info == {}
        seen.append(observation)
        rewards.append(reward)
    return rewards, seen, info


class Dials(gym.Env[Any, np.ndarray]):
    """Two actions at once, of 3 and 2 values that count from 0 and from 5, with a mask of its own for each.

    Fails at an action that its masks forbid. Episodes last 9 steps; the reward is the share of actions that are the largest
    allowed. `form`: how masks are reported, "tuple", "padded", "end to end", "observation" or "none".
    """

    def __init__(self, form: str = "tuple") -> None:
        self.form, self.time = form, 0
        self.action_space = gym.spaces.MultiDiscrete([3, 2], start=[0, 5])
        seen = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        masks = gym.spaces.Tuple([gym.spaces.MultiBinary(3), gym.spaces.MultiBinary(2)])
        together = gym.spaces.Dict({"seen": seen, "action_mask": masks})
        self.observation_space: gym.Space[Any] = together if form == "observation" else seen

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return self._see()

    def _see(self) -> Any:
        self.masks = [self._draw(size) for size in (3, 2)]
        seen = np.array([self.time, *self.np_random.random(2)], np.float32)
        masks = tuple(mask.astype(np.int8) for mask in self.masks)
        if self.form == "observation":
            return {"seen": seen, "action_mask": masks}, {}
        padded = np.stack([np.pad(mask, (0, 3 - len(mask))) for mask in self.masks])
        known: dict[str, Any] = {"tuple": masks, "padded": padded, "end to end": np.concatenate(masks)}
        return seen, {} if self.form == "none" else {"action_mask": known[self.form]}

    def _draw(self, size: int) -> np.ndarray:
        mask = self.np_random.random(size) < 0.5
        mask[self.np_random.integers(size)] = True
        return mask | (self.form == "none")

    def step(self, action: np.ndarray) -> Any:
        if action.dtype != np.int64 or not self.action_space.contains(action):
            raise ValueError(f"no action: {action!r}")
        codes = action - [0, 5]
        if not all(mask[code] for mask, code in zip(self.masks, codes, strict=True)):
            raise ValueError(f"forbidden: {codes} of {self.masks}")
        best = [int(np.flatnonzero(mask)[-1]) for mask in self.masks]
        self.time += 1
        observation, info = self._see()
        return observation, float(np.mean(codes == best)), self.time == 9, False, info


class Scripted(gym.Env[Any, Any]):
    """A deterministic environment: the observation is (environment, episode, step), the reward encodes step and action.

    Episode e lasts 3 + e % 4 steps; every third one is truncated instead of terminated. Seeds have no effect.
    """

    observation_space = SPACE
    action_space = gym.spaces.Discrete(3)
    made = 0

    def __init__(self, number: int = 0) -> None:
        self.number, self.episode, self.time = number, -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self._see(), {}

    def _see(self) -> np.ndarray:
        return np.array([self.number, self.episode, self.time], np.float32)

    def step(self, action: int) -> Any:
        reward = 10.0 * self.time + float(action)
        self.time += 1
        over = self.time >= 3 + self.episode % 4
        cut = self.episode % 3 == 2
        return self._see(), reward, over and not cut, over and cut, {}


class Walk(gym.Env[Any, Any]):
    """Random observations from the seed; 3 to 7 steps; odd seeds are truncated; the reward is the action plus 0.5."""

    observation_space, action_space = SPACE, gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.left, self.odd = 3 + (seed or 0) % 5, bool((seed or 0) % 2)
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action: int) -> Any:
        self.left -= 1
        over, seen = self.left == 0, self.np_random.normal(size=3).astype(np.float32)
        return seen, float(action) + 0.5, over and not self.odd, over and self.odd, {}
