"""How many states of logged sessions are unfamiliar: the agent reads the sessions again, and detectors score its states."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.agents.artifact import weights_checksum
from seqel.errors import DataError
from seqel.robustness.states import captured_states
from seqel.spaces import FlatObservation

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqel.agents.agent import Agent
    from seqel.monitoring.log import LoggedDecisions
    from seqel.robustness.reference import StateReference

__all__ = ["Familiarity", "compare_states", "whole_sessions"]

AT_ONCE = 64  # sessions that are read together
DETECTORS = ("mahalanobis", "knn")
MOST = 2.0  # times the share of false alarms from which on more states are unfamiliar than expected
FEWEST = 20  # sessions below which no share is called large


@dataclass(frozen=True, slots=True)
class Familiarity:
    """The states of logged sessions, and how many of them each detector reports."""

    states: int
    sessions: int
    incomplete: (
        int  # decisions that were left out, because the log lacks the start of their session, or a number is missing
    )
    expected: float  # the share of familiar states that a detector reports
    shares: dict[str, float]  # of states that each detector reports
    affected: dict[str, float]  # share of sessions in which a detector reports more than `expected` of the states

    @property
    def large(self) -> bool:
        """Whether a detector reports more than twice as many states as expected, in enough sessions."""
        return self.sessions >= FEWEST and max(self.shares.values()) > MOST * self.expected

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "large": self.large}


def whole_sessions(logged: LoggedDecisions) -> list[list[int]]:
    """Return the decisions of each session from its step 0 on, as far as no step is missing and all numbers are finite.

    A step 0 begins a new session, also under a name that was used before.
    """
    open_now: dict[str, list[int]] = {}
    found: list[list[int]] = []
    for place, (session, step) in enumerate(zip(logged.sessions, logged.steps, strict=True)):
        finite = all(
            leaf.dtype.kind != "f" or bool(np.isfinite(leaf).all()) for leaf in logged.observations[place].values()
        )
        if step == 0 and finite:
            open_now[session] = [place]
            found.append(open_now[session])
        elif session in open_now and finite and step == len(open_now[session]):
            open_now[session].append(place)
        else:
            open_now.pop(session, None)
    return found


def compare_states(
    agent: Agent,
    reference: StateReference,
    logged: LoggedDecisions,
    *,
    progress: Callable[[int], None] | None = None,
) -> Familiarity:
    """Let the agent read the logged sessions, and score its states. Its memory follows the logged actions and rewards.

    Args:
        logged: with observations (`read_log(..., observations=True)`).
        progress: is called with the number of sessions that were read.

    Raises DataError: the reference is of another network, or no session is whole.
    """
    weights = weights_checksum(agent.network)
    if weights != reference.weights:
        raise DataError(
            f"states: expected a reference of these weights ({weights}), got one of {reference.weights}: make it again with "
            "seqel monitor reference RUN --states"
        )
    sessions = sorted(whole_sessions(logged), key=len, reverse=True)
    if not sessions:
        raise DataError("states: expected a session from its step 0 on, got none")
    reports: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in DETECTORS}
    rows: list[np.ndarray[Any, Any]] = []
    with captured_states(agent.network) as kept:
        for first in range(0, len(sessions), AT_ONCE):
            some = sessions[first : first + AT_ONCE]
            state = agent.initial_state(len(some))
            for step in range(len(some[0])):
                places = [one[step] for one in some if len(one) > step]
                seen = FlatObservation(
                    (path, np.stack([logged.observations[place][path] for place in places]))
                    for path in logged.observations[places[0]]
                )
                before = {} if not step else _before(logged, [one[step - 1] for one in some[: len(places)]], places)
                kept.clear()
                _, state = agent.act(seen, state, rows=np.arange(len(places)), **before)
                for name in DETECTORS:
                    reports[name].append(reference.unfamiliar(kept[-1], name))
                rows.append(first + np.arange(len(places)))
            if progress is not None:
                progress(first + len(some))
    session = np.concatenate(rows)
    lengths = np.bincount(session, minlength=len(sessions))
    found = {name: np.concatenate(parts) for name, parts in reports.items()}
    counts = {name: np.bincount(session[one], minlength=len(sessions)) for name, one in found.items()}
    return Familiarity(
        len(session), len(sessions), len(logged) - len(session), reference.false_alarms,
        {name: float(one.mean()) for name, one in found.items()},
        {name: float((one / lengths > reference.false_alarms).mean()) for name, one in counts.items()},
    )  # fmt: skip


def _before(logged: LoggedDecisions, previous: list[int], places: list[int]) -> dict[str, Any]:
    """Return what is known before a step: the last action and its reward, which is logged with the step after it."""
    action = np.stack([logged.actions[place] for place in previous])
    reward = np.nan_to_num(logged.rewards[places]).astype(np.float32)
    return {"previous_action": action[:, 0] if action.shape[1] == 1 else action, "reward": reward}
