"""Acts from an exported agent, with onnxruntime and a memory of its own. Does not import torch.

`act` has the same contract as in `seqel.agents.agent.Agent`, for whole batches.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.action_masks import UNMASKED, mask_in
from seqel.agents.arguments import read_candidates, read_mask, read_previous_action, read_row_values, read_rows
from seqel.agents.calibration import abstention_in, require_calibrated
from seqel.agents.shielding import read_shield, shield_in
from seqel.deployment.layouts import read_layout
from seqel.errors import CheckpointError, ConfigError, SpaceError
from seqel.extras import require
from seqel.integrity import unsealed_model
from seqel.safety.abstention import uncertainty_of_scores
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec
from seqel.texts.embeddings import Embed
from seqel.texts.make import ReaderUnavailable, require_reader
from seqel.types import Decision

__all__ = ["FORMAT", "METADATA", "PREFIX", "ExportedAgent", "Memory"]

METADATA = "seqel"  # the key of the description in the model's metadata
FORMAT = 2  # format 1 had no mask input, so agents with a policy constraint chose differently
PREFIX = "observation."  # prefix of the names of the leaves' inputs


@dataclass(slots=True)
class Memory:
    """The memory of an exported agent, one row per environment. Consumed by `act`."""

    arrays: dict[str, NDArray[np.float32]]  # laid out as `ExportedAgent.layout` says
    position: NDArray[np.int64]  # (R,) number of steps so far
    last_action: NDArray[np.int64]  # (R, M)
    shield: NDArray[np.float64] | None = None  # (R, K) what the shield knows of each history

    def __len__(self) -> int:
        return len(self.position)


class ExportedAgent:
    """Acts from an ONNX file that `seqel.deployment.export.export` wrote. Needs the extra `serve`.

    text_encoder: the function from texts to vectors, if the agent was trained with one. Texts that a pretrained model encodes
    need that model on this machine, and torch.

    Raises:
        ConfigError: the agent's pretrained model is not known on this machine, or its text encoder is missing.
        MissingExtraError: onnxruntime is not installed.
        CheckpointError: the file is missing, damaged, or not an exported agent.
    """

    def __init__(self, path: str | Path, threads: int = 1, *, text_encoder: Embed | None = None) -> None:
        onnxruntime = require("onnxruntime", "serve", "an exported agent")
        try:
            model = Path(path).read_bytes()
        except FileNotFoundError as error:
            raise CheckpointError(f"{path}: no such file") from error
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
        if not unsealed_model(model):
            raise CheckpointError(
                f"{path}: expected an exported agent with the checksum of its content, got a file that is damaged, was "
                "changed by another program, or is no exported agent"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no other common base class
            raise CheckpointError(f"{path} cannot be run here: {' '.join(str(error).split())[:200]}") from error
        self._read(str(path), self.session.get_modelmeta().custom_metadata_map.get(METADATA), text_encoder)
        self._names = [one.name for one in self.session.get_inputs()]

    def _read(self, path: str, text: str | None, embed: Embed | None) -> None:
        try:
            described = json.loads(text or "null")
            if described["format"] != FORMAT:
                raise CheckpointError(
                    f"{path}: expected format {FORMAT}, got {described['format']!r}: export the agent again"
                )
            self.observation_spec = ObservationSpec.from_json(described["observation"])
            require_reader(self.observation_spec, described.get("text"), embed)
            self.action_spec = ActionSpec(**{name: tuple(value) for name, value in described["action"].items()})
            self.layout = read_layout(described)
            self.info: dict[str, Any] = described["info"]
            self.shield = shield_in(self.info, self.observation_spec, self.action_spec)
            self.abstention = abstention_in(self.info)
            require_calibrated(self.abstention, described["weights"], self.info)
            if self.abstention is not None and self.abstention.measure == "overlap":
                raise ValueError("it abstains by the measure 'overlap', which an exported agent does not have")
            self._warned = False  # whether a warning about missing masks was given
        except ReaderUnavailable as error:
            raise ConfigError(f"{path}: {error}") from error.__cause__
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path}: its metadata {METADATA!r} is damaged: {error}") from error

    def initial_state(self, batch: int) -> Memory:
        """Return empty memory for `batch` rows."""
        last_action = np.zeros((batch, self.action_spec.dims), np.int64)
        shield = None if self.shield is None else self.shield.initial(batch)
        return Memory(self.layout.empty(batch), np.zeros(batch, np.int64), last_action, shield)

    def act(
        self,
        observation: Any,
        state: Memory | None = None,
        *,
        reward: Any = None,
        first: Any = None,
        previous_action: Any = None,
        mask: Any = None,
        candidates: Any = None,
        rows: Any = None,
    ) -> tuple[Decision, Memory]:
        """Choose the best action of each of R rows; same arguments and result as `Agent.act`, shield included.

        Candidates save no time here: all actions are scored, and the scores of the candidates are returned.

        Raises:
            SpaceError: an argument does not fit. The state is then unchanged.
        """
        spec = self.action_spec
        index = None if rows is None else read_rows(rows, None if state is None else len(state))
        if index is not None:
            batch = len(index)
        else:
            batch = self.observation_spec.rows(observation) if state is None else len(state)
        flat = observation
        if not isinstance(observation, FlatObservation):
            flat = self.observation_spec.flatten(observation, batch)
        for path, leaf in flat.items():
            if len(leaf) != batch:
                raise SpaceError(f"observation {path!r}: expected {batch} rows, got {len(leaf)}")
        state = self.initial_state(batch) if state is None else state
        here = np.arange(batch) if index is None else index
        begins = state.position[here] == 0
        if first is not None:
            begins = begins | read_row_values("first", first, np.bool_, batch)
        last = state.last_action[here]
        if previous_action is not None:
            last = read_previous_action(previous_action, spec, batch)
        allowed, among, real = self._allowed(observation, mask, candidates, batch)
        earned = read_row_values("reward", 0.0 if reward is None else reward, np.float32, batch)
        if not (np.isfinite(earned) | begins).all():
            raise SpaceError(f"reward: expected finite numbers, got {earned.tolist()!s:.200}")
        known = None
        if self.shield is not None:
            known, safe = read_shield(
                self.shield, state.shield, here, flat, previous_action=last, reward=earned, first=begins
            )
            if among is not None and real is not None:
                real = self.shield.combine_candidates(among, real, safe)
            allowed = self.shield.combine(allowed, safe)
        self.layout.clear(state.arrays, here[begins])
        position = np.where(begins, 0, state.position[here])
        q, new = self.run(
            {
                "previous_action": last,
                "previous_reward": earned,
                "first": begins,
                "position": position,
                "mask": allowed if spec.dims > 1 else allowed[:, 0],
            }
            | (state.arrays if index is None else self.layout.select(state.arrays, here))
            | {PREFIX + path: np.ascontiguousarray(leaf) for path, leaf in flat.items()}
        )
        self.layout.write(state.arrays, here, position, new)
        state.position[here] = position + 1
        if known is not None and state.shield is not None:
            state.shield[here] = known
        if among is not None and real is not None:
            q = np.where(real, np.take_along_axis(q, among[:, None], axis=-1), np.float32(-np.inf))
        action = q.argmax(axis=-1)
        if among is not None:
            action = np.take_along_axis(among, action, axis=1)
        state.last_action[here] = action
        uncertainty = abstain = None
        if self.abstention is not None:
            uncertainty = uncertainty_of_scores(q, self.abstention.measure)
            abstain = self.abstention.abstains(uncertainty)
        if spec.dims == 1:
            action, q = action[:, 0], q[:, 0]
        return Decision(action + spec.offset, q, abstain, uncertainty), state

    def _allowed(
        self, observation: Any, mask: Any, candidates: Any, batch: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None, NDArray[np.bool_] | None]:
        """Return the allowed actions (R, M, A), and with candidates their codes (R, C) and which are no padding (R, 1, C)."""
        spec = self.action_spec
        if candidates is not None:
            if mask is not None:
                raise SpaceError("expected a mask or candidates, got both")
            among, real = read_candidates(candidates, spec, batch)
            allowed = np.zeros((batch, 1, spec.actions), bool)
            row, place = np.nonzero(real[:, 0])
            allowed[row, 0, among[row, place]] = True
            return allowed, among, real
        if mask is None:
            mask = mask_in(observation, self.observation_spec)
            if mask is None and self.info.get("masked") and not self._warned:
                self._warned = True
                warnings.warn(UNMASKED, stacklevel=3)
        return (
            np.repeat(spec.available[None], batch, axis=0) if mask is None else read_mask(mask, spec, batch),
            None,
            None,
        )

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Run the model on its inputs (see `seqel.deployment.export`), without checks, for a caller that keeps the memory.

        -> scores (R, M, A), and what `layout.write` writes. Inputs that the model does not need are left out.
        """
        q, *new = self.session.run(None, {name: inputs[name] for name in self._names})
        return q, new
