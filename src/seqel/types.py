"""The types that are shared between packages, and the legend of shapes.

Legend
------
B  windows in a batch            T  transitions in a window (so T + 1 observations)
E  parallel environments         M  action dimensions (1 for Discrete)
A  actions                       D  model width
C  candidates: the actions that are scored, if not all are
K  policies that are evaluated together

If M > 1, A is the size of the largest dimension, and the value of an action is the mean of its parts' values. An action
mask is (B, T+1, M, A); (B, T+1, A) is allowed only if M = 1. `SequenceBatch.allowed` gives the full form.

`context` is the number of steps that attention covers in each layer; `window` is the number of transitions in a training
sequence. They are different things. An observation is a flat dict, with one array per leaf of the (possibly nested) space,
keyed by its path ("observation" for a space that is a single leaf, "camera/left" for a nested one).
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

__all__ = ["SEEN_BEFORE", "Axis", "Decision", "Episode", "QOutput", "SequenceBatch", "axis_of"]

SEEN_BEFORE = -1  # in `first_visit`, in place of the sketch of an observation that the episode had reached before

AXIS = "axis"  # the key in a field's metadata


@dataclass(frozen=True, slots=True)
class Axis:
    """How one field of a batch is padded in time and joined with another batch's: `replay/concat.py` reads this."""

    time: Literal["T", "T+1"] | None  # None: the field has no time axis after the window axis
    padding: Literal["zero", "last", "nan"] | None  # what fills padded steps; "last": the last step's value
    missing: float | bool | Literal["drop", "refuse"] = (
        "drop"  # if only one batch has the field: the value for the other's windows;
    )
    # "drop": neither keeps it; "refuse": an error, because the batch would change its meaning without it
    local: bool = False  # refers to the replay that the batch was sampled from: dropped when batches are joined


def axis_of(name: str) -> Axis:
    """Return the axis of a field of `SequenceBatch`."""
    found: Axis = next(one for one in fields(SequenceBatch) if one.name == name).metadata[AXIS]
    return found


def _axis(
    time: Literal["T", "T+1"] | None, padding: Any, missing: Any = "drop", local: bool = False
) -> dict[str, Axis]:
    return {AXIS: Axis(time, padding, missing, local)}


@dataclass(frozen=True, slots=True)
class Episode:
    """A contiguous stretch of one episode, T transitions long, as numpy arrays.

    Usually a whole episode. A very long one is stored in segments: `start_step` > 0 is the number of steps before it, and
    neither `terminated` nor `truncated` is set on a segment whose episode continues.
    """

    observation: dict[str, NDArray[Any]]  # each leaf (T+1, ...); the last one is what a truncation bootstraps from
    action: NDArray[np.int64]  # (T, M)
    reward: NDArray[np.float32]  # (T,)
    terminated: bool = False
    truncated: bool = False
    start_step: int = 0  # step number of the first observation in its episode
    previous_action: NDArray[np.int64] | None = None  # (M,)  the action before; None at an episode's true start
    previous_reward: float = 0.0
    by_agent: NDArray[np.bool_] | None = None  # (T,)  the action was the agent's own choice; None: all were
    action_mask: NDArray[np.bool_] | None = None  # (T+1, A), or (T+1, M, A) where M > 1
    # (T,)  sketch of the observation that each step reached; -1 if the episode had reached it before, or unknown
    first_visit: NDArray[np.int32] | None = None
    behaviour_prob: NDArray[np.float32] | None = None  # (T,)  recorded data: probability of the action; nan: unknown
    cost: NDArray[np.float32] | None = None  # (T,)  what a constraint limits; None: no costs are reported

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
    # (B, M) int64  the action before the window (0 at a true start, where it is unused)
    previous_action: Tensor = field(metadata=_axis(None, None))
    # (B,)
    previous_reward: Tensor = field(metadata=_axis(None, None))
    # (B, T+1, M, A) bool, or (B, T+1, A) if M = 1; also for the bootstrap step
    action_mask: Tensor | None = field(default=None, metadata=_axis("T+1", "last", missing=True))
    # (B, T) int32  sketch of the observation that each step reached; -1 if the episode had reached it before
    first_visit: Tensor | None = field(default=None, metadata=_axis("T", "zero"))
    # (B, T)  how new that observation was, 0 to 1, for the novelty head
    novelty: Tensor | None = field(default=None, metadata=_axis("T", "zero", missing=0.0))
    # (B, T)  probability of the recorded actions; nan in padding and where unknown
    behaviour_prob: Tensor | None = field(default=None, metadata=_axis("T", "nan"))
    # (B, T)  what a constraint limits
    cost: Tensor | None = field(default=None, metadata=_axis("T", "zero", missing="refuse"))
    # (B, T+1, K, M, A)  probabilities of the evaluated policies; None: learn the optimal policy
    policy: Tensor | None = field(default=None, metadata=_axis("T+1", "last", missing="refuse"))
    # (B, T+1, C) int64  the scored actions; None: all
    candidates: Tensor | None = field(default=None, metadata=_axis("T+1", "last", missing="refuse"))
    # (B, T+1, C)  log of how many actions each candidate stands for; None: 0
    log_count: Tensor | None = field(default=None, metadata=_axis("T+1", "last", missing="refuse"))
    # (B, T)  weight of each step in the loss; None: 1
    weight: Tensor | None = field(default=None, metadata=_axis("T", "zero", missing=1.0))
    # (B, T) int64  slot of each step, for priorities and for data kept next to recorded episodes
    storage_index: Tensor | None = field(default=None, metadata=_axis("T", "last", local=True))
    # (B,)  the episode of each window
    episode_index: Tensor | None = field(default=None, metadata=_axis(None, None, local=True))
    # number of steps in `loss_mask`, counted where that needs no device synchronisation
    num_learned: int = field(default=0, metadata=_axis(None, None))

    @property
    def allowed(self) -> Tensor | None:
        """The action mask with an axis of action dimensions, (B, T+1, M, A); None if all actions are allowed.

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
        """Yield every tensor of the batch."""
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, dict):
                yield from value.values()
            elif value is not None and not isinstance(value, int):
                yield value

    def to(self, device: torch.device) -> SequenceBatch:
        """Return the batch on another device; this batch if it is already there."""
        if self.reward.device == device:
            return self
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, which: slice | NDArray[np.int64]) -> SequenceBatch:
        """Return the batch of some of the windows."""
        part = self._map(lambda tensor: tensor[which])
        return replace(part, num_learned=int(part.loss_mask.sum()))

    def learned_steps(self) -> tuple[SequenceBatch, Tensor, Tensor]:
        """Return windows of one transition, one for each step in `loss_mask`, and the step's window and place, (N,) each."""
        window, step = self.loss_mask.nonzero(as_tuple=True)
        both = step[:, None] + step.new_tensor([0, 1])
        changed: dict[str, Any] = {}
        for one in fields(self):
            value, axis = getattr(self, one.name), axis_of(one.name).time

            def pick(tensor: Tensor, axis: str | None = axis) -> Tensor:
                if axis is None:
                    return tensor[window]
                if axis == "T":
                    return tensor[window, step][:, None]
                return tensor[window[:, None], both]

            if isinstance(value, dict):
                value = {name: pick(leaf) for name, leaf in value.items()}
            elif value is not None and not isinstance(value, int):
                value = pick(value)
            changed[one.name] = value
        changed["start_step"] = self.start_step[window] + step
        return SequenceBatch(**changed), window, step

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
    """The output of the Q-network at each step."""

    q: Tensor  # (B, T+1, M, A); (B, T+1, K, M, A) if K policies are evaluated; (B, T+1, M, 1) if `taken`
    logits: Tensor | None = None  # (*q.shape, bins) if the head is distributional
    policy_logits: Tensor | None = None  # (B, T+1, M, A) if the network has a policy head
    value: Tensor | None = None  # (B, T+1) if the network has a state-value head
    novelty: Tensor | None = None  # (B, T+1, M, A) if the network has a novelty head
    cost: Tensor | None = None  # (B, T+1, M, A) if the network has a cost head
    penalty: Tensor | None = None  # the same times the multiplier of the constraint, in units of reward
    available: Tensor | None = None  # (M, A) bool, if dimensions differ in size: False beyond a dimension's size
    # (B, T+1, K, M, A), and with `logits` (*per_critic.shape, bins), if there are K critics: those of each; q is the smallest
    per_critic: Tensor | None = None
    per_critic_logits: Tensor | None = None
    taken: bool = False  # q and logits are those of the action taken alone, at index 0

    @property
    def preference(self) -> Tensor:
        """The scores that a greedy choice by values maximises: the values, minus a constraint's penalty if there is one."""
        return self.q if self.penalty is None else self.q - self.penalty

    def detached(self) -> QOutput:
        """Return the same values without gradient."""
        parts: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        cut: dict[str, Any] = {name: part.detach() if hasattr(part, "detach") else part for name, part in parts.items()}
        return QOutput(**cut)


@dataclass(frozen=True, slots=True)
class Decision:
    """An agent's decision for each row, and the scores that it is based on."""

    action: NDArray[np.int64]  # (E,), or (E, M) if M > 1
    q: NDArray[np.float32]  # (E, A), or (E, M, A) if M > 1; -inf for masked actions. Log-probabilities if
    # the agent's policy head decides; far below all others for actions that a policy constraint excludes
    abstain: NDArray[np.bool_] | None = None  # (E,) the agent does not decide; None: it was not calibrated
    uncertainty: NDArray[np.float64] | None = None  # (E,) what that is based on: see `seqel.safety.abstention`
