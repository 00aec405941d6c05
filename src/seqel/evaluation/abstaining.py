"""The decisions of an agent in whole sessions, with their uncertainties: what abstention is calibrated on and measured by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqel.agents.artifact import weights_checksum
from seqel.agents.calibration import fingerprint
from seqel.agents.uncertainty import choose_measure
from seqel.environments.resolve import EnvMaker
from seqel.environments.seeds import require_for_reports
from seqel.environments.vector import VectorStream, close_vector, make_vector
from seqel.errors import ConfigError
from seqel.evaluation.statistics import bootstrap_interval
from seqel.replay.layout import OBSERVATION
from seqel.replay.ring import EpisodeTable
from seqel.safety.abstention import Abstention
from seqel.safety.conformal import SessionDecisions, calibrate, jumps_of
from seqel.safety.review import ReviewQueueFile
from seqel.spaces import FlatObservation
from seqel.types import Decision

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.replay.episode_buffer import EpisodeBuffer

__all__ = ["Realised", "calibrate_agent", "played_sessions", "queue_entry", "realised", "recorded_sessions"]

ROWS = 64  # sessions that are read together
LONGEST = 100_000  # steps per episode

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Realised:
    """What a threshold did in sessions other than those that calibrated it."""

    sessions: int
    error: float | None  # mean loss per session; None: the sessions do not have what the loss needs
    interval: tuple[float, float] | None  # its 95 % bootstrap interval, over sessions
    bound: float  # that was asked for
    coverage: float  # share of the decisions that the agent did not abstain from
    handed_over: float  # share of the sessions with at least one abstention

    def __str__(self) -> str:
        """As it is printed."""
        risk = "mean loss per session not known from these sessions"
        if self.error is not None and self.interval is not None:
            low, high = self.interval
            risk = f"mean loss per session {self.error:.3f}, 95 % [{low:.3f}, {high:.3f}]"
        return (
            f"abstention: {risk} (calibrated for {self.bound:g}); decides {self.coverage:.1%} of the steps, abstains at "
            f"least once in {self.handed_over:.1%} of {self.sessions:,} sessions"
        )


def calibrate_agent(
    agent: Agent,
    sessions: Callable[[], SessionDecisions],
    error: float,
    *,
    loss: str,
    level: float | None = None,
    measure: str = "auto",
) -> Abstention:
    """Choose the threshold that bounds the mean loss of a session, and set it in the agent. See `seqel.safety.conformal`.

    sessions: returns the decisions to calibrate on, from `played_sessions` or `recorded_sessions`; it is called once the
    agent has a measure. The sessions must be like those that the agent will meet, and not those that it was trained on.

    Raises:
        ConfigError, DataError: see `choose_measure` and `calibrate`; the agent is then not calibrated.
    """
    chosen = choose_measure(agent.network.config, agent.action_spec.dims, measure)
    holds_for = fingerprint(weights_checksum(agent.network), agent.info)
    found = Abstention(None, chosen, error, loss, level, 0, 0.0, 1.0, holds_for)
    agent.set_abstention(found)
    try:
        decided = sessions()
        jumps = jumps_of(decided, loss, level)
        threshold = calibrate(jumps, error)
    except BaseException:
        agent.set_abstention(None)
        raise
    found = replace(
        found, threshold=None if threshold == math.inf else threshold, sessions=len(decided),
        risk=float(jumps.losses(threshold).mean()), coverage=decided.coverage(threshold),
    )  # fmt: skip
    agent.set_abstention(found)
    return found


def realised(abstention: Abstention, sessions: SessionDecisions) -> Realised:
    """Return the mean loss and the coverage of a threshold in sessions."""
    threshold = math.inf if abstention.threshold is None else abstention.threshold
    known = (sessions.returns is not None) if abstention.loss == "return" else (sessions.wrong is not None)
    losses = jumps_of(sessions, abstention.loss, abstention.level).losses(threshold) if known else None
    handed_over = [bool(abstention.abstains(one).any()) for one in sessions.uncertainty]
    return Realised(
        len(sessions), None if losses is None else float(losses.mean()),
        None if losses is None else bootstrap_interval(losses), abstention.error, sessions.coverage(threshold),
        float(np.mean(handed_over)),
    )  # fmt: skip


def played_sessions(
    agent: Agent, make: EnvMaker, episodes: int, seed: int = 0, progress: Progress | None = None, limit: int = LONGEST,
    queue: ReviewQueueFile | None = None,
) -> SessionDecisions:  # fmt: skip
    """Play greedy episodes, also through decisions that the agent abstains from, and return uncertainties and returns.

    Episode n is reset with seed + n. queue: every step is added to it.

    Raises ConfigError: no episodes, reserved seeds, or an agent that is not calibrated.
    """
    require_for_reports(seed, episodes, limit)
    _require_spread(agent)
    count = min(ROWS // 2, episodes)
    envs = make_vector(make, count)
    try:
        stream = VectorStream(envs, agent.observation_spec, agent.action_spec)
        uncertainties: list[list[float]] = [[] for _ in range(episodes)]
        returns = np.zeros(episodes)
        number, following, done = np.arange(count), count, 0
        stream.reset([seed + i for i in range(count)])
        state: Any = None
        last: list[Any] = [None] * count
        reward = np.zeros(count, np.float32)
        while done < episodes:
            decision, state = agent.act(stream.current, state, reward=reward, first=stream.first, mask=stream.mask)
            assert decision.uncertainty is not None
            if queue is not None:
                last = _queued(queue, agent, stream, decision, reward, number, uncertainties, last)
            outcome = stream.step(decision.action - agent.action_spec.offset)
            reward = outcome.reward.astype(np.float32)
            over = outcome.ended.copy()
            for row in np.flatnonzero(number < episodes).tolist():
                episode = uncertainties[int(number[row])]
                episode.append(float(decision.uncertainty[row]))
                returns[number[row]] += outcome.reward[row]
                over[row] |= len(episode) >= limit
            if not over.any():
                continue
            done += int((over & (number < episodes)).sum())
            number[over] = following + np.arange(int(over.sum()))
            following += int(over.sum())
            seeds = [seed + min(int(number[row]), episodes - 1) if over[row] else None for row in range(count)]
            stream.reset(seeds, over)
            reward[over] = 0.0
            if progress is not None:
                progress(min(done, episodes))
        return SessionDecisions([np.array(one) for one in uncertainties], returns=returns)
    finally:
        close_vector(envs)


def recorded_sessions(agent: Agent, buffer: EpisodeBuffer, progress: Progress | None = None) -> SessionDecisions:
    """Let an agent decide every step of recorded episodes, after the recorded history, and compare with the recorded actions.

    The uncertainties of an agent that is not calibrated are 0.
    """
    numbers, columns = buffer.table.numbers, buffer.slots.columns
    leaves = {
        name.removeprefix(OBSERVATION): column for name, column in columns.items() if name.startswith(OBSERVATION)
    }
    order = np.argsort(-numbers[:, EpisodeTable.LENGTH], kind="stable")
    uncertainties: list[NDArray[Any]] = [np.zeros(0)] * len(numbers)
    wrongs: list[NDArray[np.bool_]] = [np.zeros(0, bool)] * len(numbers)
    actions: list[NDArray[np.int64]] = [np.zeros((0, agent.action_spec.dims), np.int64)] * len(numbers)
    returns = buffer.returns()
    for begin in range(0, len(order), ROWS):
        which = order[begin : begin + ROWS]
        slot, length = numbers[which, EpisodeTable.SLOT], numbers[which, EpisodeTable.LENGTH]
        uncertainty, wrong = np.zeros((len(which), int(length[0]))), np.zeros((len(which), int(length[0])), bool)
        taken = np.zeros((*wrong.shape, agent.action_spec.dims), np.int64)
        state = agent.initial_state(len(which))
        for step in range(int(length[0])):
            rows = np.arange(int((length > step).sum()))  # the longest are first
            here = slot[rows] + step
            given: dict[str, Any] = {}
            if step:
                before = np.asarray(columns["action"][here - 1], np.int64) + np.asarray(agent.action_spec.start)
                given = {"reward": columns["reward"][here - 1], "previous_action": before}
            if "action_mask" in columns:
                given["mask"] = columns["action_mask"][here]
            seen = FlatObservation({path: leaf[here] for path, leaf in leaves.items()})
            decision, state = agent.act(seen, state, rows=rows, **given)
            if decision.uncertainty is not None:
                uncertainty[rows, step] = decision.uncertainty
            taken[rows, step] = decision.action.reshape(len(rows), -1) - np.asarray(agent.action_spec.start)
            wrong[rows, step] = (taken[rows, step] != columns["action"][here]).any(axis=1)
        for row, episode in enumerate(which.tolist()):
            uncertainties[episode], wrongs[episode] = uncertainty[row, : length[row]], wrong[row, : length[row]]
            actions[episode] = taken[row, : length[row]]
        if progress is not None:
            progress(min(begin + ROWS, len(order)))
    return SessionDecisions(uncertainties, wrongs, returns, actions)


def _require_spread(agent: Agent) -> None:
    if agent.abstention is None:
        raise ConfigError("abstention: expected an agent with a measure of its uncertainty: see `set_abstention`")


def _queued(
    queue: ReviewQueueFile,
    agent: Agent,
    stream: VectorStream,
    decision: Decision,
    reward: NDArray[np.float32],
    number: NDArray[np.int64],
    uncertainties: list[list[float]],
    last: list[Any],
) -> list[Any]:
    """Add the current step of each episode to a queue; returns the actions' names, to be `last` at the next step."""
    assert decision.abstain is not None and decision.uncertainty is not None
    entries, names = [], []
    for row, action in enumerate(decision.action.tolist()):
        names.append([str(one) for one in action] if isinstance(action, list) else str(action))
        if number[row] >= len(uncertainties):
            continue
        step, uncertainty = len(uncertainties[int(number[row])]), float(decision.uncertainty[row])
        seen = {path: leaf[row].tolist() for path, leaf in stream.current.items()}
        entries.append({
            "kind": "step", "agent": QUEUED, "session": f"episode {number[row]}", "step": step, "observation": seen,
            "previous_action": last[row] if step else None, "reward": float(reward[row]) if step else None,
            "action": names[-1], "abstain": bool(decision.abstain[row]),
            "uncertainty": uncertainty if math.isfinite(uncertainty) else None, "best": [],
        })  # fmt: skip
    queue.write(entries)
    return names


QUEUED = "evaluated"  # in place of an agent's version


def queue_entry(agent: Agent) -> dict[str, Any]:
    """Return the first line of a queue of played episodes."""
    spec = agent.action_spec
    names = [list(map(str, range(start, start + size))) for start, size in zip(spec.start, spec.sizes, strict=True)]
    return {"kind": "agent", "agent": QUEUED, "actions": names, "schema": None}
