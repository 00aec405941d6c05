"""Applies an agent's shield to the steps of sessions, from the records of their observations, actions and rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqel.safety.shield import Shield
from seqel.serving.errors import Conflict, InvalidRequest, RequestError
from seqel.serving.records import StepFormat
from seqel.serving.slots import Slot

if TYPE_CHECKING:
    from seqel.serving.steps import Ready

__all__ = ["screen"]


def screen(
    shield: Shield, form: StepFormat, ready: Sequence[Ready], slots: Sequence[Slot | None]
) -> list[RequestError | None]:
    """Set `mask` and `shield` of each row. -> why a row cannot be computed, or None.

    slots: where the state of a session is held, if it is; else it is computed from all its records.
    """
    problems: list[RequestError | None] = []
    good, states, last = [], [], []
    for one, slot in zip(ready, slots, strict=True):
        held = None if slot is None else slot.shield
        if held is None and len(one.records) != one.steps:
            problems.append(
                Conflict(
                    "the agent's rules count from a session's first step, but of this session only the latest "
                    f"{len(one.records)} of {one.steps} steps are kept: open a new session"
                )
            )
            continue
        problems.append(None)
        good.append(one)
        states.append(_caught_up(shield, form, shield.initial(1)[0] if held is None else held, one))
        last.append(_last_action(one, slot, len(shield.action_spec.sizes)))
    if not good:
        return problems
    new, allowed = shield.read(
        np.stack(states),
        form.observation(np.concatenate([one.step.record for one in good])),
        previous_action=np.array(last, np.int64),
        reward=np.array([one.reward for one in good], np.float32),
        first=np.array([one.steps == 0 for one in good]),
    )
    found = {}
    for row, one in enumerate(good):
        one.shield, one.mask = new[row], one.step.mask & allowed[row]
        if not one.mask.any(axis=-1).all():
            found[id(one)] = InvalidRequest(
                "mask: no action is left that both the request and the agent's rules allow: the fallback "
                f"{shield.fallback} must stay allowed"
            )
    return [found.get(id(one), problem) for one, problem in zip(ready, problems, strict=True)]


def _caught_up(shield: Shield, form: StepFormat, state: NDArray[np.float64], one: Ready) -> NDArray[np.float64]:
    """Return the state (K,) after the records that it lacks."""
    if not len(one.records):
        return state
    return shield.read_history(
        state, form.observation(one.records), previous_action=one.records["previous_action"],
        reward=one.records["previous_reward"], first=one.steps == len(one.records),
    )  # fmt: skip


def _last_action(one: Ready, slot: Slot | None, dims: int) -> tuple[int, ...]:
    """Return the action (M,) before this step, as the computation of the step finds it."""
    if one.step.previous_action is not None:
        return one.step.previous_action
    if len(one.records):
        return tuple(one.records["action"][-1].tolist())
    return slot.last_action if slot is not None and slot.last_action else (0,) * dims
