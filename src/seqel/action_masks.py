"""Action masks: which actions are allowed. Ambiguous input is refused, never guessed at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import SpaceError

if TYPE_CHECKING:
    from gymnasium import spaces

    from seqel.spaces import ObservationSpec

__all__ = ["MASK", "UNMASKED", "mask_in", "mask_space", "read_mask"]

MASK = "action_mask"  # the key in `info`, or in a Dict observation (as in PettingZoo and RLlib)

UNMASKED = (
    "this agent was trained with action masks and acts without one: it may choose an action that is not allowed. Pass "
    "`mask` to `act`, or `action_masks` to `predict`"
)


def read_mask(mask: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of exactly this shape: True (also 1 or 1.0) for allowed actions, False (also 0 or 0.0) for others.

    Raises:
        SpaceError: anything else, such as a list of indices, additive masks (0 and -inf), texts, or another shape.
    """
    try:
        array = np.asarray(mask)
    except (TypeError, ValueError) as error:  # ragged
        raise SpaceError(f"{_expected(shape)}, got {mask!r:.80}") from error
    if array.dtype.kind not in "biuf":
        raise SpaceError(f"{_expected(shape)}, got {mask!r:.80}")
    if array.shape != shape:
        raise SpaceError(f"{_expected(shape)}, got shape {list(array.shape)}: {array.tolist()!r:.80}{_hint(shape)}")
    if array.dtype.kind == "b":
        return np.asarray(array, np.bool_)
    if not ((array == 0) | (array == 1)).all():
        raise SpaceError(f"{_expected(shape)}, got {array.tolist()!r:.80}{_hint(shape)}")
    return array.astype(np.bool_)


def mask_in(observation: Any, spec: ObservationSpec) -> Any:
    """Return the mask that a Dict observation has under "action_mask"; None if there is none, or if it is a leaf."""
    if not isinstance(observation, Mapping) or MASK not in observation:
        return None
    return None if any(leaf.keys == (MASK,) for leaf in spec.leaves) else observation[MASK]


def mask_space(space: spaces.Space[Any], actions: int) -> bool:
    """Return whether a Dict observation space has an entry "action_mask" of `actions` yes/no values.

    Raises:
        SpaceError: it has an entry of that name, but of another kind.
    """
    from gymnasium import spaces

    if not isinstance(space, spaces.Dict) or MASK not in space.spaces:
        return False
    part = space.spaces[MASK]
    if isinstance(part, spaces.MultiBinary):
        binary = True
    elif isinstance(part, spaces.MultiDiscrete):
        binary = bool((part.nvec == 2).all() and not np.any(part.start))
    else:
        binary = isinstance(part, spaces.Box) and bool((part.low >= 0).all() and (part.high <= 1).all())
    if not binary or part.shape != (actions,):
        raise SpaceError(
            f"observation {MASK!r}: expected a mask, {actions} yes/no values (Box(0, 1, ({actions},), np.int8) or "
            f"MultiBinary({actions})), got {part}. If it is not an action mask, rename it"
        )
    return True


def _expected(shape: tuple[int, ...]) -> str:
    sizes = " x ".join(map(str, shape))
    return f"{MASK}: expected {sizes} yes/no values (True or 1: allowed)"


def _hint(shape: tuple[int, ...]) -> str:
    return f". Convert indices i to a mask with np.isin(np.arange({shape[-1]}), i), logits x with x == 0"
