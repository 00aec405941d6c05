"""Attributions are what their definitions say: recomputed here one decision and one step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.explanation import reading as reading_module
from seqel.explanation.attribute import attribute
from seqel.explanation.methods.integrated import integrated_gradients
from seqel.explanation.methods.registry import DEFAULT, method_names, method_of
from seqel.explanation.methods.rollout import roll_out
from seqel.explanation.question import Question, explained
from seqel.explanation.reading import Reading
from seqel.explanation.trace import EpisodeTrace, decision_scores, scores, window_of
from support_explanation import make_agent, make_trace
from support_ranking import make_agent as make_ranking_agent

AGENTS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "long context": {"context": 64},
    "gru": {"trunk": "gru"},
    "policy decides": {"policy_head": "greedy"},
    "no gradient from values": {"value_gradient": False, "policy_head": "auxiliary"},
    "distribution": {"value": "hl-gauss", "bins": 11},
    "duel": {"dueling": True},
    "limit of costs": {"cost": True},
}


def gap_of(agent: Agent, trace: EpisodeTrace, tokens: Tensor, step: int, chosen: int, other: int) -> Tensor:
    """Return the explained score by one pass over the whole episode and all actions."""
    network, window = agent.network, window_of(agent, trace)
    h = network.trunk(tokens[None], window.is_first, window.start_step)
    config = network.config
    out = network.heads(h) if config.policy_head == "greedy" or config.cost else network.head(h)
    found = scores(agent, out)[0, step, 0]
    return found[chosen] - found[other]


def two_best(agent: Agent, trace: EpisodeTrace) -> np.ndarray:
    return np.argsort(-decision_scores(agent, trace), axis=1, kind="stable")[:, :2]


@pytest.mark.parametrize("name", AGENTS)
def test_occlusion_is_the_fall_of_the_gap_when_a_step_is_hidden(name: str) -> None:
    agent = make_agent(**AGENTS[name])
    trace = make_trace(agent)
    best = two_best(agent, trace)
    found = attribute(agent, trace, "occlusion", range(len(trace) + 1))
    with torch.no_grad():
        tokens = agent.network.embed(window_of(agent, trace))[0]
        for step in range(len(trace) + 1):
            for past in range(len(trace) + 1):
                hidden = tokens.clone()
                hidden[past] = tokens.mean(dim=0)
                fall = gap_of(agent, trace, tokens, step, *best[step]) - gap_of(agent, trace, hidden, step, *best[step])
                assert found[step, past] == pytest.approx(float(fall), abs=2e-5), (step, past)


def test_exchange_is_the_mean_fall_with_the_steps_of_other_episodes() -> None:
    agent = make_agent(context=16)
    trace = make_trace(agent, 6)
    others = [make_trace(agent, steps, seed=steps) for steps in (3, 8)]
    late = make_trace(agent, 9, seed=3, start=4)  # its first step is step 4
    best, step = two_best(agent, trace)[5], 5
    found = attribute(agent, trace, "exchange", [step], others=[*others, late])[0]
    with torch.no_grad():
        tokens = agent.network.embed(window_of(agent, trace))[0]
        theirs = [agent.network.embed(window_of(agent, one))[0] for one in (*others, late)]
        now = gap_of(agent, trace, tokens, step, *best)
        for past in range(step + 1):
            falls = []
            for start, other in zip((0, 0, 4), theirs, strict=True):
                if 0 <= past - start < len(other):
                    changed = tokens.clone()
                    changed[past] = other[past - start]
                    falls.append(float(now - gap_of(agent, trace, changed, step, *best)))
            assert len(falls) == (2, 2, 2, 2, 2, 2)[past] and found[past] == pytest.approx(np.mean(falls), abs=2e-5)
    alone = attribute(agent, trace, "exchange", [step], others=[make_trace(agent, 2)])[0]
    np.testing.assert_allclose(alone[3:], attribute(agent, trace, "occlusion", [step])[0, 3:], atol=1e-5)
    with pytest.raises(ConfigError, match="expected other episodes for 'exchange'"):
        attribute(agent, trace, "exchange")


@pytest.mark.parametrize("name", AGENTS)
def test_gradient_is_the_slope_along_the_way_from_the_mean_token(name: str) -> None:
    agent = make_agent(**AGENTS[name])
    trace = make_trace(agent)
    best = two_best(agent, trace)
    found = attribute(agent, trace, "gradient")
    tokens = agent.network.embed(window_of(agent, trace))[0].detach()
    for step in range(len(trace)):
        moved = tokens.clone().requires_grad_()
        (slope,) = torch.autograd.grad(gap_of(agent, trace, moved, step, *best[step]), moved)
        expected = (slope * (tokens - tokens.mean(dim=0))).sum(dim=1)
        np.testing.assert_allclose(found[step], expected.numpy(), atol=2e-5)


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_integrated_gradients_sum_to_the_difference_from_the_hidden_episode(trunk: str) -> None:
    agent = make_agent(trunk=trunk)
    trace = make_trace(agent)
    best = two_best(agent, trace)
    steps = list(range(len(trace)))
    reading = Reading(agent, trace)
    found = integrated_gradients(reading, explained(reading, steps, Question()), points=256).sum(dim=1)
    with torch.no_grad():
        tokens = reading.tokens
        hidden = reading.mean_token.expand_as(tokens)
        for step in steps:
            difference = gap_of(agent, trace, tokens, step, *best[step]) - gap_of(
                agent, trace, hidden, step, *best[step]
            )
            assert float(found[step]) == pytest.approx(float(difference), abs=5e-3)


def test_integrated_gradients_equal_those_of_captum() -> None:
    captum = pytest.importorskip("captum.attr")
    agent = make_agent(context=64)
    trace = make_trace(agent)
    best, step = two_best(agent, trace), 8
    reading = Reading(agent, trace)
    found = integrated_gradients(reading, explained(reading, [step], Question()), points=16)[0]

    def gap(tokens: Tensor) -> Tensor:
        h = reading.states(tokens)[:, step]
        q = agent.network.head(h).q[:, 0]
        chosen, other = best[step]
        return q[:, chosen] - q[:, other]

    theirs = captum.IntegratedGradients(gap).attribute(
        reading.tokens[None], reading.mean_token.expand_as(reading.tokens)[None], n_steps=16, method="gausslegendre"
    )
    np.testing.assert_allclose(found.numpy(), theirs[0].sum(dim=-1).detach().numpy(), atol=1e-5)


def test_rollout_of_two_layers_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    second = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    heads = torch.stack([first, first])  # two equal heads: their mean
    other = torch.stack([second, 2 * torch.eye(2) - second])  # their mean is the identity
    found = roll_out(torch.stack([heads, torch.stack([second, second])]))
    # layer 1: 0.5 W + 0.5 I = [[1, 0], [.25, .75]]; layer 2: [[1, 0], [.5, .5]]; product, last row: [.5 + .125, .375]
    np.testing.assert_allclose(found.numpy(), [[1.0, 0.0], [0.625, 0.375]], atol=1e-6)
    np.testing.assert_allclose(roll_out(torch.stack([heads, other]))[1].numpy(), [0.25, 0.75], atol=1e-6)


def test_attention_methods_give_shares_of_the_steps_within_reach() -> None:
    agent = make_agent()
    trace = make_trace(agent)
    for name, reach in (("rollout", 7), ("attention", 4)):
        found = attribute(agent, trace, name)
        np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
        assert found[8, 8 - reach] == 0.0 and found[8, 9 - reach] > 0.0


@pytest.mark.parametrize("name", method_names())
def test_a_method_gives_the_same_for_one_decision_and_in_small_parts(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent()
    trace, others = make_trace(agent, 20), [make_trace(agent, steps, seed=steps) for steps in (7, 19)]
    whole = attribute(agent, trace, name, others=others)
    assert whole.shape == (20, 21) and whole.dtype == np.float32
    later = np.triu(np.ones((20, 21), bool), 1)
    assert (whole[later] == 0.0).all()  # nothing of the future
    np.testing.assert_allclose(attribute(agent, trace, name, [17, 3], others=others), whole[[17, 3]], atol=1e-5)
    monkeypatch.setattr(reading_module, "TOKENS", 30)
    np.testing.assert_allclose(attribute(agent, trace, name, others=others), whole, atol=1e-5)


@pytest.mark.parametrize("name", ["occlusion", "gradient", "integrated"])
def test_what_is_out_of_reach_is_exactly_zero(name: str) -> None:
    agent = make_agent()  # two layers of context 4: 7 steps
    found = attribute(agent, make_trace(agent, 20), name, [15])[0]
    assert (found[:9] == 0.0).all() and (found[9:16] != 0.0).all() and (found[16:] == 0.0).all()


def test_a_long_episode_needs_few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Occlusion of all decisions reads each hidden step once, with only the decisions within reach."""
    agent = make_agent(context=4)
    trace = make_trace(agent, 200)
    reading = Reading(agent, trace)
    read = 0
    states = Reading.states

    def counted(self: Reading, tokens: Tensor, begin: int = 0) -> Tensor:
        nonlocal read
        read += tokens.shape[0] * tokens.shape[1]
        return states(self, tokens, begin)

    monkeypatch.setattr(Reading, "states", counted)
    monkeypatch.setattr(reading_module, "TOKENS", 1_000)
    attribute(agent, trace, "occlusion", reading=reading)
    assert read < 201 * 201  # far less than one pass per decision and step, 200 * 200 * 100


def test_a_window_that_starts_inside_an_episode_is_explained_alike() -> None:
    """Positions count from the start of the episode, so a part needs its number of steps before it."""
    agent = make_agent()
    trace = make_trace(agent, 20)
    cut = 8
    part = EpisodeTrace(
        {path: leaf[cut:] for path, leaf in trace.observation.items()}, trace.action[cut:], trace.reward[cut:], trace.q, None,
        cut, trace.action[cut - 1 : cut], float(trace.reward[cut - 1]),
    )  # fmt: skip
    np.testing.assert_allclose(
        attribute(agent, part, "rollout")[-1], attribute(agent, trace, "rollout")[-1, cut:], atol=1e-5
    )


def test_slopes_leave_the_weights_as_they_were() -> None:
    agent = make_agent()
    frozen = next(agent.network.parameters()).requires_grad_(False)
    attribute(agent, make_trace(agent), "gradient")
    assert not frozen.requires_grad
    others = [one for one in agent.network.parameters() if one is not frozen]
    assert all(one.requires_grad and one.grad is None for one in others)


# -- questions ---------------------------------------------------------------------------------------------------------


def test_the_explained_score_can_be_the_score_of_an_action_or_a_gap_between_two() -> None:
    agent = make_agent()
    trace = make_trace(agent)
    alone = [attribute(agent, trace, "occlusion", [7], Question(action, None))[0] for action in range(3)]
    between = attribute(agent, trace, "occlusion", [7], Question(2, 0))[0]
    np.testing.assert_allclose(between, alone[2] - alone[0], atol=1e-5)
    best, second = two_best(agent, trace)[7]
    np.testing.assert_allclose(attribute(agent, trace, steps=[7])[0], alone[best] - alone[second], atol=1e-5)
    # an action that is not the best one is compared with the best one
    np.testing.assert_allclose(
        attribute(agent, trace, steps=[7], question=Question(int(second)))[0], alone[second] - alone[best], atol=1e-5
    )


def test_masked_actions_are_neither_chosen_nor_second() -> None:
    agent = make_agent((4,))
    trace = make_trace(agent)
    order = np.argsort(-decision_scores(agent, trace)[6])
    mask = np.ones((10, 4), bool)
    mask[6, order[:2]] = False
    mask[5] = False
    mask[5, 1] = True
    masked = make_trace(agent, action_mask=mask)
    found = attribute(agent, masked, steps=[6])
    np.testing.assert_allclose(
        found, attribute(agent, trace, steps=[6], question=Question(int(order[2]), int(order[3])))
    )
    assert (attribute(agent, masked, steps=[5]) == 0.0).all()  # there was nothing else to do


def test_with_several_actions_the_runner_up_differs_where_that_costs_least() -> None:
    agent = make_agent((3, 2))
    trace = make_trace(agent)
    reading = Reading(agent, trace)
    q = decision_scores(agent, trace)  # (T+1, M, A), -inf beyond a dimension's size
    wanted = explained(reading, range(9), Question())
    assert wanted.others is not None
    for step in range(9):
        joint = {
            (a, b): (float(q[step, 0, a]) + float(q[step, 1, b])) / 2 for a in range(3) for b in range(2)
        }  # fmt: skip
        best, second = sorted(joint, key=lambda codes: -joint[codes])[:2]
        assert tuple(wanted.codes[step].tolist()) == best and tuple(wanted.others[step].tolist()) == second
        h = reading.states(reading.tokens[None])[0, step : step + 1].detach()
        value = float(wanted.values(reading, h, slice(step, step + 1)).detach())
        assert value == pytest.approx(joint[best] - joint[second], abs=1e-5)
    assert attribute(agent, trace, "gradient", question=Question((1, 1), (2, 0))).shape == (9, 10)


def test_only_two_items_of_a_catalogue_are_scored() -> None:
    agent = make_ranking_agent(40)
    trace = make_trace(agent)
    found = attribute(agent, trace, "occlusion")
    best = two_best(agent, trace)
    for step in (3, 8):
        pair = Question(int(best[step, 0]), int(best[step, 1]))
        np.testing.assert_allclose(found[step], attribute(agent, trace, steps=[step], question=pair)[0], atol=1e-6)
    alone = [attribute(agent, trace, steps=[8], question=Question(int(code), None))[0] for code in best[8]]
    np.testing.assert_allclose(found[8], alone[0] - alone[1], atol=1e-5)
    assert np.abs(attribute(agent, trace, "gradient")[8, :8]).max() > 0.0


def test_a_pretrained_trunk_is_explained_by_every_method() -> None:
    pytest.importorskip("transformers")
    from seqel.language.episodes import text_spaces
    from seqel.language.tokenizer import ModelTokens
    from seqel.networks.config import NetworkConfig
    from seqel.networks.qnetwork import QNetwork
    from seqel.training.base_model import with_base_model
    from tiny_models import tiny_causal

    tokens = ModelTokens.of(str(tiny_causal()))
    config = with_base_model(NetworkConfig(trunk="pretrained", model=str(tiny_causal()), actions="tokens", context=4))
    torch.manual_seed(0)
    network = QNetwork(config, *text_spaces(tokens.size))
    with torch.no_grad():
        for parameter in network.head.parameters():
            if parameter.requires_grad:
                parameter.add_(0.5 * torch.randn_like(parameter))
    agent = Agent(network)
    rng = np.random.default_rng(0)
    path = agent.observation_spec.leaves[0].path
    codes = rng.integers(1, tokens.size, (7, 1))
    trace = EpisodeTrace({path: codes}, codes[1:, 0], np.zeros(6, np.float32), np.zeros((0, 0), np.float32), None)
    for name in method_names():
        found = attribute(agent, trace, name, others=[trace])
        assert found.shape == (6, 7) and np.isfinite(found).all(), name
        assert (np.abs(found[5, :5]).max() > 1e-6) != (name == "exchange"), name  # an episode exchanged for itself


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_mistakes_say_what_is_expected() -> None:
    agent, gru = make_agent(), make_agent(trunk="gru")
    trace = make_trace(agent)
    with pytest.raises(ConfigError, match="expected one of occlusion, exchange"):
        attribute(agent, trace, "shap")
    with pytest.raises(ConfigError, match="transformer"):
        attribute(gru, trace, "rollout")
    with pytest.raises(ConfigError, match="expected 0 to 9, got 10"):
        attribute(agent, trace, steps=[10])
    with pytest.raises(ConfigError, match="different ones"):
        attribute(agent, trace, steps=[1, 1])
    with pytest.raises(ConfigError, match="expected 0 to 2, counted from 0, got 3"):
        attribute(agent, trace, question=Question(3))
    with pytest.raises(ConfigError, match="runner-up"):
        attribute(agent, trace, question=Question(over="second"))
    assert attribute(agent, trace, steps=[]).shape == (0, 10)


def test_methods_are_found_by_themselves() -> None:
    assert method_names()[0] == DEFAULT and set(method_names(attention=False)) == {
        "occlusion",
        "exchange",
        "gradient",
        "integrated",
    }
    assert all(method_of(name).title and method_of(name).meaning for name in method_names())
