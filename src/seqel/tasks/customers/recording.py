"""Recorded shifts of customers, to learn from: decisions near a lookahead's, or those of a rule, some of them at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seqel.errors import ConfigError
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.customers.shortlist import Shortlist
from seqel.types import Episode

__all__ = ["record_shifts"]

Rule = Callable[[dict[str, Any]], int]  # an observation to an action

LEAST = (0.2, 0.95)  # expected reward below which the rule asks, drawn for each shift
MOST = 4  # questions to a customer, at most; drawn as well
TEMPERATURES = (0.03, 0.1)  # of the choice by the lookahead's expected rewards; one of them for each shift
NOISE = (0.1, 0.5)  # share of random decisions, one of them for each shift
# of the random decisions: the most probable intent, all others of the shortlist together, the two questions, handing over
SHARES = (0.3, 0.12, 0.2, 0.2, 0.18)


def record_shifts(envs: Shortlist | Sequence[Shortlist], shifts: int, seed: int = 0) -> tuple[InMemoryDataset, float]:
    """Play shifts, in several environments by turns, and return them as episodes and their mean reward per customer.

    A second environment may have the validation split. Sentences that the classifier was not fitted on show best how reliable
    it is, above all about being out of scope.

    Where a lookahead's expected rewards are observed, actions are drawn by them, and some at random: there is most to learn
    near its decisions. What remains of the rewards is how much more than expected a customer brought (shaping by a potential:
    Ng, Harada and Russell 1999), so values need not repeat what the lookahead knows.

    Elsewhere a rule answers or hands over if either is worth enough, and else asks; how much is enough differs from shift to
    shift, and some of its decisions are random. So each decision is found in each situation, after good and after bad ones.
    Rewards are centred: the mean is subtracted when a customer is done. All shifts have the same number of customers, so this
    changes no comparison of policies, but values need not tell how many customers are still to come, which would be most of
    what they have to learn (for continuing tasks: Naik et al. 2024, arXiv:2405.09999).

    Raises ConfigError if there is no environment, or `shifts` is below 2 (one is held out from training).
    """
    envs = [envs] if isinstance(envs, Shortlist) else list(envs)
    if not envs:
        raise ConfigError("envs: expected at least one environment, got none")
    if shifts < 2:
        raise ConfigError(f"shifts: expected at least 2, got {shifts}")
    env = envs[0]
    spec, rng = ObservationSpec.from_space(env.observation_space), np.random.default_rng((seed, 52))
    rule = _near_the_lookahead if env.expected else _by_thresholds
    episodes = []
    for shift in range(shifts):
        place = envs[shift % len(envs)]
        episodes.append(_play(place, spec, rule(place, rng), rng))
    mean = float(np.mean([episode.reward.sum() for episode in episodes])) / env.service.customers
    for episode in episodes:
        done = episode.observation["outcome"][1:, 0] > 0
        if env.expected:
            before = episode.observation["best"][:, 0]
            episode.reward[:] += np.where(done, 0.0, before[1:]) - before[:-1]
        else:
            episode.reward[done] -= mean
    return InMemoryDataset.of(episodes, spec, ActionSpec.from_space(env.action_space)), mean


def _by_thresholds(env: Shortlist, rng: np.random.Generator) -> Rule:
    """Return a rule that answers or hands over if either is worth enough, and else asks; for one shift."""
    least, most, noise = rng.uniform(*LEAST), int(rng.integers(1, MOST + 1)), float(rng.choice(NOISE))

    def choose(seen: dict[str, Any]) -> int:
        best, out = float(seen["answer"][0]), float(seen["hand_over"][0])
        if rng.random() < noise:
            return _at_random(env, rng)
        if max(best, out) < least and int(seen["asked"]) < most:
            return env.ask if rng.random() < 0.5 else env.offer
        return 0 if best >= out else env.hand_over

    return choose


def _near_the_lookahead(env: Shortlist, rng: np.random.Generator) -> Rule:
    """Return a rule that takes an action the more often, the more the lookahead expects of it; for one shift."""
    temperature, noise = float(rng.choice(TEMPERATURES)), float(rng.choice(NOISE))

    def choose(seen: dict[str, Any]) -> int:
        if rng.random() < noise:
            return _at_random(env, rng)
        return int((seen["expected"] / temperature + rng.gumbel(size=len(seen["expected"]))).argmax())

    return choose


def _at_random(env: Shortlist, rng: np.random.Generator) -> int:
    first, others, *rest = SHARES
    shares = [first, *np.full(env.size - 1, others / (env.size - 1)), *rest]
    return int(rng.choice(len(shares), p=shares))


def _play(env: Shortlist, spec: ObservationSpec, rule: Rule, rng: np.random.Generator) -> Episode:
    """Play a shift with a rule."""
    seen, _ = env.reset(seed=int(rng.integers(1 << 31)))
    observations, actions, rewards, over = [seen], [], [], False
    while not over:
        action = rule(seen)
        seen, reward, over, _, _ = env.step(action)
        observations.append(seen)
        actions.append(action)
        rewards.append(reward)
    flat = spec.flatten({name: np.stack([one[name] for one in observations]) for name in seen}, len(observations))
    return Episode(dict(flat), np.array(actions)[:, None], np.array(rewards, np.float32), terminated=True)
