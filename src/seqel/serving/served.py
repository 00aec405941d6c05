"""One version of an agent in service: it reads observations from JSON, and returns decisions as JSON."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.action_masks import mask_in, read_action_mask, require_some
from seqel.agents.calibration import abstention_in
from seqel.datasets.encoding import Encoding
from seqel.errors import ConfigError, SeqelError
from seqel.safety.abstention import uncertainty_of_scores
from seqel.serving.backends.base import Backend
from seqel.serving.batching import Batcher
from seqel.serving.errors import InvalidRequest
from seqel.serving.values import read_number
from seqel.spaces import FlatObservation

__all__ = ["Served"]

LONG = 64  # steps of a history that are read without a thread, at most


class Served:
    """An agent, its batcher, and what a client must know of it. `source` is the folder or file that it was loaded from."""

    def __init__(self, version: str, backend: Backend, batcher: Batcher, agent: Any = None, source: str = "") -> None:
        self.version, self.backend, self.batcher, self.agent, self.source = version, backend, batcher, agent, source
        stored = backend.info.get("encoding")
        self.encoding = Encoding.from_json(stored) if stored else None
        self.abstention = abstention_in(backend.info)
        if self.abstention is not None and self.abstention.measure == "overlap":
            raise ConfigError(
                "expected an agent calibrated with --measure gap: a service has no distributions of values"
            )
        self._every = backend.action_spec.available
        self._slow = any(leaf.reader for leaf in backend.observation_spec.texts)

    # -- from JSON ---------------------------------------------------------------------------------------------------------

    async def read(self, value: Any) -> FlatObservation:
        """Return `observation(value)`; in a thread if a pretrained model reads its texts, which takes long."""
        if self._slow:
            return await asyncio.to_thread(self.observation, value)
        return self.observation(value)

    def observation(self, value: Any) -> FlatObservation:
        """Return one observation, leaves without a batch axis.

        value: as in the environment's space, with lists for arrays; or, for an agent that was trained on a table, an object
        with a value per column. Raises InvalidRequest if it does not fit, or has a number that is not finite.
        """
        spec = self.backend.observation_spec
        try:
            if self.encoding is not None:
                given = value if value is not None or self.encoding.schema.observation else {}
                if not isinstance(given, Mapping):
                    raise InvalidRequest(
                        f"observation: expected an object with the columns {list(self.encoding.schema.observation)}, got "
                        f"{type(value).__name__}"
                    )
                flat = self.encoding.row(given)
            else:
                with np.errstate(over="ignore"):  # infinities are refused below
                    flat = spec.flatten(value, None)
        except InvalidRequest:
            raise
        except (SeqelError, ValueError, TypeError, OverflowError, LookupError, AttributeError) as error:
            what = " ".join(str(error).split())[:500]
            raise InvalidRequest(what if what.startswith("observation ") else f"observation: {what}") from error
        for path, leaf in flat.items():
            if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
                raise InvalidRequest(f"observation {path!r}: expected finite numbers, got NaN or infinity")
        return flat

    def action(self, value: Any, name: str = "previous_action") -> tuple[int, ...]:
        """Return an action counted from 0, (M,). value: as the agent gives it, a number, M numbers, or names.

        Raises InvalidRequest if it is not an action of the agent.
        """
        spec = self.backend.action_spec
        given = value if isinstance(value, list) else [value]
        if isinstance(value, dict) and self.encoding is not None:
            given = [value.get(column) for column in self.encoding.schema.action_columns]
        if self.encoding is not None and all(isinstance(one, str) for one in given) and len(given) == spec.dims:
            names = self.encoding.names
            if all(one in names[dim] for dim, one in enumerate(given)):
                return tuple(names[dim].index(one) for dim, one in enumerate(given))
        whole = len(given) == spec.dims and all(isinstance(one, int) and not isinstance(one, bool) for one in given)
        codes = [one - start for one, start in zip(given, spec.start, strict=True)] if whole else []
        if not whole or not all(0 <= code < size for code, size in zip(codes, spec.sizes, strict=True)):
            raise InvalidRequest(f"{name}: expected an action ({self._actions()}), got {value!r:.120}")
        return tuple(codes)

    async def read_history(self, history: list[Any]) -> NDArray[np.void]:
        """Return `records(history)`; in a thread if that takes long."""
        if self._slow or len(history) > LONG:
            return await asyncio.to_thread(self.records, history)
        return self.records(history)

    def records(self, history: list[Any]) -> NDArray[np.void]:
        """Return earlier steps as records, the latest that decide the memory. Raises InvalidRequest."""
        keep = self.batcher.computer.keep or len(history)
        records = self.batcher.format.empty(min(len(history), keep))
        action, reward = self.backend.action_spec.dims * (0,), 0.0
        offset = len(history) - len(records)
        for number, step in enumerate(history):
            if not isinstance(step, dict):
                raise InvalidRequest(f"history, step {number}: expected an object, got {type(step).__name__}")
            taken, earned = self.action(step.get("action"), "action"), read_number("reward", step.get("reward"))
            if number >= offset:
                row = records[number - offset : number - offset + 1]
                row[:] = self.batcher.format.of(self.observation(step.get("observation")))
                row["previous_action"], row["previous_reward"], row["action"] = action, reward, taken
            action, reward = taken, earned
        return records

    def mask(self, mask: Any, candidates: Any, observation: Any) -> NDArray[np.bool_]:
        """Return which actions are allowed, (M, A), from a mask or a list of candidates; None: all are.

        Raises InvalidRequest if both are given, or they do not fit, or allow no action.
        """
        spec = self.backend.action_spec
        if candidates is not None:
            if mask is not None or spec.dims > 1 or not isinstance(candidates, list) or not candidates:
                raise InvalidRequest(
                    "candidates: expected a list of actions, no mask, and an agent with one action dimension, got "
                    f"{candidates!r:.120}"
                )
            allowed = np.zeros((1, spec.actions), bool)
            allowed[0, [self.action(one, "candidates")[0] for one in candidates]] = True
            return allowed
        if mask is None:
            mask = mask_in(observation, self.backend.observation_spec)
        if mask is None:
            return self._every
        try:
            allowed = read_action_mask(mask, spec)
            require_some(allowed[None], spec)
        except (SeqelError, ValueError, TypeError) as error:
            raise InvalidRequest(f"mask: {error}") from error
        return allowed.reshape(spec.dims, -1)

    # -- to JSON -----------------------------------------------------------------------------------------------------------

    def decision(self, number: int, action: NDArray[np.int64], scores: NDArray[np.float32]) -> dict[str, Any]:
        """Return a decision: the step's number, action (M,) and scores (M, A), null where an action is not allowed.

        A calibrated agent also says whether it abstains; "action" is then only what it would have done.
        """
        spec = self.backend.action_spec
        lists = [
            [one if math.isfinite(one) else None for one in row[:size]]
            for row, size in zip(scores.tolist(), spec.sizes, strict=True)
        ]
        single = spec.dims == 1
        found = {
            "step": number,
            "agent": self.version,
            "action": int(action[0]) + spec.start[0] if single else (action + spec.offset).tolist(),
            "scores": lists[0] if single else lists,
        }
        if self.encoding is not None:
            found["name"] = self.encoding.action_of(action)
        if self.abstention is not None:
            uncertainty = uncertainty_of_scores(scores[None], self.abstention.measure)
            found["abstain"] = bool(self.abstention.abstains(uncertainty)[0])
            found["uncertainty"] = _finite(float(uncertainty[0]))
        return found

    def names(self, action: Sequence[int]) -> Any:
        """Return an action (M,), counted from 0, as a client sees it."""
        spec = self.backend.action_spec
        if self.encoding is not None:
            return self.encoding.action_of(np.asarray(action))
        codes = [int(one) + start for one, start in zip(action, spec.start, strict=True)]
        return codes[0] if spec.dims == 1 else codes

    def describe(self) -> dict[str, Any]:
        """Return what a client must know: the observation, the actions, and how the agent was trained."""
        spec, shield = self.backend.observation_spec, self.batcher.computer.shield
        found: dict[str, Any] = {
            "version": self.version,
            "backend": self.backend.name,
            "observation": [
                {"path": leaf.path, "kind": leaf.kind, "shape": list(leaf.given or leaf.shape), "dtype": leaf.dtype}
                for leaf in spec.leaves
            ],
            "actions": self._actions(),
            "receptive_field": self.backend.keep or None,
            "shield": None if shield is None else [rule.name for rule in shield.rules],
            "bytes_per_session": self.backend.bytes_per_slot,
            "slots": self.backend.slots,
        }
        if self.encoding is not None:
            found["columns"] = dict(self.encoding.schema.observation)
            found["action_names"] = {
                column: list(names[:200])
                for column, names in zip(self.encoding.schema.action_columns, self.encoding.names, strict=True)
            }
        for name in ("env", "discount", "masked"):
            if name in self.backend.info:
                found[name] = self.backend.info[name]
        return found

    def _actions(self) -> str:
        spec = self.backend.action_spec
        return " x ".join(f"{start} to {start + size - 1}" for size, start in zip(spec.sizes, spec.start, strict=True))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
