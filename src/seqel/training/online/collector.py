"""Turns the steps of vector environments into episodes in the replay. Only this file handles where episodes start and end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.agents.exploration import Explorer
from seqel.agents.sketch import ObservationSketch
from seqel.agents.visits import VisitCounts
from seqel.environments.seeds import episode_seed
from seqel.environments.vector import VectorStream, success_of
from seqel.errors import EnvironmentFault
from seqel.replay.buffer import Replay
from seqel.training.online.actors import Actors
from seqel.training.online.costs import step_costs
from seqel.training.online.fast_forward import fast_forward
from seqel.training.online.staging import ARRAYS as STAGED
from seqel.training.online.staging import Staging
from seqel.training.return_scale import ReturnScale
from seqel.types import Episode

__all__ = ["Collector", "EpisodeEnd", "episode_seed"]

ARRAYS = (
    "episodes",
    "last_action",
    "last_reward",
    "total",
    "total_cost",
    "codes",
)  # that are saved, beside the staged ones


@dataclass(frozen=True, slots=True)
class EpisodeEnd:
    """A finished training episode: its return, length and success."""

    environment: int
    total: float  # undiscounted return
    length: int  # transitions
    success: float | None  # info["is_success"], where the environment reports it
    terminated: bool
    cost: float | None = None  # undiscounted sum of info["cost"], where a constraint needs it


class Collector:
    """Acts in all environments in parallel and hands episodes to the replay as they end.

    Steps are staged (`staging.py`), one row per environment. An episode longer than `segment` transitions goes to
    the replay in segments that overlap by `context`, so that every step is trained on and none waits for the episode's end.
    """

    def __init__(
        self,
        stream: VectorStream,
        actors: Actors,
        explorer: Explorer,
        replay: Replay,
        scale: ReturnScale,
        *,
        seed: int,
        segment: int,
        context: int,
        sketch: ObservationSketch | None = None,
    ) -> None:
        """`sketch`: for a count bonus or novelty; None: the exploration uses neither."""
        self.sketch = sketch
        self.stream, self.actors, self.explorer, self.replay, self.scale = stream, actors, explorer, replay, scale
        self.seed, self.segment, self.context = seed, max(segment, 2 * context), context
        count, dims = stream.count, stream.action_spec.dims
        self.steps = 0
        self.episodes = np.zeros(count, np.int64)  # how many were started before the current one
        self.last_action = np.zeros((count, dims), np.int64)
        self.last_reward = np.zeros(count, np.float32)
        self.total = np.zeros(count, np.float64)
        self.total_cost = np.zeros(count, np.float64)
        self.codes = np.zeros(count, np.int64)  # sketches of the current observations
        self.visits = VisitCounts(count)
        # actions since each reset, to replay them: numbers, or lists of M numbers where M > 1
        self.history: list[list[Any]] = [[] for _ in range(count)]
        layout = replay.layout
        self.staging = Staging(stream, self.segment, masked=layout.masked, costs=layout.costs)

    def begin(self) -> None:
        """Reset every environment to its first episode."""
        every = np.ones(self.stream.count, bool)
        self.stream.reset(self._seeds(every))
        self._stage_first(every)

    # -- one step of every environment -----------------------------------------------------------------------------

    def step(self, fraction: float = 1.0) -> list[EpisodeEnd]:
        """Take one step in every environment; `fraction` is the share of the run that is over, which anneals exploration."""
        stream = self.stream
        if self.staging.mask is None and stream.mask is not None:
            raise EnvironmentFault(
                "an action mask was reported for the first time, but the probe of the environment saw none: report "
                "info['action_mask'] from the first reset on, all True where everything is allowed"
            )
        q, novelty = self.actors.act(
            stream.current,
            reward=self.last_reward,
            first=stream.first,
            previous_action=self.last_action,
            mask=stream.mask,
        )
        scale = float(self.actors.agent.network.head.scale)
        action = self.explorer.select(q, self.codes, stream.mask, scale, fraction, novelty)
        outcome = stream.step(action)
        self._stage(outcome, action)
        over = outcome.ended
        ended = self._finish(outcome) if over.any() else []
        if not outcome.stepped.all():
            self._stage_first(~outcome.stepped)
        # in a NEXT_STEP environment, an ended row is still at its last step
        for row in np.flatnonzero((self.staging.cursor == self.segment) & ~over).tolist():
            self._cut(row)
        return ended

    def _stage(self, outcome: Any, action: NDArray[np.int64]) -> None:
        live = np.flatnonzero(outcome.stepped)
        self.steps += len(live)
        visit = cost = None
        if self.sketch is not None:
            self.codes[live] = self.sketch.codes(outcome.reached)[live]
            visit = self.visits.reach(self.codes[live], live)
        if self.staging.costs:
            cost = step_costs(outcome.info, live, self.stream.count)
            self.total_cost[live] += cost
        self.last_action = action.reshape(self.last_action.shape)
        self.last_reward = outcome.reward.astype(np.float32)
        self.staging.add(live, self.last_action, outcome, visit, cost)
        self.total[live] += outcome.reward[live]
        if self.stream.seedable:
            for row, choice in zip(live.tolist(), action[live].tolist(), strict=True):
                self.history[row].append(choice)

    def _finish(self, outcome: Any) -> list[EpisodeEnd]:
        ended = []
        for row in np.flatnonzero(outcome.ended).tolist():
            self._hand_over(self.staging.episode(row, bool(outcome.terminated[row]), bool(outcome.truncated[row])))
            length = int(self.staging.start[row] + self.staging.cursor[row])
            success = success_of(outcome.info, row)
            cost = float(self.total_cost[row]) if self.staging.costs else None
            ended.append(EpisodeEnd(row, float(self.total[row]), length, success, bool(outcome.terminated[row]), cost))
        done = outcome.ended
        self.episodes[done] += 1
        if self.stream.seedable:
            self.stream.reset(self._seeds(done), done)
        began = done & self.stream.first
        if began.any():
            self._stage_first(began)
        return ended

    def interrupt(self) -> None:
        """End every open episode and start the next one, because another agent played in these environments.

        The staged steps are stored as a truncated episode.
        """
        for row in np.flatnonzero(self.staging.cursor).tolist():
            self._hand_over(self.staging.episode(row, terminated=False, truncated=True))
        every = np.ones(self.stream.count, bool)
        self.episodes += 1
        self.stream.reset(self._seeds(every))
        self._stage_first(every)

    def _stage_first(self, rows: NDArray[np.bool_]) -> None:
        self.total[rows] = self.total_cost[rows] = self.last_reward[rows] = 0.0
        self.staging.begin(rows, self.stream.current, self.stream.mask)
        if self.sketch is not None:
            began = {path: leaf[rows] for path, leaf in self.stream.current.items()}
            self.codes[rows] = self.sketch.codes(began)
            self.visits.begin(self.codes[rows], np.flatnonzero(rows))
        for row in np.flatnonzero(rows).tolist():
            self.history[row] = []

    def _cut(self, row: int) -> None:
        """Hand over a segment of an unfinished episode, and keep its last `context` steps as burn-in of the next."""
        self._hand_over(self.staging.episode(row, terminated=False, truncated=False))
        self.staging.keep_last(row, self.context)

    def _hand_over(self, episode: Episode) -> None:
        self.replay.add(episode)
        self.scale.observe(episode.reward)

    # -- memory after a change of the weights --------------------------------------------------------------------------

    def refresh(self) -> None:
        """Recompute the memory of every open episode with the current weights, in one forward pass.

        Exact for episodes whose staged steps start at the first step of the episode, or reach back over the receptive field;
        otherwise the oldest staged steps see less history than when they were taken.
        """
        batch = self.staging.batch(self.actors.agent.device)
        if batch is not None:
            self.actors.refresh(batch, torch.from_numpy(self.staging.cursor.copy()).to(self.actors.agent.device))

    # -- saved and restored ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an exact resume needs; environments are restored by repeating their actions."""
        return {
            "steps": self.steps,
            "arrays": {name: getattr(self._holder(name), name) for name in (*ARRAYS, *STAGED)},
            "staged": dict(self.staging.observation),
            "mask": self.staging.mask,
            "stream_mask": self.stream.mask,
            "actors": self.actors.state_dict(),
            "first": self.stream.first,
            "history": [np.asarray(actions, np.int32) for actions in self.history],
            "explorer": self.explorer.state_dict(),
            "visits": self.visits.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[int]:
        """Replay the open episodes in the environments and restore everything else.

        Returns the rows whose environment behaved differently: their open episodes are dropped and restarted.
        """
        self.steps = int(state["steps"])
        for name in (*ARRAYS, *STAGED):
            if name in state["arrays"]:  # costs are in states since 2026-11-29
                setattr(self._holder(name), name, state["arrays"][name].copy())
        self.staging.observation = {path: leaf.copy() for path, leaf in state["staged"].items()}
        self.staging.mask = None if state["mask"] is None else state["mask"].copy()
        self.explorer.load_state_dict(state["explorer"])
        self.visits.load_state_dict(state["visits"])
        self.history = [np.asarray(actions).tolist() for actions in state["history"]]
        self.actors.load_state_dict(state.get("actors", [state]))  # saved before 2026-11-25: one agent
        lost = every = np.ones(self.stream.count, bool)
        if self.stream.seedable:
            lost = fast_forward(self.stream, self._seeds(every), self.history, self._same)
        self.stream.mask = None if state["stream_mask"] is None else state["stream_mask"].copy()
        self.stream.first = state["first"].copy()
        if lost.any():
            self.episodes[lost] += 1
            self.stream.reset(self._seeds(lost), None if lost.all() else lost)
            self._stage_first(lost)
        return [int(row) for row in np.flatnonzero(lost)]

    def _seeds(self, rows: NDArray[np.bool_]) -> list[int | None]:
        """Return the seeds of the current episodes; None for rows not in `rows`."""
        return [episode_seed(self.seed, i, int(n)) if rows[i] else None for i, n in enumerate(self.episodes)]

    def _same(self, row: int, taken: int, reward: float | None) -> bool:
        """Return whether the environment, replayed for `taken` steps, matches the staged data of that step."""
        return self.staging.matches(row, taken, reward, self.stream.current, self.stream.mask)

    def _holder(self, name: str) -> Collector | Staging:
        """Return what has the array of this name."""
        return self.staging if name in STAGED else self
