"""Perturbations: nothing at strength 0, the amount that they promise above it, the same for the same seed."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.evaluation.recording import play_recorded
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.robustness.attacks import AttackedAgent
from seqel.robustness.curve import area, area_interval, parse_perturbation, perturbation_curve
from seqel.robustness.leaves import LeafScale, leaf_scales, replaced
from seqel.robustness.perturbation import PerturbedEnv, perturbed
from seqel.robustness.registry import ATTACKS, KINDS, PERTURBATIONS
from seqel.robustness.wording import SYNONYMS
from seqel.spaces import ActionSpec, ObservationSpec

SPACE = gym.spaces.Dict({
    "numbers": gym.spaces.Box(np.array([-np.inf, 0.0], np.float32), np.array([np.inf, 4.0], np.float32)),
    "picture": gym.spaces.Box(0, 255, (24, 24, 3), np.uint8),
    "code": gym.spaces.Discrete(5, start=2),
    "text": gym.spaces.Text(60, min_length=0, charset="abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
})  # fmt: skip
SENTENCE = "Please help the customer buy a good big phone"


class World(gym.Env[Any, Any]):
    """Six steps of random numbers, pictures, codes and a sentence; the reward depends on the action and the numbers."""

    observation_space, action_space = SPACE, gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return self._see(), {}

    def _see(self) -> Any:
        self.numbers = np.array([self.np_random.normal(), 4 * self.np_random.random()], np.float32)
        return {
            "numbers": self.numbers, "picture": self.np_random.integers(1, 256, (24, 24, 3)).astype(np.uint8),
            "code": np.int64(2 + self.np_random.integers(5)), "text": SENTENCE,
        }  # fmt: skip

    def step(self, action: int) -> Any:
        self.time += 1
        reward = float(self.numbers[0]) * (1 + action)
        return self._see(), reward, self.time == 6, False, {}


def make_network(seed: int = 0, trunk: str = "transformer", **settings: Any) -> QNetwork:
    torch.manual_seed(seed)
    config = NetworkConfig(trunk=trunk, width=16, heads=2, layers=1, context=4, **settings)  # type: ignore[arg-type]
    network = QNetwork(config, ObservationSpec.from_space(SPACE), ActionSpec((3,), (0,)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture(scope="module")
def network() -> QNetwork:
    return make_network()


@pytest.fixture(scope="module")
def scales(network: QNetwork) -> list[LeafScale]:
    return list(leaf_scales(network).values())


def seen(kind: str, strength: float, scales: list[LeafScale], seed: int = 3, world: Any = World) -> list[Any]:
    """The observations of an episode."""
    env = perturbed(world, PERTURBATIONS[kind], strength, scales)()
    found = [env.reset(seed=seed)[0]]
    found += [env.step(0)[0] for _ in range(6)]
    return found


def clean(seed: int = 3) -> list[Any]:
    env = World()
    return [env.reset(seed=seed)[0], *(env.step(0)[0] for _ in range(6))]


def bits(observation: Any) -> Any:
    arrays = {name: np.asarray(part) for name, part in observation.items() if not isinstance(part, str)}
    return observation["text"], {name: (array.dtype, array.tobytes()) for name, array in arrays.items()}


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_strength_0_changes_no_bit(kind: str, scales: list[LeafScale]) -> None:
    assert [bits(one) for one in seen(kind, 0.0, scales)] == [bits(one) for one in clean()]


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_the_largest_usual_strength_changes_observations_alike_for_the_same_seed(
    kind: str, scales: list[LeafScale]
) -> None:
    strength = PERTURBATIONS[kind].strengths[-1]
    found = [bits(one) for one in seen(kind, strength, scales)]
    assert found != [bits(one) for one in clean()]
    assert found == [bits(one) for one in seen(kind, strength, scales)]
    assert all(SPACE.contains(one) for one in seen(kind, strength, scales)), "still observations of the space"


@pytest.mark.parametrize("kind", KINDS)
def test_strength_0_plays_the_same_episodes_to_the_last_bit(
    kind: str, network: QNetwork, scales: list[LeafScale]
) -> None:
    agent = Agent(network)
    plain = play_recorded(agent, World, 5, seed=2)
    if kind in PERTURBATIONS:
        found = play_recorded(agent, perturbed(World, PERTURBATIONS[kind], 0.0, scales), 5, seed=2)
        np.testing.assert_array_equal(found.q, plain.q)
        np.testing.assert_array_equal(found.reward, plain.reward)
    curve = perturbation_curve(agent, World, kind, [0.0], episodes=5, seed=2)
    assert curve.evaluations[0] == plain.evaluation() and curve.area == plain.evaluation().mean


def test_the_episodes_do_not_depend_on_how_many_are_played_together(network: QNetwork) -> None:
    one, other = (
        perturbation_curve(Agent(network), World, "noise", [0.0, 0.5], episodes=6, environments=count)
        for count in (1, 4)
    )
    assert one.evaluations[1].returns == pytest.approx(other.evaluations[1].returns)
    assert one.evaluations[1].returns != one.evaluations[0].returns


def test_rewards_and_the_world_are_not_changed(scales: list[LeafScale]) -> None:
    env, plain = PerturbedEnv(World(), PERTURBATIONS["noise"](1.0, scales)), World()
    env.reset(seed=1)
    plain.reset(seed=1)
    for action in (0, 2, 1):
        assert env.step(action)[1:] == plain.step(action)[1:]


def test_noise_has_the_promised_spread_in_units_of_the_scale(scales: list[LeafScale]) -> None:
    """Numbers: unit 1 without bounds, 2 for 0..4. At strength 0.1 noise has the standard deviations 0.1 and 0.2."""
    units = {scale.leaf.path: scale.unit for scale in scales}
    assert units["numbers"].tolist() == [1.0, 2.0] and (units["picture"] == 255).all()
    noise = PERTURBATIONS["noise"](0.1, scales)
    rng, value = np.random.default_rng(0), {**clean()[0], "numbers": np.array([0.0, 2.0], np.float32)}
    found = np.stack([noise(value, rng)["numbers"] for _ in range(4000)])
    np.testing.assert_allclose(found.std(axis=0), [0.1, 0.2], rtol=0.05)
    assert noise({**value, "numbers": np.array([0.0, 4.0], np.float32)}, rng)["numbers"][1] <= 4.0


def test_a_delay_shows_the_observation_of_k_steps_before(scales: list[LeafScale]) -> None:
    before, late = clean(), seen("delay", 2.0, scales)
    assert [bits(one) for one in late] == [bits(before[max(0, t - 2)]) for t in range(7)]


def test_repeated_observations_are_those_of_the_step_before(scales: list[LeafScale]) -> None:
    assert [bits(one) for one in seen("repeat", 1.0, scales)] == [bits(clean()[0])] * 7
    before, some = clean(), seen("repeat", 0.5, scales)
    shown, frozen = bits(before[0]), 0
    for t in range(1, 7):
        fresh = bits(some[t]) == bits(before[t])
        assert fresh or bits(some[t]) == shown
        frozen += not fresh
        shown = bits(some[t])
    assert 0 < frozen < 6


def test_a_lost_observation_is_neutral(scales: list[LeafScale]) -> None:
    found = seen("drop", 1.0, scales)[0]
    assert found["numbers"].tolist() == [0.0, 2.0] and not found["picture"].any()
    assert found["code"] == 2 and found["text"] == ""
    some = [bits(one) == bits(plain) for one, plain in zip(seen("drop", 0.5, scales), clean(), strict=True)]
    assert 0 < sum(some) < 7


@pytest.mark.parametrize("strength", [0.05, 0.25, 1.0])
def test_an_occlusion_covers_its_share_of_the_area(strength: float, scales: list[LeafScale]) -> None:
    covered = (seen("occlusion", strength, scales)[0]["picture"] == 0).all(axis=-1)
    assert covered.mean() == pytest.approx(strength, abs=0.03)
    rows, columns = covered.any(axis=1).sum(), covered.any(axis=0).sum()
    assert rows * columns == covered.sum(), "one rectangle"


def test_channels_may_come_first() -> None:
    space = gym.spaces.Box(0, 255, (3, 24, 24), np.uint8)
    spec = ObservationSpec.from_space(space)
    net = QNetwork(NetworkConfig(width=16, heads=2, layers=1, context=2), spec, ActionSpec((2,), (0,)))
    covered = PERTURBATIONS["occlusion"](0.25, list(leaf_scales(net).values()))(
        np.full((3, 24, 24), 9, np.uint8), np.random.default_rng(0)
    )
    assert (covered == 0).sum() == 3 * 144 and (covered[0] == covered[2]).all()


def test_typing_errors_are_as_frequent_as_they_should_be(scales: list[LeafScale]) -> None:
    """Of the letters that an error may change, about the strength do; blanks stay where no letter is left out."""
    text = "e" * 4000
    found = PERTURBATIONS["typos"](0.2, scales)({**clean()[0], "text": text}, np.random.default_rng(0))["text"]
    replaced_letters = sum(letter in "wr" for letter in found)
    assert replaced_letters == pytest.approx(4000 * 0.2 / 4, rel=0.2)
    assert (
        PERTURBATIONS["typos"](1.0, scales)({**clean()[0], "text": "1 2 3"}, np.random.default_rng(0))["text"]
        == "1 2 3"
    )


def test_typing_errors_stay_within_the_space_of_the_text() -> None:
    """The charset has "e" alone and 20 characters fit: a neighbour such as "w" is left out, and what is too long is cut."""

    class Letters(gym.Env[Any, Any]):
        observation_space = gym.spaces.Text(20, min_length=0, charset="e ")
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            super().reset(seed=seed)
            return "e" * 20, {}

        def step(self, action: int) -> Any:
            return "e" * 20, 0.0, False, False, {}

    spec = ObservationSpec.from_space(Letters.observation_space)
    net = QNetwork(NetworkConfig(width=16, heads=2, layers=1, context=2), spec, ActionSpec((2,), (0,)))
    env = perturbed(Letters, PERTURBATIONS["typos"], 0.5, list(leaf_scales(net).values()))()
    shown = [env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(30))]
    assert all(Letters.observation_space.contains(text) for text in shown)
    assert {len(text) for text in shown} >= {19, 20}, "shorter where a letter is missing, cut where one is doubled"


def test_one_word_is_always_kept(scales: list[LeafScale]) -> None:
    drop, rng = PERTURBATIONS["words"](1.0, scales), np.random.default_rng(0)
    found = [drop({**clean()[0], "text": SENTENCE}, rng)["text"] for _ in range(50)]
    assert all(one in SENTENCE.split() for one in found) and len(set(found)) > 3
    assert drop({**clean()[0], "text": ""}, rng)["text"] == ""


def test_synonyms_keep_capitals_and_the_words_that_have_none(scales: list[LeafScale]) -> None:
    found = PERTURBATIONS["synonyms"](1.0, scales)({**clean()[0], "text": "Buy a BIG zebra"}, np.random.default_rng(0))
    assert found["text"] == "Purchase a LARGE zebra"
    assert not [word for word, other in SYNONYMS.items() if word == other or word != word.lower()]


def test_a_nested_value_is_replaced_without_changing_the_original() -> None:
    given = {"a": (1, {"b": 2}), "c": 3}
    assert replaced(given, ("a", 1, "b"), 9) == {"a": (1, {"b": 9}), "c": 3} and given["a"] == (1, {"b": 2})
    assert replaced(1, (), 2) == 2


def test_what_cannot_be_perturbed_is_refused(network: QNetwork, scales: list[LeafScale]) -> None:
    numbers = [scale for scale in scales if scale.leaf.kind == "vector"]
    with pytest.raises(ConfigError, match="typos changes leaves of the kinds"):
        PERTURBATIONS["typos"](0.1, numbers)
    with pytest.raises(ConfigError, match="drop: expected a number from 0 to 1"):
        PERTURBATIONS["drop"](1.5, scales)
    with pytest.raises(ConfigError, match="whole number"):
        PERTURBATIONS["delay"](0.5, scales)
    with pytest.raises(ConfigError, match="expected one of"):
        perturbation_curve(Agent(network), World, "gremlins")
    with pytest.raises(ConfigError, match="rising"):
        perturbation_curve(Agent(network), World, "noise", [0.2, 0.1])


def test_perturbations_are_read_from_the_command_line() -> None:
    assert parse_perturbation("noise:0,0.5") == ("noise", [0.0, 0.5])
    assert parse_perturbation("pgd") == ("pgd", list(ATTACKS["pgd"].strengths))
    for wrong in ("noise:", "noise:a", "noise:1,0", "noise:-1", "other", "noise:nan"):
        with pytest.raises(ConfigError, match="--perturb"):
            parse_perturbation(wrong)


def test_the_area_is_the_mean_height_of_the_curve() -> None:
    """Values 4, 2, 0 at 0, 1, 3: (3 * 1 + 1 * 2) / 3."""
    assert area([0, 1, 3], [4, 2, 0]) == pytest.approx(5 / 3)
    assert area([0.5], [7]) == 7.0
    assert area_interval([0, 1], [[1, 1], [3, 3]]) == (2.0, 2.0)
    low, high = area_interval([0, 1], [[0, 2], [0, 2]])
    assert (low, high) == (0.0, 2.0)


# -- attacks ---------------------------------------------------------------------------------------------------------------


def attacked_once(agent: Agent, epsilon: float, steps: int) -> tuple[Any, Any]:
    spec = agent.observation_spec
    batch = {
        name: np.stack([np.asarray(one[name]) for one in (clean(1)[0], clean(2)[0])])
        for name in ("numbers", "picture", "code")
    }
    flat = spec.flatten({**batch, "text": (SENTENCE, SENTENCE)}, 2)
    return flat, AttackedAgent(agent, epsilon, steps).attack(flat, agent.initial_state(2))


@pytest.mark.parametrize("steps", [1, 5])
def test_an_attack_stays_within_epsilon_and_leaves_codes_and_texts_alone(network: QNetwork, steps: int) -> None:
    flat, found = attacked_once(Agent(network), 0.1, steps)
    moved = np.abs(found["numbers"] - flat["numbers"])
    assert (moved <= np.array([0.1, 0.2]) + 1e-6).all() and moved.max() > 0.05
    levels = np.abs(found["picture"].astype(int) - flat["picture"].astype(int))
    assert found["picture"].dtype == np.uint8 and levels.max() <= 26 and levels.mean() > 5
    for path in ("code", "text"):
        np.testing.assert_array_equal(found[path], flat[path])


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_an_attack_lowers_the_probability_of_the_greedy_action(trunk: str) -> None:
    agent = Agent(make_network(1, trunk))
    flat, found = attacked_once(agent, 0.05, 1)
    before, _ = agent.act(flat)
    after, _ = agent.act(found)
    scale = float(agent.network.head.scale)

    def chance(q: Any) -> Any:
        weights = np.exp(q / scale - (q / scale).max(axis=1, keepdims=True))
        return (weights / weights.sum(axis=1, keepdims=True))[np.arange(2), before.action]

    assert (chance(after.q) < chance(before.q) - 1e-4).all()


def test_an_attack_leaves_the_memory_alone(network: QNetwork) -> None:
    agent = Agent(network)
    flat, _ = attacked_once(agent, 0.1, 3)
    _, state = agent.act(flat)
    kept = {name: tensor.clone() for name, tensor in state.memory.items()}
    AttackedAgent(agent, 0.1, 3).attack(flat, state)
    assert all(torch.equal(kept[name], tensor) for name, tensor in state.memory.items())


def test_an_attack_changes_more_decisions_than_random_signs_of_the_same_size() -> None:
    """A broken sign of the gradient would change none, random signs few."""
    agent = Agent(make_network(1))
    rng = np.random.default_rng(0)
    count = 64
    values = {
        "numbers": np.stack([rng.normal(size=count), 4 * rng.random(count)], axis=1).astype(np.float32),
        "picture": rng.integers(30, 220, (count, 24, 24, 3)).astype(np.uint8), "code": rng.integers(2, 7, count),
        "text": (SENTENCE,) * count,
    }  # fmt: skip
    flat = agent.observation_spec.flatten(values, count)
    moved = AttackedAgent(agent, 0.05, 1).attack(flat, agent.initial_state(count))
    signs = {path: np.sign(rng.normal(size=flat[path].shape)) for path in ("numbers", "picture")}
    other = type(flat)(flat)
    other["numbers"] = (flat["numbers"] + 0.05 * np.array([1, 2]) * signs["numbers"]).astype(np.float32)
    other["picture"] = (flat["picture"] + 255 * 0.05 * signs["picture"]).astype(np.uint8)
    greedy = agent.act(flat)[0].action
    attacked = int((agent.act(moved)[0].action != greedy).sum())
    random = int((agent.act(other)[0].action != greedy).sum())
    assert attacked >= 20 and random <= 5


def test_an_attack_needs_numbers_or_pictures() -> None:
    spec = ObservationSpec.from_space(gym.spaces.Discrete(4))
    net = QNetwork(NetworkConfig(width=16, heads=2, layers=1, context=2), spec, ActionSpec((2,), (0,)))
    with pytest.raises(ConfigError, match="numbers and pictures"):
        AttackedAgent(Agent(net), 0.1)
    with pytest.raises(ConfigError, match="epsilon"):
        AttackedAgent(Agent(make_network()), -0.1)
