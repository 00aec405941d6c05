"""Measures every method of attribution on decisions of one agent, for `faithfulness.py`.

question              the gap of the trained agent's action to the one it takes if the relevant steps show something else,
                      where that is another one; else of the network's own action to the runner-up
deletion, insertion   areas under the curves of `seqel.explanation.faithfulness`; random is the mean of random orders of past
                      steps; `exchanged` if a hidden step shows what another episode shows there, in place of the mean token:
                      one that the method `exchange` does not use
rank, first           mean rank of the best relevant step, and how often it is 1
separation            the probability that a relevant past step has a larger magnitude than another one; chance is 0.5
likeness              rank correlation of the magnitudes with those of the same network with random weights
decides               how often the action changes if the relevant steps show something else, a property of the agent
control_decides       how often it changes if a step shows something else that should not matter
passes                a relevant step is first in at least 99 % of decisions, and the relevant steps decide in at least half
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faithfulness_tasks import Decision, greedy_actions
from seqel.agents.agent import Agent
from seqel.explanation.attribute import attribute
from seqel.explanation.faithfulness import faithfulness, rank_of, separation
from seqel.explanation.methods.registry import method_names
from seqel.explanation.reading import Reading
from seqel.explanation.trace import EpisodeTrace

__all__ = ["AREAS", "measure"]

AREAS = ("deletion", "insertion", "deletion_exchanged", "insertion_exchanged", "dropped")
RANDOM_ORDERS = 3
EXCHANGED = 8  # other episodes that the method `exchange` takes steps from
FIRST, DECIDES = 0.99, 0.5  # what passes


def measure(
    agent: Agent, decisions: Sequence[Decision], seed: int, control: Agent | None = None, areas: bool = True
) -> dict[str, Any]:
    """Measure every method; `control` is the agent with random weights for `likeness`. areas: also deletion and insertion.

    Areas are lists with one number per decision, everything else means over decisions. Areas `exchanged` need at least ten
    episodes.
    """
    if not decisions:  # the agent never saw what it should remember
        return {"decisions": 0, "decides": 0.0, "methods": {}}
    rng = np.random.default_rng(seed)
    names = method_names(agent.network.trunk.has_attention)
    episodes = list({id(one.trace): one.trace for one in decisions}.values())
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in [*names, "random"]}
    decides, control_decides = [], []
    for one in decisions:
        others, last = _others(episodes, one.trace)
        reading, judge = Reading(agent, one.trace, others), Reading(agent, one.trace, last)
        weights = _weights(agent, one, names, reading)
        orders = [rng.random(len(reading)).astype(np.float32) for _ in range(RANDOM_ORDERS)]
        if one.altered is not None:
            decides.append(_changes(reading, one.altered, one.step))
        if one.control is not None:
            control_decides.append(_changes(reading, one.control, one.step))
        theirs = {} if control is None else _weights(control, one, names, Reading(control, one.trace, others))
        for name in rows:
            some = orders if name == "random" else [weights[name]]
            found = _areas(judge, some, one) if areas else {}
            if one.relevant:
                rank = rank_of(some[0], one.relevant, one.step)
                found |= {"rank": rank, "first": float(rank == 1.0)}
                found["separation"] = separation(some[0], one.relevant, one.step)
            if name in theirs and one.step > 2:
                found["likeness"] = _correlation(np.abs(some[0][: one.step]), np.abs(theirs[name][: one.step]))
            rows[name].append(found)
    result: dict[str, Any] = {
        "decisions": len(decisions),
        "methods": {name: _summary(one) for name, one in rows.items()},
    }
    if control_decides:
        result["control_decides"] = round(float(np.mean(control_decides)), 4)
    if decides:
        result["decides"] = round(float(np.mean(decides)), 4)
        for found in result["methods"].values():
            found["passes"] = bool(found["first"] >= FIRST and result["decides"] >= DECIDES)
    return result


def _others(episodes: list[EpisodeTrace], trace: EpisodeTrace) -> tuple[list[EpisodeTrace], list[EpisodeTrace]]:
    """Return the episodes that follow this one, the first ones after the last: those to exchange steps with, and the next."""
    place = next(number for number, one in enumerate(episodes) if one is trace)
    found = episodes[place + 1 :] + episodes[:place]
    return found[:EXCHANGED], found[EXCHANGED : EXCHANGED + 1]


def _areas(reading: Reading, rows: list[NDArray[np.float32]], of: Decision) -> dict[str, float]:
    """Return the areas, of several orders their means. Without another episode there is nothing to exchange steps with."""
    found: dict[str, list[float]] = {name: [] for name in AREAS}
    for row in rows:
        for other in [None, 0] if reading.others else [None]:
            one = faithfulness(
                reading.agent, reading.trace, row[None], [of.step], of.question, reading=reading, other=other
            )
            end = "" if other is None else "_exchanged"
            found[f"deletion{end}"].append(float(one.deletion[0]))
            found[f"insertion{end}"].append(float(one.insertion[0]))
            if other is None:
                found["dropped"].append(float(one.dropped[0]))
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def _weights(agent: Agent, one: Decision, names: list[str], reading: Reading) -> dict[str, NDArray[np.float32]]:
    return {name: attribute(agent, one.trace, name, [one.step], one.question, reading=reading)[0] for name in names}


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return Spearman's rank correlation, nan if one of the two is constant."""
    from scipy.stats import spearmanr

    if np.ptp(one) == 0.0 or np.ptp(other) == 0.0:
        return float("nan")
    return float(spearmanr(one, other).statistic)


def _changes(reading: Reading, altered: EpisodeTrace, step: int) -> float:
    """Return 1 if the agent acts differently at a step of another history, else 0."""
    here = slice(step, step + 1)
    other = greedy_actions(Reading(reading.agent, altered), here)
    return float((greedy_actions(reading, here) != other).any())


def _summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        values = [row[name] for row in rows if name in row]
        if name in AREAS:
            found[name] = [round(value, 4) for value in values]
        else:
            known = [value for value in values if np.isfinite(value)]
            found[name] = round(float(np.mean(known)), 4) if known else None
    return found
