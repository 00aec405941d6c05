"""Randomly perturbed episodes: which are perturbed and how strongly, that seeds decide it, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.environments.vector import make_vector
from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.robustness.leaves import LeafScale, leaf_scales
from seqel.robustness.randomised import RandomlyPerturbedEnv, parse_strongest, randomly_perturbed
from seqel.spaces import ActionSpec, ObservationSpec

SENTENCE, CHARACTERS = "please help the customer", "abcdefghijklmnopqrstuvwxyz "


class World(gym.Env[Any, Any]):
    """Counts its steps in a number from 0 to 10 and says a sentence."""

    observation_space = gym.spaces.Dict(
        {
            "number": gym.spaces.Box(0.0, 10.0, (1,), np.float32),
            "text": gym.spaces.Text(60, min_length=0, charset=CHARACTERS),
        }
    )
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return self._see(), {}

    def step(self, action: int) -> Any:
        self.time += 1
        return self._see(), 0.0, self.time == 10, False, {}

    def _see(self) -> Any:
        return {"number": np.array([self.time], np.float32), "text": SENTENCE}


def scales_of(space: Any) -> list[LeafScale]:
    net = QNetwork(
        NetworkConfig(width=16, heads=2, layers=1, context=2), ObservationSpec.from_space(space), ActionSpec((2,), (0,))
    )
    return list(leaf_scales(net).values())


SCALES = scales_of(World.observation_space)


def episodes(
    strongest: list[tuple[str, float]], count: int, seed: int = 0
) -> list[tuple[str, float, list[float], str]]:
    """Kind, strength, numbers that are shown, and the last sentence of each episode."""
    env = randomly_perturbed(World, strongest, SCALES, seed)()
    assert isinstance(env, RandomlyPerturbedEnv)
    found = []
    for episode in range(count):
        shown = [env.reset(seed=episode)[0], *(env.step(0)[0] for _ in range(6))]
        numbers = [float(one["number"][0]) for one in shown]
        found.append((env.perturbation.name, env.perturbation.strength, numbers, shown[-1]["text"]))
    return found


def test_half_of_the_episodes_are_clean_and_strengths_are_uniform_below_the_largest() -> None:
    found = episodes([("typos", 0.2), ("noise", 0.1)], 600)
    strengths = np.array([strength for _, strength, _, _ in found])
    assert (strengths == 0).mean() == pytest.approx(0.5, abs=0.07)
    assert all(numbers == list(range(7)) and text == SENTENCE for _, s, numbers, text in found if s == 0)
    for kind, largest in (("typos", 0.2), ("noise", 0.1)):
        some = np.array([s for name, s, _, _ in found if name == kind and s > 0])
        assert len(some) > 100 and some.max() <= largest
        assert some.mean() == pytest.approx(largest / 2, rel=0.15) and some.std() == pytest.approx(
            largest / 12**0.5, rel=0.15
        )
    assert any(text != SENTENCE for name, s, _, text in found if name == "typos" and s > 0.05)
    assert all(text == SENTENCE for name, _, _, text in found if name == "noise"), "one kind at a time"


def test_a_delay_is_a_whole_number_of_steps_up_to_the_largest() -> None:
    found = episodes([("delay", 3.0)], 300)
    counts = Counter(strength for _, strength, _, _ in found)
    assert set(counts) == {0.0, 1.0, 2.0, 3.0}
    assert min(counts[one] for one in (1.0, 2.0, 3.0)) > 25
    assert all(numbers == [max(0, t - s) for t in range(7)] for _, s, numbers, _ in found)


def test_the_seed_of_an_episode_and_of_the_run_decide_how_it_is_perturbed() -> None:
    kinds = [("noise", 0.5), ("repeat", 0.5)]
    assert episodes(kinds, 20) == episodes(kinds, 20)
    assert episodes(kinds, 20) != episodes(kinds, 20, seed=1)
    env = randomly_perturbed(World, kinds, SCALES)()
    env.reset(seed=7)
    env.reset(seed=3)  # an episode before does not matter
    shown = [float(env.step(0)[0]["number"][0]) for _ in range(6)]
    assert shown == episodes(kinds, 4)[3][2][1:]


def test_parallel_environments_have_perturbations_of_their_own_in_processes_as_well() -> None:
    make = randomly_perturbed(World, [("noise", 0.5), ("typos", 0.5)], SCALES)
    played = []
    for mode in ("sync", "async"):
        envs: Any = make_vector(make, 3, mode)
        shown = [envs.reset(seed=[1, 2, 5])[0], *(envs.step(np.zeros(3, np.int64))[0] for _ in range(4))]
        played.append([(one["number"].copy().tolist(), list(one["text"])) for one in shown])
        envs.close()
    assert played[0] == played[1]
    last, said = zip(*((numbers, texts) for numbers, texts in played[0]), strict=True)
    assert any(text != SENTENCE for texts in said for text in texts) and len({str(rows) for rows in last}) == 5


def test_entries_are_read_and_wrong_ones_are_refused() -> None:
    assert parse_strongest(["typos:0.1", "delay: 2"]) == [("typos", 0.1), ("delay", 2.0)]
    for wrong, why in (
        ("gremlins:1", "expected one of"), ("pgd:0.1", "expected one of"), ("typos", "number above 0"),
        ("typos:0", "number above 0"), ("typos:nan", "number above 0"), ("typos:inf", "number above 0"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=why):
            parse_strongest([wrong])
    with pytest.raises(ConfigError, match="typos twice"):
        parse_strongest(["typos:0.1", "typos:0.2"])


def test_what_cannot_be_perturbed_is_refused() -> None:
    with pytest.raises(ConfigError, match="drop: expected a number from 0 to 1"):
        randomly_perturbed(World, [("drop", 2.0)], SCALES)
    with pytest.raises(ConfigError, match="whole number"):
        randomly_perturbed(World, [("delay", 1.5)], SCALES)
    with pytest.raises(ConfigError, match="occlusion changes leaves"):
        randomly_perturbed(World, [("occlusion", 0.1)], SCALES)


@pytest.mark.parametrize("kind", ["noise", "drop"])
def test_the_spread_of_numbers_without_bounds_is_not_known_before_training(kind: str) -> None:
    free = scales_of(gym.spaces.Box(np.array([0.0, -np.inf], np.float32), np.array([1.0, np.inf], np.float32)))
    with pytest.raises(ConfigError, match=r"learner\.observation_noise or network\.step_dropout"):
        randomly_perturbed(World, [(kind, 0.1)], free)
    randomly_perturbed(World, [("repeat", 0.1), ("delay", 1.0)], free)  # these need no scale
