"""Computes batches of steps: gives each session a slot with the memory of its steps so far, and takes one step in each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seqel.agents.shielding import shield_in
from seqel.errors import ConfigError
from seqel.serving.auditing import EMPTY, history_digest
from seqel.serving.backends.base import Backend, History, Inputs
from seqel.serving.errors import RequestError
from seqel.serving.records import StepFormat
from seqel.serving.shielding import screen
from seqel.serving.slots import Slots
from seqel.serving.steps import Ready

__all__ = ["Computer", "Observer"]


class Observer(Protocol):
    """Sees every batch, for metrics."""

    def batch(self, rows: int, seconds: float) -> None:
        """Count a batch of rows."""
        ...

    def prefill(self, rows: int, seconds: float) -> None:
        """Count memories that were rebuilt."""
        ...

    def decided(
        self, agent: str, rows: Sequence[Ready], records: NDArray[np.void], scores: NDArray[np.float32]
    ) -> None:
        """See R decisions: records (R,), scores (R, M, A)."""
        ...


class Computer:
    """Takes steps with a backend. One caller at a time. Steps of an agent with a shield go through `screen` first.

    audited: also compute the digest of each session's history.
    """

    def __init__(self, backend: Backend, observer: Observer, audited: bool = False) -> None:
        self.backend, self.observer, self.audited = backend, observer, audited
        self.shield = shield_in(backend.info, backend.observation_spec, backend.action_spec)
        # records of a session to keep; 0: all, where more than the agent's memory depends on them
        self.keep = 0 if audited or self.shield is not None else backend.keep
        self.format = StepFormat(backend.observation_spec, backend.action_spec)
        self.slots = Slots(backend.slots)

    def screen(self, ready: Sequence[Ready]) -> list[RequestError | None]:
        """Set the mask of each row to what its request and the agent's shield allow. -> why a row cannot be computed.

        Rules count from a session's first step, so the whole history is read where the state is not held with the memory.
        """
        if self.shield is None:
            return [None] * len(ready)
        return screen(self.shield, self.format, ready, [self.slots.find(one.step.session or "") for one in ready])

    def compute(self, ready: Sequence[Ready]) -> tuple[NDArray[np.void], NDArray[np.float32]]:
        """Take one step of each row. -> records (R,), scores (R, M, A)."""
        began = time.perf_counter()
        try:
            self._prepare(ready)
            records = np.concatenate([one.step.record for one in ready])
            records["previous_reward"] = [one.reward for one in ready]
            records["previous_action"] = [self._previous_action(one) for one in ready]
            if self.audited:
                for row, one in enumerate(ready):
                    self._digest(one, records[row : row + 1])
            masks = np.stack([one.step.mask if one.mask is None else one.mask for one in ready])
            if self.shield is not None and any(one.mask is None for one in ready):
                raise ConfigError("compute: expected rows that `screen` has read, because the agent has a shield")
            inputs = self._inputs(records, masks, [one.steps for one in ready])
            scores = self.backend.step(_indices(ready), inputs)
        except BaseException:
            for one in ready:  # their memory may be half changed
                self.slots.drop(one.name)
            raise
        records["action"] = scores.argmax(axis=-1)
        records["time"] = time.time()
        for one, action in zip(ready, records["action"].tolist(), strict=True):
            one.slot.steps, one.slot.opened, one.slot.shield = one.steps + 1, one.opened, one.shield
            one.slot.last_action = tuple(action)
            one.slot.digest = (one.digest, one.digest_from)
            if one.step.session is None:
                self.slots.drop(one.name)
        self.observer.batch(len(ready), time.perf_counter() - began)
        return records, scores

    def _previous_action(self, one: Ready) -> tuple[int, ...]:
        if not one.steps:
            return (0,) * self.backend.action_spec.dims
        return one.slot.last_action if one.step.previous_action is None else one.step.previous_action

    def _digest(self, one: Ready, record: NDArray[np.void]) -> None:
        before, one.digest_from = one.slot.digest or (EMPTY, one.steps - len(one.records))
        one.digest = history_digest(self.format, record, history_digest(self.format, one.records, before))

    def _prepare(self, ready: Sequence[Ready]) -> None:
        """Give each row a slot, with the memory of all its steps so far."""
        filled, behind = [], []
        for row, one in enumerate(ready):
            one.name = one.step.session or f"\0{row}"  # sessions of clients have no such names
            slot = self.slots.find(one.name)
            if slot is not None:
                behind += [one] if len(one.records) else []
            else:
                slot = self.slots.take(one.name)
                filled += [one] if len(one.records) else []
            one.slot = slot
            if len(one.records):
                slot.last_action = tuple(one.records["action"][-1].tolist())
        if filled:
            self._fill(filled)
        for step in range(max((len(one.records) for one in behind), default=0)):
            self._catch_up([one for one in behind if step < len(one.records)], step)

    def _fill(self, rows: Sequence[Ready]) -> None:
        """Rebuild the memory of sessions by one prefill, from the latest steps that decide it."""
        began = time.perf_counter()
        histories = []
        for one in rows:
            records = one.records[-self.backend.keep :] if self.backend.keep else one.records
            histories.append(
                History(
                    self.format.observation(records),
                    records["previous_action"].copy(),
                    records["previous_reward"].copy(),
                    one.steps - len(records),
                )
            )
        self.backend.fill(_indices(rows), histories)
        self.observer.prefill(len(rows), time.perf_counter() - began)

    def _catch_up(self, rows: Sequence[Ready], step: int) -> None:
        """Read a step that another replica took, in memory that lacks only a few."""
        records = np.concatenate([one.records[step : step + 1] for one in rows])
        every = np.repeat(self.backend.action_spec.available[None], len(rows), axis=0)
        numbers = [one.steps - len(one.records) + step for one in rows]
        self.backend.step(_indices(rows), self._inputs(records, every, numbers))

    def _inputs(self, records: NDArray[np.void], mask: NDArray[np.bool_], steps: Sequence[int]) -> Inputs:
        return Inputs(
            self.format.observation(records),
            records["previous_action"].copy(),
            records["previous_reward"].copy(),
            np.array([number == 0 for number in steps]),
            mask,
        )


def _indices(rows: Sequence[Ready]) -> NDArray[np.int64]:
    return np.array([one.slot.index for one in rows], np.int64)
