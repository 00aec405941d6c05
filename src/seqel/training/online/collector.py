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
from seqel.environments.vector import VectorStream, cost_of, success_of
from seqel.errors import EnvironmentFault
from seqel.replay.buffer import Replay
from seqel.training.online.actors import Actors
from seqel.training.online.fast_forward import fast_forward
from seqel.training.return_scale import ReturnScale
from seqel.types import SEEN_BEFORE, Episode, SequenceBatch

__all__ = ["Collector", "EpisodeEnd", "episode_seed"]


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

    Steps are staged in preallocated arrays, one row per environment. An episode longer than `segment` transitions goes to
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
        self.cursor = np.zeros(count, np.int64)  # transitions staged
        self.start = np.zeros(count, np.int64)  # step number of the first staged observation
        self.before_action = np.zeros((count, dims), np.int64)  # the action before the first staged step
        self.before_reward = np.zeros(count, np.float32)
        self.total = np.zeros(count, np.float64)
        self.total_cost = np.zeros(count, np.float64)
        self.codes = np.zeros(count, np.int64)  # sketches of the current observations
        self.visits = VisitCounts(count)
        # actions since each reset, to replay them: numbers, or lists of M numbers where M > 1
        self.history: list[list[Any]] = [[] for _ in range(count)]
        self._allocate()

    def _allocate(self) -> None:
        count, room = self.stream.count, self.segment
        storage = self.stream.spec.storage
        self.staged = {path: np.zeros((count, room + 1, *shape), dtype) for path, (shape, dtype) in storage.items()}
        self.action = np.zeros((count, room, self.stream.action_spec.dims), np.int64)
        self.reward = np.zeros((count, room), np.float32)
        self.first_visit = np.full((count, room), SEEN_BEFORE, np.int32)
        self.cost = np.zeros((count, room if self.replay.layout.costs else 0), np.float32)
        self.mask: NDArray[np.bool_] | None = None
        if self.replay.layout.masked:
            self.mask = np.repeat(self.stream.unmasked()[:, None], room + 1, axis=1)

    def begin(self) -> None:
        """Reset every environment to its first episode."""
        every = np.ones(self.stream.count, bool)
        self.stream.reset(self._seeds(every))
        self._stage_first(every)

    # -- one step of every environment -----------------------------------------------------------------------------

    def step(self, fraction: float = 1.0) -> list[EpisodeEnd]:
        """Take one step in every environment; `fraction` is the share of the run that is over, which anneals exploration."""
        stream = self.stream
        if self.mask is None and stream.mask is not None:
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
        for row in np.flatnonzero((self.cursor == self.segment) & ~over).tolist():
            self._cut(row)
        return ended

    def _stage(self, outcome: Any, action: NDArray[np.int64]) -> None:
        live = np.flatnonzero(outcome.stepped)
        self.steps += len(live)
        at = self.cursor[live]
        self.action[live, at] = action.reshape(self.last_action.shape)[live]
        self.reward[live, at] = outcome.reward[live]
        if self.sketch is not None:
            self.codes[live] = self.sketch.codes(outcome.reached)[live]
            self.first_visit[live, at] = self.visits.reach(self.codes[live], live)
        for path, leaf in outcome.reached.items():
            self.staged[path][live, at + 1] = leaf[live]
        if self.mask is not None:
            self.mask[live, at + 1] = self.stream.action_spec.unmasked if outcome.mask is None else outcome.mask[live]
        if self.replay.layout.costs:
            cost = self._costs(outcome, live)
            self.cost[live, at] = cost
            self.total_cost[live] += cost
        self.cursor[live] += 1
        self.total[live] += outcome.reward[live]
        self.last_action = action.reshape(self.last_action.shape)
        self.last_reward = outcome.reward.astype(np.float32)
        if self.stream.seedable:
            for row, choice in zip(live.tolist(), action[live].tolist(), strict=True):
                self.history[row].append(choice)

    def _costs(self, outcome: Any, live: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the costs of the rows that took a step."""
        found = cost_of(outcome.info, self.stream.count)
        costs = np.full(len(live), np.nan) if found is None else found[live]
        if np.isnan(costs).any():
            row = int(live[np.isnan(costs)][0])
            raise EnvironmentFault(
                f"environment {row}: objective.cost_limit needs info['cost'], a finite number of at least 0, at every step; "
                "after this step there was none"
            )
        return costs

    def _finish(self, outcome: Any) -> list[EpisodeEnd]:
        ended = []
        for row in np.flatnonzero(outcome.ended).tolist():
            episode = self._episode(row, bool(outcome.terminated[row]), bool(outcome.truncated[row]))
            self.replay.add(episode)
            self.scale.observe(episode.reward)
            length = int(self.start[row] + self.cursor[row])
            success = success_of(outcome.info, row)
            cost = float(self.total_cost[row]) if self.replay.layout.costs else None
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
        for row in np.flatnonzero(self.cursor).tolist():
            episode = self._episode(row, terminated=False, truncated=True)
            self.replay.add(episode)
            self.scale.observe(episode.reward)
        every = np.ones(self.stream.count, bool)
        self.episodes += 1
        self.stream.reset(self._seeds(every))
        self._stage_first(every)

    def _stage_first(self, rows: NDArray[np.bool_]) -> None:
        self.cursor[rows] = self.start[rows] = 0
        self.total[rows] = self.total_cost[rows] = 0.0
        self.before_action[rows] = 0
        self.before_reward[rows] = self.last_reward[rows] = 0.0
        for path, leaf in self.stream.current.items():
            self.staged[path][rows, 0] = leaf[rows]
        if self.sketch is not None:
            began = {path: leaf[rows] for path, leaf in self.stream.current.items()}
            self.codes[rows] = self.sketch.codes(began)
            self.visits.begin(self.codes[rows], np.flatnonzero(rows))
        if self.mask is not None:
            unmasked = self.stream.action_spec.unmasked
            self.mask[rows, 0] = unmasked if self.stream.mask is None else self.stream.mask[rows]
        for row in np.flatnonzero(rows).tolist():
            self.history[row] = []

    def _cut(self, row: int) -> None:
        """Hand over a segment of an unfinished episode, and keep its last `context` steps as burn-in of the next."""
        episode = self._episode(row, terminated=False, truncated=False)
        self.replay.add(episode)
        self.scale.observe(episode.reward)
        moved = self.segment - self.context
        self.before_action[row] = self.action[row, moved - 1]
        self.before_reward[row] = self.reward[row, moved - 1]
        for array in (*self.staged.values(), *(() if self.mask is None else (self.mask,))):
            array[row, : self.context + 1] = array[row, moved:].copy()
        costs = (self.cost,) if self.replay.layout.costs else ()
        for flat in (self.action, self.reward, self.first_visit, *costs):
            flat[row, : self.context] = flat[row, moved:].copy()
        self.start[row] += moved
        self.cursor[row] = self.context

    def _episode(self, row: int, terminated: bool, truncated: bool) -> Episode:
        steps, start = int(self.cursor[row]), int(self.start[row])
        return Episode(
            observation={path: leaf[row, : steps + 1] for path, leaf in self.staged.items()},
            action=self.action[row, :steps],
            reward=self.reward[row, :steps],
            terminated=terminated,
            truncated=truncated,
            start_step=start,
            previous_action=self.before_action[row] if start else None,
            previous_reward=float(self.before_reward[row]) if start else 0.0,
            action_mask=None if self.mask is None else self.mask[row, : steps + 1],
            first_visit=self.first_visit[row, :steps],
            cost=self.cost[row, :steps] if self.replay.layout.costs else None,
        )

    # -- memory after a change of the weights --------------------------------------------------------------------------

    def refresh(self) -> None:
        """Recompute the memory of every open episode with the current weights, in one forward pass.

        Exact for episodes whose staged steps start at the first step of the episode, or reach back over the receptive field;
        otherwise the oldest staged steps see less history than when they were taken.
        """
        steps = int(self.cursor.max())
        if steps == 0:
            return
        device = self.actors.agent.device
        tensors = {path: torch.from_numpy(leaf[:, :steps].copy()).to(device) for path, leaf in self.staged.items()}
        first = np.zeros((len(self.cursor), steps), bool)
        first[:, 0] = self.start == 0
        whole = torch.zeros(first.shape, device=device)
        batch = SequenceBatch(
            observation=tensors,
            action=torch.from_numpy(self.action[:, : steps - 1].copy()).to(device),
            reward=torch.from_numpy(self.reward[:, : steps - 1].copy()).to(device),
            discount=whole[:, 1:],
            is_first=torch.from_numpy(first).to(device),
            valid=whole[:, 1:] > 0,
            loss_mask=whole[:, 1:] > 0,
            start_step=torch.from_numpy(self.start.copy()).to(device),
            previous_action=torch.from_numpy(self.before_action.copy()).to(device),
            previous_reward=torch.from_numpy(self.before_reward.copy()).to(device),
        )
        self.actors.refresh(batch, torch.from_numpy(self.cursor.copy()).to(device))

    # -- saved and restored ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an exact resume needs; environments are restored by repeating their actions."""
        return {
            "steps": self.steps,
            "arrays": {name: getattr(self, name) for name in ARRAYS},
            "staged": dict(self.staged),
            "mask": self.mask,
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
        for name in ARRAYS:
            if name in state["arrays"]:  # costs are in states since 2026-11-29
                setattr(self, name, state["arrays"][name].copy())
        self.staged = {path: leaf.copy() for path, leaf in state["staged"].items()}
        self.mask = None if state["mask"] is None else state["mask"].copy()
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
        at = taken - int(self.start[row])
        if at < 0:  # already handed over in an earlier segment
            return True
        if at > 0 and reward is not None and np.float32(reward) != self.reward[row, at - 1]:
            return False
        masks = self.mask, self.stream.mask
        if masks[0] is not None and masks[1] is not None and not np.array_equal(masks[1][row], masks[0][row, at]):
            return False
        now = self.stream.current
        return all(leaf[row, at].tobytes() == now[path][row].tobytes() for path, leaf in self.staged.items())


ARRAYS = (
    "episodes",
    "last_action",
    "last_reward",
    "cursor",
    "start",
    "before_action",
    "before_reward",
    "total",
    "total_cost",
    "cost",
    "action",
    "reward",
    "first_visit",
    "codes",
)
