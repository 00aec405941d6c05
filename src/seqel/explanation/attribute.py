"""Attribution: what each past step contributes to decisions of an episode, by any of the methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqel.errors import ConfigError
from seqel.explanation.methods.registry import DEFAULT, method_of
from seqel.explanation.question import Question, explained
from seqel.explanation.reading import Reading, require_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.explanation.trace import EpisodeTrace

__all__ = ["attribute"]


def attribute(
    agent: Agent,
    trace: EpisodeTrace,
    method: str = DEFAULT,
    steps: Sequence[int] | None = None,
    question: Question | None = None,
    *,
    others: Sequence[EpisodeTrace] = (),
    reading: Reading | None = None,
) -> NDArray[np.float32]:
    """Return what each step contributes to each of S decisions: (S, T+1), 0 for the steps after a decision.

    Args:
        method: "occlusion", "exchange", "rollout", "gradient", "integrated", "attention", or the name of another module in
            `seqel.explanation.methods`.
        steps: the decisions, from 0 to T, where T is the one after the last recorded action; None: those of all T actions.
        question: what is explained; None: by how much the agent prefers its choice to the runner-up.
        others: other episodes, which "exchange" needs.
        reading: that of the same agent, trace and others, if there is one already; as in `Reading(agent, trace, others)`.

    The columns include the decision's own step, whose contribution is not memory.

    Raises:
        ConfigError: there is no such method, step or action; or the method needs attention, and the trunk has none, or
            other episodes, and there are none.
    """
    chosen = list(range(len(trace))) if steps is None else [require_step(int(step), trace) for step in steps]
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"steps: expected different ones, got {chosen}")
    if not chosen:
        return np.zeros((0, len(trace) + 1), np.float32)
    reading = reading or Reading(agent, trace, others)
    if method_of(method).needs_others and not reading.others:
        raise ConfigError(f"method: expected other episodes for {method!r} (others=[...]), got none")
    found = method_of(method).compute(reading, explained(reading, chosen, question or Question()))
    return np.asarray(found.float().cpu().numpy(), np.float32)
