"""The types that travel between rooms, and the legend of shapes.

Legend
------
B  windows in a batch            T  transitions in a window (so T + 1 observations)
E  environments side by side     M  action dimensions (1 for Discrete)
A  actions                       D  model width
C  candidates: the actions that are scored, where not all are

`context` is how many steps attention reaches back in each layer; `window` is how many transitions a training
sequence has. They are different things. An observation is a flat dict, one array a leaf of the (possibly nested)
space, keyed by its path ("observation" for a space that is a single leaf, "camera/left" for a nested one).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Decision", "Episode", "QOutput", "SequenceBatch"]


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
    action_mask: NDArray[np.bool_] | None = None  # (T+1, A)
    q_acted: NDArray[np.float32] | None = None  # (T,)  Q-value of the action when it was chosen
    behaviour_prob: NDArray[np.float32] | None = None  # (T,)  recorded data: probability of the action; nan: unknown

    def __len__(self) -> int:
        return len(self.reward)


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """B windows of T transitions, ready for the learner."""

    observation: dict[str, Tensor]  # each leaf (B, T+1, ...)
    action: Tensor  # (B, T, M) int64
    reward: Tensor  # (B, T)
    discount: Tensor  # (B, T)  gamma * (1 - terminated), folded in here and nowhere else; truncation bootstraps
    is_first: Tensor  # (B, T+1) bool  only an episode's true first step
    valid: Tensor  # (B, T) bool  not padding
    loss_mask: Tensor  # (B, T) bool  valid, past the burn-in, and the action was the agent's own choice
    start_step: Tensor  # (B,) int64  step number of the window's first observation in its episode
    previous_action: Tensor  # (B, M) int64  what stood before the window (0 at a true start: unused there)
    previous_reward: Tensor  # (B,)
    action_mask: Tensor | None = None  # (B, T+1, A) bool  also for the bootstrap step
    q_acted: Tensor | None = None  # (B, T)  nan in padding
    behaviour_prob: Tensor | None = None  # (B, T)  of recorded actions; nan in padding and where it is not known
    policy: Tensor | None = (
        None  # (B, T+1, M, A)  probabilities of the policy that is evaluated; None: learn the best one
    )
    candidates: Tensor | None = None  # (B, T+1, C) int64  the actions that are scored; None: all
    log_count: Tensor | None = None  # (B, T+1, C)  log of how many actions each candidate stands for; None: 0
    weight: Tensor | None = None  # (B, T)  how much each step counts; None: 1
    storage_index: Tensor | None = (
        None  # (B, T) int64  where each step is stored, for priorities and what is kept beside recorded data
    )
    episode_index: Tensor | None = None  # (B,)  which episode each window came from
    num_learned: int = 0  # how many steps `loss_mask` marks, counted where it costs no device synchronisation

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
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, dict):
                value = {name: change(leaf) for name, leaf in value.items()}
            elif value is not None and not isinstance(value, int):
                value = change(value)
            changed[field.name] = value
        return SequenceBatch(**changed)


@dataclass(frozen=True, slots=True)
class QOutput:
    """What the Q-network says about each step."""

    q: Tensor  # (B, T+1, M, A)
    logits: Tensor | None = None  # (B, T+1, M, A, bins) where the head is distributional
    policy_logits: Tensor | None = None  # (B, T+1, M, A) where the network has a policy head
    value: Tensor | None = None  # (B, T+1, M) where the network has a head for the state's value

    def detached(self) -> QOutput:
        """The same numbers without gradient."""
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        cut: dict[str, Any] = {name: None if part is None else part.detach() for name, part in parts.items()}
        return QOutput(**cut)


@dataclass(frozen=True, slots=True)
class Decision:
    """What an agent decided for each row, and the values it decided by."""

    action: NDArray[np.int64]  # (E,), or (E, M) where M > 1
    q: NDArray[np.float32]  # (E, A), or (E, M, A) where M > 1; -inf where an action is masked. Log-probabilities where
    # the agent's policy head decides; far below all others where it filters an action out
