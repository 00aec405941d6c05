"""The fields of a step in the replay, and the check that an episode fits them.

`Layout.columns_of` turns an `Episode` into arrays ready to store, or raises a `DataError` that names the step. It does not
store anything, so a rejected episode leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.errors import ConfigError, DataError
from seqel.types import SEEN_BEFORE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.types import Episode

__all__ = ["OBSERVATION", "Layout"]

OBSERVATION = "observation/"  # prefix of an observation leaf's column, so that its name cannot equal another column's
BEHAVIOUR, FIRST_VISIT, COST = "behaviour_prob", "first_visit", "cost"


@dataclass(frozen=True, slots=True)
class Layout:
    """Shapes and dtypes of a step: observation leaves, M = action_dims actions in [0, actions), a mask or not.

    A mask is (A,), or (M, A) if M > 1.

    recorded: another policy acted, so instead of what exploration needs (first_visit) the step holds the probability with
    which the action was chosen (behaviour_prob, nan where that is not known).
    """

    leaves: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
    actions: int
    action_dims: int = 1
    masked: bool = False
    recorded: bool = False
    costs: bool = False  # a step has a cost, which a constraint limits

    def __post_init__(self) -> None:
        if not self.leaves:
            raise ConfigError("expected at least one observation leaf, got none")
        if self.actions < 1 or self.action_dims < 1:
            raise ConfigError(f"expected actions >= 1 and action_dims >= 1, got {self.actions} and {self.action_dims}")

    @property
    def extra(self) -> tuple[str, np.dtype[Any], float]:
        """The field that recorded and own experience do not share: its name, its dtype, and its value in padding."""
        if self.recorded:
            return BEHAVIOUR, np.dtype(np.float32), np.nan
        return FIRST_VISIT, np.dtype(np.int32), SEEN_BEFORE

    @property
    def _mask_shape(self) -> tuple[int, ...]:
        return (self.actions,) if self.action_dims == 1 else (self.action_dims, self.actions)

    def columns(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return name -> (shape, dtype) of all fields of a step; actions have the smallest dtype that holds them."""
        columns = {OBSERVATION + name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in self.leaves.items()}
        columns["action"] = ((self.action_dims,), np.min_scalar_type(self.actions - 1))
        columns["reward"] = ((), np.dtype(np.float32))
        columns["by_agent"] = ((), np.dtype(np.bool_))
        name, dtype, _ = self.extra
        columns[name] = ((), dtype)
        if self.costs:
            columns[COST] = ((), np.dtype(np.float32))
        if self.masked:
            columns["action_mask"] = (self._mask_shape, np.dtype(np.bool_))
        return columns

    def columns_of(self, episode: Episode) -> dict[str, NDArray[Any]]:
        """Return the episode as arrays (T+1, *shape), one per column.

        The last step only has an observation (and mask): its action and reward are 0, it is not `by_agent`, and its
        first_visit (or behaviour_prob) is -1 (nan). Sampling relies on that, because padding repeats this step.

        Raises DataError if the episode does not fit the layout.
        """
        steps = len(episode.reward)
        if steps == 0:
            raise DataError("expected an episode of at least one transition, got none")
        if set(episode.observation) != set(self.leaves):
            raise DataError(f"expected observation leaves {sorted(self.leaves)}, got {sorted(episode.observation)}")
        out: dict[str, NDArray[Any]] = {}
        for name, (shape, dtype) in self.leaves.items():
            what = f"observation leaf {name!r}"
            leaf = _shaped(what, episode.observation[name], (steps + 1, *shape))
            out[OBSERVATION + name] = _finite(what, _cast(what, leaf, np.dtype(dtype)))
        action = _shaped("action", episode.action, (steps, self.action_dims))
        self._check_actions("action", action)
        out["action"] = _closed(action, np.min_scalar_type(self.actions - 1), 0)
        reward = _cast("reward", _shaped("reward", episode.reward, (steps,)), np.dtype(np.float32))
        out["reward"] = _closed(_finite("reward", reward), np.dtype(np.float32), 0)
        own = np.ones(steps, np.bool_) if episode.by_agent is None else _shaped("by_agent", episode.by_agent, (steps,))
        out["by_agent"] = _closed(_cast("by_agent", own, np.dtype(np.bool_)), np.dtype(np.bool_), 0)
        name, dtype, unknown = self.extra
        known = getattr(episode, name)
        known = np.full(steps, unknown, dtype) if known is None else known
        known = _cast(name, _shaped(name, known, (steps,)), dtype)
        if self.recorded and ((known <= 0.0) | (known > 1.0)).any():
            step = _step((known <= 0.0) | (known > 1.0))
            raise DataError(f"expected a {name} in (0, 1], got {known[step]} at step {step}")
        out[name] = _closed(known, dtype, unknown)
        if self.costs:
            if episode.cost is None:
                raise DataError("expected episodes with costs (the replay was made with costs=True), got one without")
            cost = _cast(COST, _shaped(COST, episode.cost, (steps,)), np.dtype(np.float32))
            out[COST] = _closed(_finite(COST, cost), np.dtype(np.float32), 0)
        if self.masked != (episode.action_mask is not None):
            got, want = ("a mask", "without") if episode.action_mask is not None else ("no mask", "with")
            raise DataError(
                f"expected episodes {want} action_mask (the replay was made with masked={self.masked}), got {got}: "
                f"make the replay with masked={not self.masked}, or change the episodes"
            )
        if episode.action_mask is not None:
            mask = _shaped("action_mask", episode.action_mask, (steps + 1, *self._mask_shape))
            out["action_mask"] = _cast("action_mask", mask, np.dtype(np.bool_))
        return out

    def before(self, episode: Episode) -> tuple[NDArray[np.int64], float]:
        """Return the action (M,) int64 and the reward before the episode's first step; zeros at a true start."""
        none = np.zeros(self.action_dims, np.int64)
        if episode.start_step < 0:
            raise DataError(f"expected start_step >= 0, got {episode.start_step}")
        if episode.start_step == 0:
            return none, 0.0
        if episode.previous_action is None:
            raise DataError(
                f"expected the previous_action of a segment that starts at step {episode.start_step}, got None: pass the "
                "last action and reward of the segment before it"
            )
        action = _shaped("previous_action", episode.previous_action, (self.action_dims,))
        self._check_actions("previous_action", action[None])
        with np.errstate(over="ignore"):
            reward = float(np.float32(episode.previous_reward))
        if not np.isfinite(reward):
            raise DataError(f"expected a finite previous_reward (float32), got {episode.previous_reward}")
        return none + action, reward

    def _check_actions(self, what: str, action: NDArray[Any]) -> None:
        if action.dtype.kind not in "iu":
            raise DataError(f"expected integers for {what}, got dtype {action.dtype}")
        if action.min() < 0 or action.max() >= self.actions:
            step = int(((action < 0) | (action >= self.actions)).any(axis=-1).argmax())
            raise DataError(f"expected {what} in 0 ... {self.actions - 1}, got {action[step].tolist()} at step {step}")


def _shaped(what: str, value: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(value)
    if array.shape != shape:
        raise DataError(f"expected {what} of shape {shape}, got {array.shape}")
    return array


def _cast(what: str, value: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Cast to `dtype`: within a kind or to a wider one; integers may be narrowed if every value fits."""
    if value.dtype == dtype:
        return value
    if value.dtype.kind in "iu" and dtype.kind in "iu" and not np.can_cast(value.dtype, dtype, "safe"):
        limits = np.iinfo(dtype)
        bad = (value < limits.min) | (value > limits.max)
        if bad.any():
            raise DataError(f"expected {what} to fit {dtype}, got a value outside it at step {_step(bad)}")
    elif not np.can_cast(value.dtype, dtype, "same_kind"):
        raise DataError(f"expected {what} of a dtype that can be cast to {dtype}, got {value.dtype}")
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which the check for finite values reports
        return value.astype(dtype)


def _finite(what: str, value: NDArray[Any]) -> NDArray[Any]:
    if value.dtype.kind in "fc":
        finite = np.isfinite(value)
        if not finite.all():
            step = _step(~finite)
            raise DataError(f"expected finite values ({value.dtype}) for {what}, got one that is not at step {step}")
    return value


def _step(bad: NDArray[np.bool_]) -> int:
    return int(bad.reshape(len(bad), -1).any(axis=1).argmax())


def _closed(value: NDArray[Any], dtype: np.dtype[Any], last: Any) -> NDArray[Any]:
    """Append a step that holds `last`: (T, ...) -> (T+1, ...)."""
    out = np.full((len(value) + 1, *value.shape[1:]), last, dtype)
    out[:-1] = value
    return out
