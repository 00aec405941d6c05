"""Action masks: which actions are allowed. Ambiguous input is refused, never guessed at.

With one action dimension a mask is (A,). With M of them it is (M, A), False beyond a dimension's own size; it may be given
so, as a tuple or list of M arrays (sizes[m],), or as these arrays end to end, (sum of sizes,), as in sb3-contrib.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import SpaceError

if TYPE_CHECKING:
    from gymnasium import spaces

    from seqel.spaces import ActionSpec, ObservationSpec

__all__ = ["MASK", "UNMASKED", "mask_in", "mask_space", "read_action_mask", "read_mask", "require_some"]

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


def read_action_mask(mask: Any, action: ActionSpec, rows: int | None = None) -> NDArray[np.bool_]:
    """A mask of these actions, of one step or of `rows` steps side by side.

    Returns:
        (A,) or (M, A), with an axis of `rows` before them where there are rows.

    Raises:
        SpaceError: it is none (see `read_mask`), or allows what lies beyond a dimension's own size.
    """
    before = () if rows is None else (rows,)
    if action.dims == 1:
        return read_mask(mask, (*before, action.actions))
    sizes = action.sizes
    if _in_parts(mask, action, rows):
        parts = [_read_part(mask[number], (*before, size), number) for number, size in enumerate(sizes)]
    elif np.ndim(_no_ragged(mask, action)) == len(before) + 1:  # end to end
        flat = read_mask(mask, (*before, sum(sizes)))
        parts = np.split(flat, np.cumsum(sizes)[:-1], axis=-1)
    else:
        array = read_mask(mask, (*before, action.dims, action.actions))
        beyond = array & ~action.available
        if beyond.any():
            number = int(np.flatnonzero(beyond.reshape(-1, *action.available.shape).any(axis=(0, 2)))[0])
            raise SpaceError(
                f"{MASK}: expected False beyond the {sizes[number]} actions of dimension {number}, got "
                f"{array.tolist()!r:.80}. A tuple of {action.dims} arrays needs no padding"
            )
        return array
    padded = np.zeros((*before, action.dims, action.actions), np.bool_)
    for number, part in enumerate(parts):
        padded[..., number, : sizes[number]] = part
    return padded


def require_some(mask: NDArray[np.bool_], action: ActionSpec) -> None:
    """Raises SpaceError unless every row allows an action, in every dimension.  mask (R, A) or (R, M, A)."""
    none = ~mask.any(axis=-1)
    if none.any():
        rows = np.unique(np.nonzero(none)[0]).tolist()
        where = "" if action.dims == 1 else f" in dimension {int(np.nonzero(none)[1][0])}"
        raise SpaceError(f"mask: rows {rows} allow no action at all{where}")


def _in_parts(mask: Any, action: ActionSpec, rows: int | None) -> bool:
    """Whether the mask comes as an array for each dimension. A list of rows is none, nor one of M padded rows."""
    if not isinstance(mask, tuple | list) or (isinstance(mask, list) and rows is not None):
        return False
    lengths = [np.shape(part)[-1:] if isinstance(part, np.ndarray | list | tuple) else () for part in mask]
    padded = len(lengths) == action.dims and all(length == (action.actions,) for length in lengths)
    return len(mask) == action.dims and all(lengths) and not (padded and rows is None)


def _read_part(part: Any, shape: tuple[int, ...], number: int) -> NDArray[np.bool_]:
    try:
        return read_mask(part, shape)
    except SpaceError as error:
        raise SpaceError(f"dimension {number}: {error}") from error


def _no_ragged(mask: Any, action: ActionSpec) -> Any:
    try:
        return np.asarray(mask)
    except (TypeError, ValueError) as error:
        raise SpaceError(
            f"{MASK}: expected {action.dims} arrays of {', '.join(map(str, action.sizes))} yes/no values (True or 1: "
            f"allowed), got {mask!r:.80}"
        ) from error


def mask_in(observation: Any, spec: ObservationSpec) -> Any:
    """Return the mask that a Dict observation has under "action_mask"; None if there is none, or if it is a leaf."""
    if not isinstance(observation, Mapping) or MASK not in observation:
        return None
    return None if any(leaf.keys == (MASK,) for leaf in spec.leaves) else observation[MASK]


def mask_space(space: spaces.Space[Any], action: ActionSpec) -> bool:
    """Return whether a Dict observation space has an entry "action_mask" with a yes/no value for each action.

    Raises:
        SpaceError: it has an entry of that name, but of another kind.
    """
    from gymnasium import spaces

    if not isinstance(space, spaces.Dict) or MASK not in space.spaces:
        return False
    part = space.spaces[MASK]
    sizes, actions = action.sizes, action.actions
    if action.dims > 1:
        return _require_mask_space_of_dimensions(part, action)
    if not _is_binary(part) or part.shape != sizes:
        raise SpaceError(
            f"observation {MASK!r}: expected a mask, {actions} yes/no values (Box(0, 1, ({actions},), np.int8) or "
            f"MultiBinary({actions})), got {part}. If it is not an action mask, rename it"
        )
    return True


def _require_mask_space_of_dimensions(part: spaces.Space[Any], action: ActionSpec) -> bool:
    from gymnasium import spaces

    sizes, shape = action.sizes, (action.dims, action.actions)
    if isinstance(part, spaces.Tuple):
        shapes = [one.shape for one in part.spaces]
        fits = shapes == [(size,) for size in sizes] and all(map(_is_binary, part.spaces))
    else:
        fits = _is_binary(part) and part.shape in ((sum(sizes),), shape)
    if not fits:
        raise SpaceError(
            f"observation {MASK!r}: expected a mask, a Tuple of {len(sizes)} MultiBinary spaces of "
            f"{', '.join(map(str, sizes))} values, or MultiBinary({list(shape)}) padded with False, got {part}. If it is "
            "something else, give it another name"
        )
    return True


def _is_binary(part: spaces.Space[Any]) -> bool:
    from gymnasium import spaces

    if isinstance(part, spaces.MultiBinary):
        return True
    if isinstance(part, spaces.MultiDiscrete):
        return bool((part.nvec == 2).all() and not np.any(part.start))
    return isinstance(part, spaces.Box) and bool((part.low >= 0).all() and (part.high <= 1).all())


def _expected(shape: tuple[int, ...]) -> str:
    sizes = " x ".join(map(str, shape))
    return f"{MASK}: expected {sizes} yes/no values (True or 1: allowed)"


def _hint(shape: tuple[int, ...]) -> str:
    return f". Convert indices i to a mask with np.isin(np.arange({shape[-1]}), i), logits x with x == 0"
