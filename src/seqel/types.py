"""The types that travel between rooms, and the legend of shapes.

Legend
------
B  windows in a batch            T  transitions in a window (so T + 1 observations)
E  environments side by side     M  action dimensions (1 for Discrete)
A  actions                       D  model width
C  candidates: the actions that are scored, where not all are
K  policies that are evaluated at once

Where M > 1, A is the size of the widest dimension, and the value of an action is the mean of its parts' values. An action
mask is (B, T+1, M, A); (B, T+1, A) is allowed where M = 1 and nowhere else. `SequenceBatch.allowed` gives the full form.

`context` is how many steps attention reaches back in each layer; `window` is how many transitions a training
sequence has. They are different things. An observation is a flat dict, one array a leaf of the (possibly nested)
space, keyed by its path ("observation" for a space that is a single leaf, "camera/left" for a nested one).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Axis", "Decision", "Episode", "QOutput", "SequenceBatch", "axis_of"]

AXIS = "axis"  # the key in a field's metadata


@dataclass(frozen=True, slots=True)
class Axis:
    """How one field of a batch is padded in time and joined with another batch's: `replay/concat.py` reads this."""

    time: Literal["T", "T+1"] | None  # None: the field has no axis of time, after that of windows
    padding: Literal["zero", "last", "nan"] | None  # what fills further steps; "last": what stands in the last one
    missing: float | bool | Literal["drop", "refuse"] = (
        "drop"  # where only one batch has it: what stands for the other's;
    )
    # "drop": neither has it then; "refuse": an error, because without it the batch would mean something else
    local: bool = False  # refers to the store that the batch came from: left out where batches are joined


def axis_of(name: str) -> Axis:
    """The axis of a field of `SequenceBatch`."""
    found: Axis = next(one for one in fields(SequenceBatch) if one.name == name).metadata[AXIS]
    return found


def _axis(
    time: Literal["T", "T+1"] | None, padding: Any, missing: Any = "drop", local: bool = False
) -> dict[str, Axis]:
    return {AXIS: Axis(time, padding, missing, local)}


@dataclass(frozen=True, slots=True)
class Episode:
    """A contiguous stretch of one episode, T transitions long, as numpy arrays.

    Usually a whole episode. A very long one arrives in segments: `start_step` > 0 says how many steps came before, and
    neither `terminated` nor `truncated` is set on a segment whose episode goes on.
    """

    observation: dict[str, NDArray[Any]]  # each leaf (T+1, ...); the last one is what a truncation bootstraps from
    action: NDArray[np.int64]  # (T, M)
    reward: NDArray[np.float32]  # (T,)
    terminated: bool = False
    truncated: bool = False
    start_step: int = 0  # step number of the first observation in its episode
    previous_action: NDArray[np.int64] | None = None  # (M,)  what stood before; None at an episode's true start
    previous_reward: float = 0.0
    by_agent: NDArray[np.bool_] | None = None  # (T,)  the action was the agent's own choice; None: all were
    action_mask: NDArray[np.bool_] | None = None  # (T+1, A), or (T+1, M, A) where M > 1
    q_acted: NDArray[np.float32] | None = None  # (T,)  Q-value of the action when it was chosen
    behaviour_prob: NDArray[np.float32] | None = None  # (T,)  recorded data: probability of the action; nan: unknown

    def __len__(self) -> int:
        return len(self.reward)


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """B windows of T transitions, ready for the learner. Each field says how it is padded and joined (`Axis`)."""

    # each leaf (B, T+1, ...)
    observation: dict[str, Tensor] = field(metadata=_axis("T+1", "last"))
    # (B, T, M) int64
    action: Tensor = field(metadata=_axis("T", "zero"))
    # (B, T)
    reward: Tensor = field(metadata=_axis("T", "zero"))
    # (B, T)  gamma * (1 - terminated), folded in here and nowhere else; truncation bootstraps
    discount: Tensor = field(metadata=_axis("T", "zero"))
    # (B, T+1) bool  only an episode's true first step
    is_first: Tensor = field(metadata=_axis("T+1", "zero"))
    # (B, T) bool  not padding
    valid: Tensor = field(metadata=_axis("T", "zero"))
    # (B, T) bool  valid, past the burn-in, and the action was the agent's own choice
    loss_mask: Tensor = field(metadata=_axis("T", "zero"))
    # (B,) int64  step number of the window's first observation in its episode
    start_step: Tensor = field(metadata=_axis(None, None))
    # (B, M) int64  what stood before the window (0 at a true start: unused there)
    previous_action: Tensor = field(metadata=_axis(None, None))
    # (B,)
    previous_reward: Tensor = field(metadata=_axis(None, None))
    # (B, T+1, M, A) bool, or (B, T+1, A) where M = 1; also for the bootstrap step
    action_mask: Tensor | None = field(default=None, metadata=_axis("T+1", "last", missing=True))
    # (B, T)  nan in padding
    q_acted: Tensor | None = field(default=None, metadata=_axis("T", "nan"))
    # (B, T)  of recorded actions; nan in padding and where it is not known
    behaviour_prob: Tensor | None = field(default=None, metadata=_axis("T", "nan"))
    # (B, T+1, K, M, A)  probabilities of the policies that are evaluated; None: learn the best one
    policy: Tensor | None = field(default=None, metadata=_axis("T+1", "last", missing="refuse"))
    # (B, T+1, C) int64  the actions that are scored; None: all
    candidates: Tensor | None = field(default=None, metadata=_axis("T+1", "last", missing="refuse"))
    # (B, T+1, C)  log of how many actions each candidate stands for; None: 0
    log_count: Tensor | None = field(default=None, metadata=_axis("T+1", "last", missing="refuse"))
    # (B, T)  how much each step counts; None: 1
    weight: Tensor | None = field(default=None, metadata=_axis("T", "zero", missing=1.0))
    # (B, T) int64  where each step is stored, for priorities and what is kept beside recorded data
    storage_index: Tensor | None = field(default=None, metadata=_axis("T", "last", local=True))
    # (B,)  which episode each window came from
    episode_index: Tensor | None = field(default=None, metadata=_axis(None, None, local=True))
    # how many steps `loss_mask` marks, counted where it costs no device synchronisation
    num_learned: int = field(default=0, metadata=_axis(None, None))

    @property
    def allowed(self) -> Tensor | None:
        """The action mask with an axis of action dimensions, (B, T+1, M, A); None where all actions are allowed.

        Raises:
            ValueError: a mask (B, T+1, A) for more than one dimension.
        """
        mask = self.action_mask
        if mask is None or mask.ndim == 4:
            return mask
        if self.action.shape[-1] > 1:
            raise ValueError(
                f"expected action_mask (B, T+1, M, A) for M = {self.action.shape[-1]} dimensions; got {tuple(mask.shape)}"
            )
        return mask.unsqueeze(2)

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor in it."""
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, dict):
                yield from value.values()
            elif value is not None and not isinstance(value, int):
                yield value

    def to(self, device: torch.device) -> SequenceBatch:
        """The same batch on another device; this one when it is there already."""
        if self.reward.device == device:
            return self
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, which: slice | NDArray[np.int64]) -> SequenceBatch:
        """Some of the windows."""
        part = self._map(lambda tensor: tensor[which])
        return replace(part, num_learned=int(part.loss_mask.sum()))

    def _map(self, change: Callable[[Tensor], Tensor]) -> SequenceBatch:
        changed: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, dict):
                value = {name: change(leaf) for name, leaf in value.items()}
            elif value is not None and not isinstance(value, int):
                value = change(value)
            changed[one.name] = value
        return SequenceBatch(**changed)


@dataclass(frozen=True, slots=True)
class QOutput:
    """What the Q-network says about each step."""

    q: Tensor  # (B, T+1, M, A); (B, T+1, K, M, A) where K policies are evaluated
    logits: Tensor | None = None  # (*q.shape, bins) where the head is distributional
    policy_logits: Tensor | None = None  # (B, T+1, M, A) where the network has a policy head
    value: Tensor | None = None  # (B, T+1) where the network has a head for the state's value
    available: Tensor | None = None  # (M, A) bool, where dimensions differ in size: False beyond a dimension's own

    def detached(self) -> QOutput:
        """The same numbers without gradient."""
        parts: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        cut: dict[str, Any] = {name: None if part is None else part.detach() for name, part in parts.items()}
        return QOutput(**cut)


@dataclass(frozen=True, slots=True)
class Decision:
    """What an agent decided for each row, and the values it decided by."""

    action: NDArray[np.int64]  # (E,), or (E, M) where M > 1
    q: NDArray[np.float32]  # (E, A), or (E, M, A) where M > 1; -inf where an action is masked. Log-probabilities where
    # the agent's policy head decides; far below all others where it filters an action out
