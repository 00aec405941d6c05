"""Training on perturbed episodes: what the replay holds and validation shows, what is refused, and that it helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import seqel
from seqel.errors import ConfigError
from seqel.robustness import perturbation_curve
from seqel.training.config import preset
from seqel.training.online.trainer import OnlineTrainer
from support import TINY


class Clock(gym.Env[Any, Any]):
    """Shows the time of seven steps, as a share; the reward is 1 for the action that is the parity of the time."""

    observation_space, action_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        reward = float(action == self.time % 2)
        self.time += 1
        return np.array([self.time / 7], np.float32), reward, self.time == 7, False, {}


def trainer(**settings: Any) -> OnlineTrainer:
    return OnlineTrainer(preset("default", **TINY, **{"network.context": 7, **settings}), Clock)


def replayed(one: OnlineTrainer, rounds: int = 200) -> set[tuple[float, ...]]:
    """The different episodes that are stored, as what they showed."""
    one.begin()
    for _ in range(rounds):
        one.collect()
    batch = one.replay.sample(200, window=7, context=7, discount=1.0, rng=np.random.default_rng(0))
    return {tuple(np.round(row * 7, 3)) for row in batch.observation["observation"][:, :, 0].numpy().astype(float)}


def test_half_of_the_episodes_of_training_and_validation_are_perturbed() -> None:
    clean = tuple(float(t) for t in range(8))
    late = (0.0, *clean[:-1])
    plain, perturbed = trainer(), trainer(perturb=("delay:1",))
    assert replayed(plain) == {clean}
    assert replayed(perturbed) == {clean, late}
    seen: list[Any] = []
    act = perturbed.challenger.act

    def watch(observation: Any, *arguments: Any, **more: Any) -> Any:
        seen.append(np.round(observation["observation"][:, 0] * 7).tolist())
        return act(observation, *arguments, **more)

    perturbed.challenger.act = watch  # type: ignore[method-assign]
    perturbed.validate(40)
    shown = {tuple(row) for row in np.array(seen[:7]).T.tolist()}  # of the first episode of each environment
    assert shown == {clean[:-1], late[:-1]}
    plain.close()
    perturbed.close()


def test_what_cannot_be_perturbed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="typos changes leaves of the kinds"):
        trainer(perturb=("typos:0.1",))
    with pytest.raises(ConfigError, match="perturb: expected one of"):
        trainer(perturb=("gremlins:0.1",))
    with pytest.raises(ConfigError, match="envpool's environments cannot be wrapped"):
        OnlineTrainer(preset("default", **TINY | {"vectorization": "envpool", "perturb": ("delay:1",)}), Clock)
    table = tmp_path / "table.csv"
    table.write_text("session,x,action,reward\n" + "".join(f"{n // 3},{n},{n % 2},1\n" for n in range(30)))
    schema = tmp_path / "schema.toml"
    schema.write_text(
        'session = "session"\naction = "action"\nactions = ["0", "1"]\nreward = "reward"\n[observation]\nx = "number"\n'
    )
    with pytest.raises(ConfigError, match="perturb: changes what environments show"):
        seqel.train(data=table, schema=schema, settings={"perturb": ("delay:1",)}, out=tmp_path / "run", progress=False)


@pytest.mark.slow
def test_an_agent_that_trained_with_late_observations_turns_at_the_junction_in_time(tmp_path: Path) -> None:
    """T-Maze of 10 steps: one step of delay hides the junction from an agent that turns when it sees it."""
    found = []
    for perturb in ((), ("delay:2",)):
        settings = {"perturb": perturb, "threads": 1, "device": "cpu", "validation.every": 1_000}
        agent = seqel.train(
            "seqel/TMaze10-v0", steps=8_000, seed=0, settings=settings, out=tmp_path / str(len(perturb)), progress=False
        )
        curve = perturbation_curve(agent, "seqel/TMaze10-v0", "delay", [0.0, 1.0, 2.0], episodes=50)
        found.append([one.mean for one in curve.evaluations])
    assert found[0][0] > 0.95 and found[1][0] > 0.95
    assert found[0][1] < 0.5 and min(found[1][1:]) > 0.9
