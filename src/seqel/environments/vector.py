"""Vector environments with one contract for every autoreset mode: the true final observation, and no reset transitions.

`VectorStream.step` returns, for every row, the observation that the action led to (`reached`, also at an episode's end), and
holds the observation to act on next (`current`, the first one of a new episode if one started). In NEXT_STEP mode a row
needs one call for its reset: `stepped` is False there, and nothing of that call is recorded.
"""

from __future__ import annotations

import os
import signal
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import numpy as np
from gymnasium import spaces
from gymnasium.error import CustomSpaceError
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import create_shared_memory
from numpy.typing import NDArray

from seqel.action_masks import MASK, read_action_mask
from seqel.environments.contract import COST, CheckedEnv, make_checked
from seqel.environments.resolve import EnvMaker, registered
from seqel.errors import EnvironmentFault, SeqelError, SpaceError
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec

__all__ = ["StepResult", "VectorStream", "close_vector", "cost_of", "make_vector", "success_of"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of one call of `step`, one row per environment."""

    reached: FlatObservation  # leaves (E, *shape)
    reward: NDArray[np.float64]  # (E,)
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    stepped: NDArray[np.bool_]  # False: this row was only reset
    info: dict[str, Any]  # of the step, before any reset
    # (E, A), or (E, M, A) if M > 1: allowed at `reached`; all True where an episode ended with no action allowed
    mask: NDArray[np.bool_] | None = None

    @property
    def ended(self) -> NDArray[np.bool_]:
        """Which rows ended an episode, (E,)."""
        return self.terminated | self.truncated


def make_vector(
    make: EnvMaker, environments: int, mode: Literal["sync", "async", "envpool"] = "sync"
) -> VectorEnv[Any, Any, Any]:
    """Make a vector of `environments` checked copies without autoreset; or envpool's engine for the id that `make` makes.

    Raises:
        EnvironmentFault: an environment cannot be created, or `make` returns the same instance twice.
        ConfigError, SpaceError: envpool has no such id, or one with other spaces.
    """
    if mode == "envpool":
        from seqel.environments.envpool import PoolEnv

        name, arguments = registered(make)
        return cast("VectorEnv[Any, Any, Any]", PoolEnv(name, environments, arguments))
    first = make_checked(make, 0)
    copies = [first]
    try:
        if mode == "async":
            workers = [partial(_in_worker, make, row, os.getpid()) for row in range(environments)]
            return AsyncVectorEnv(
                workers, autoreset_mode=AutoresetMode.DISABLED, shared_memory=_shareable(first)
            )  # `first` stays open, so that an instance that is returned twice is noticed here
        copies.extend(make_checked(make, row) for row in range(1, environments))
        return SyncVectorEnv([lambda copy=copy: copy for copy in copies], autoreset_mode=AutoresetMode.DISABLED)  # type: ignore[misc]
    except BaseException as error:
        if mode == "sync":
            for copy in copies:
                copy.shut()
        if isinstance(error, SeqelError) or not isinstance(error, Exception):
            raise
        reason = _reason(error, None)
        raise EnvironmentFault(f"the environment cannot be created: {reason}") from error
    finally:
        if mode == "async":
            first.shut()


def close_vector(envs: VectorEnv[Any, Any, Any]) -> None:
    """Close a vector environment in any state. A worker that died must not hide the error that killed it."""
    workers = getattr(envs, "processes", [])
    died = any(not worker.is_alive() for worker in workers)
    try:
        envs.close(**({"terminate": True} if died else {}))
    except Exception as error:  # noqa: BLE001  (the training result must not be lost)
        for worker in workers:
            worker.kill()
            worker.join()
        envs.closed = True
        if not died:
            warnings.warn(f"the environments failed in close: {_reason(error, envs)}", RuntimeWarning, stacklevel=2)


def _shareable(env: CheckedEnv) -> bool:
    """Return whether observations can be in shared memory. Custom kinds of space do not support it; and Gymnasium reads
    texts from it once, when the processes start, so that every later observation would show the same text."""
    if _has_text(env.observation_space):
        return False
    try:
        create_shared_memory(env.observation_space, n=1)
    except (CustomSpaceError, TypeError, ValueError):
        return False
    return True


def _has_text(space: spaces.Space[Any]) -> bool:
    if isinstance(space, spaces.Dict):
        return any(map(_has_text, space.values()))
    if isinstance(space, spaces.Tuple):
        return any(map(_has_text, space))
    return isinstance(space, spaces.Text)


def _in_worker(make: EnvMaker, row: int, owner: int) -> Any:
    """Make an environment that ignores Ctrl-C, which reaches every process of a terminal: only the trainer handles it."""
    if os.getpid() != owner:  # gymnasium also makes one in the owner, to read its spaces
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return make_checked(make, row)


def _reason(error: BaseException, envs: VectorEnv[Any, Any, Any] | None) -> str:
    """Describe the error. A broken pipe has no useful message: the process at its other end has ended."""
    if not isinstance(error, EOFError | ConnectionError | BrokenPipeError):
        return f"{type(error).__name__}: {error}"
    codes = []
    for worker in getattr(envs, "processes", []):
        worker.join(0.2)
        if worker.exitcode is not None:
            codes.append(worker.exitcode)
    known = f" with exit code {codes[0]}" if codes else ""
    hint = " (killed, perhaps for lack of memory)" if -signal.SIGKILL in codes else ""
    return f"a worker process ended{known}{hint}; see what it printed above, or set vectorization = 'sync'"


class VectorStream:
    """Steps a vector environment; keeps which rows are at a first step, and the observations to act on."""

    def __init__(self, envs: VectorEnv[Any, Any, Any], spec: ObservationSpec, action: ActionSpec) -> None:
        self.envs, self.spec, self.action_spec = envs, spec, action
        self.count = envs.num_envs
        self.mode = envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self.first: NDArray[np.bool_] = np.ones(self.count, bool)
        self.mask: NDArray[np.bool_] | None = None
        self.current: FlatObservation = FlatObservation()
        self._pending = np.zeros(self.count, bool)  # NEXT_STEP rows whose next call is a reset
        self._dtype = envs.single_action_space.dtype

    @property
    def seedable(self) -> bool:
        """Whether each episode can be reset with its own seed (so that a run can be replayed)."""
        return bool(self.mode == AutoresetMode.DISABLED)

    def reset(self, seeds: list[int | None], rows: NDArray[np.bool_] | None = None) -> None:
        """Start episodes in `rows` (None: all). In modes other than DISABLED the rows start their episodes themselves."""
        options = None if rows is None else {"reset_mask": rows}
        try:
            observation, info = self.envs.reset(seed=cast("Any", seeds), options=options)
        except SeqelError:
            raise
        except Exception as error:
            raise EnvironmentFault(f"the environment failed in reset: {_reason(error, self.envs)}") from error
        current = self.spec.flatten(observation, self.count)
        if rows is None:
            self.current, self.first = current, np.ones(self.count, bool)
            self._pending[:] = False
            self._take_mask(info, np.ones(self.count, bool))
            return
        self._merge(current, rows)
        self.first = self.first | rows
        self._take_mask(info, rows)

    def step(self, action: NDArray[np.int64]) -> StepResult:
        """Take one step in every row.  action (E,), or (E, M) if M > 1, counted from 0.

        Raises:
            EnvironmentFault: the environment fails, or its reward is not finite.
        """
        try:
            observation, reward, terminated, truncated, info = self.envs.step(
                (action + self.action_spec.offset).astype(self._dtype)
            )
        except SeqelError:
            raise
        except Exception as error:
            raise EnvironmentFault(f"the environment failed in step: {_reason(error, self.envs)}") from error
        reward = np.asarray(reward, np.float64)
        if not np.isfinite(reward).all():
            row = int(np.flatnonzero(~np.isfinite(reward))[0])
            raise EnvironmentFault(
                f"environment {row} returned the reward {reward[row]} for action {action[row]}: expected a finite number"
            )
        terminated, truncated = np.array(terminated, bool), np.array(truncated, bool)
        stepped = ~self._pending
        reached = self.spec.flatten(observation, self.count)
        done = terminated | truncated
        self.first = ~stepped
        self._take_mask(info, np.ones(self.count, bool))
        mask = self.mask
        if self.mode == AutoresetMode.SAME_STEP and done.any():
            self.current = reached
            reached = self._with_final(reached, info, done)
            self.first = done.copy()
            mask = self._with_final_mask(info, done)
        else:
            self.current = FlatObservation(reached)
        mask = _open_at_end(mask, done, self.action_spec)
        if self.mode == AutoresetMode.NEXT_STEP:
            self.mask = mask  # the action of the next call (the reset) is ignored, but one has to be chosen
        self._pending = done & (self.mode == AutoresetMode.NEXT_STEP)
        return StepResult(reached, reward, terminated & stepped, truncated & stepped, stepped, info, mask)

    def close(self) -> None:
        """Close the environments. A failure is only a warning."""
        close_vector(self.envs)

    def _merge(self, new: FlatObservation, rows: NDArray[np.bool_]) -> None:
        for path, leaf in self.current.items():
            merged = leaf.copy()
            merged[rows] = new[path][rows]
            self.current[path] = merged

    def _with_final(self, new: FlatObservation, info: dict[str, Any], done: NDArray[np.bool_]) -> FlatObservation:
        reached = FlatObservation({path: leaf.copy() for path, leaf in new.items()})
        for row in np.flatnonzero(done):
            final = self.spec.flatten(info["final_obs"][row], None)
            for path, leaf in final.items():
                reached[path][row] = leaf
        return reached

    def _with_final_mask(self, info: dict[str, Any], done: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """Return the masks of the steps themselves; a SAME_STEP environment reports those of its new episodes."""
        if self.mask is None:
            return None
        return np.where(self._by_row(done), self._read_mask(info.get("final_info", {}), done), self.mask)

    def _take_mask(self, info: dict[str, Any], rows: NDArray[np.bool_]) -> None:
        if self.mask is None and info.get("action_mask") is None:
            return
        kept = self.unmasked() if self.mask is None else self.mask
        self.mask = np.where(self._by_row(rows), self._read_mask(info, rows), kept)

    def unmasked(self) -> NDArray[np.bool_]:
        """Masks that allow every action: (E, A), or (E, M, A) where M > 1."""
        return np.repeat(self.action_spec.unmasked[None], self.count, axis=0)

    def _by_row(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(E,) with the axes of a mask."""
        return rows.reshape(-1, *([1] * self.action_spec.unmasked.ndim))

    def _read_mask(self, info: dict[str, Any], rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the masks, (E, A) or (E, M, A); everything is allowed where no mask is reported."""
        found = info.get(MASK)
        if found is None:
            return self.unmasked()
        reported = rows & np.asarray(info.get(f"_{MASK}", rows))
        if reported.all():
            try:
                return read_action_mask(found, self.action_spec, self.count)
            except SpaceError:
                pass  # one row is wrong, or they are not alike: read one by one
        mask = self.unmasked()
        for row in np.flatnonzero(reported):
            try:
                if found[row] is not None:
                    mask[row] = read_action_mask(found[row], self.action_spec)
            except SpaceError as error:
                raise EnvironmentFault(f"environment {row}: {error}") from error
        return mask


def _open_at_end(
    mask: NDArray[np.bool_] | None, done: NDArray[np.bool_], action: ActionSpec
) -> NDArray[np.bool_] | None:
    """Allow everything where an episode ended with an empty mask, which would make the maximum undefined."""
    if mask is None:
        return None
    empty = ~mask.any(axis=-1)  # (E,) or (E, M)
    over = done if empty.ndim == 1 else done[:, None]
    return np.where((empty & over)[..., None], action.unmasked, mask)


def success_of(info: dict[str, Any], row: int) -> float | None:
    """Return `is_success` of one environment, or None if it is not reported; `final_info` is read too."""
    for source in (info, info.get("final_info", {})):
        if isinstance(source, dict) and "is_success" in source:
            present = source.get("_is_success")
            if present is None or present[row]:
                return float(source["is_success"][row])
    return None


def cost_of(info: dict[str, Any], count: int) -> NDArray[np.float64] | None:
    """Return `cost` of each environment, (E,): nan where it is not reported; None if it is nowhere.

    `final_info` is read too.
    """
    found = None
    for source in (info, info.get("final_info", {})):
        if isinstance(source, dict) and COST in source:
            found = np.full(count, np.nan) if found is None else found
            present = np.asarray(source.get(f"_{COST}", np.ones(count, np.bool_)))
            found[present] = np.asarray(source[COST], np.float64)[present]
    return found
