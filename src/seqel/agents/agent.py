"""The acting object: a Q-network, its spaces, and how it is saved.

Everything after training takes an `Agent` and nothing else. Memory is a value: `act` returns it and takes it back, with
one row per environment or session, so that one agent can serve many of them, in partial batches as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.action_masks import UNMASKED, mask_in, read_action_mask, require_some
from seqel.agents import artifact
from seqel.agents.info import AgentInfo
from seqel.errors import ConfigError, SpaceError
from seqel.networks.qnetwork import QNetwork
from seqel.networks.trunks.base import State
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec
from seqel.types import Decision, QOutput

__all__ = ["Agent", "AgentState"]


@dataclass(slots=True)
class AgentState:
    """The memory of an agent, one row per environment: the trunk's memory and the last action. Consumed by `act`."""

    memory: State
    last_action: Tensor  # (N, M) int64
    fresh: Tensor  # (N,) bool: no observation yet

    def __len__(self) -> int:
        return len(self.fresh)


class Agent:
    """Acts greedily on its network's decision scores, usually the Q-values. Exploration is added where experience is
    collected, not here.

    The network is put into evaluation mode: dropout is for training.
    """

    def __init__(self, network: QNetwork, info: AgentInfo | Mapping[str, Any] | None = None) -> None:
        self.network = network.eval()
        self.info: AgentInfo = cast(AgentInfo, {} if info is None else info)
        self._warned = False  # whether a warning about missing masks was given

    # -- properties ----------------------------------------------------------------------------------------------------

    @property
    def observation_spec(self) -> ObservationSpec:
        """The leaves of the observation."""
        return self.network.observation_spec

    @property
    def action_spec(self) -> ActionSpec:
        """The action space."""
        return self.network.action_spec

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.network.head.scale.device

    def __repr__(self) -> str:
        config = self.network.config
        size = sum(p.numel() for p in self.network.parameters())
        leaves = "; ".join(str(leaf) for leaf in self.observation_spec.leaves)
        return (
            f"Agent({config.trunk}, {config.layers} layers of width {config.width}, context {config.context}, "
            f"{size:,} parameters, {self.action_spec} actions; observes {leaves})"
        )

    # -- acting ----------------------------------------------------------------------------------------------------

    def initial_state(self, batch: int) -> AgentState:
        """Return empty memory for `batch` rows."""
        return AgentState(
            memory=self.network.initial_state(batch),
            last_action=torch.zeros(batch, self.action_spec.dims, dtype=torch.int64, device=self.device),
            fresh=torch.ones(batch, dtype=torch.bool, device=self.device),
        )

    def act(
        self,
        observation: Any,
        state: AgentState | None = None,
        *,
        reward: Any = None,
        first: Any = None,
        previous_action: Any = None,
        mask: Any = None,
        candidates: Any = None,
        rows: Any = None,
    ) -> tuple[Decision, AgentState]:
        """Choose the best action of each of R rows.

        Args:
            observation: a batch as from Gymnasium vector environments, R first in every leaf, or a `FlatObservation`.
            state: the last state that `act` returned; None: new rows, one for each in `observation`. It is
                overwritten: do not use it again.
            reward: (R,) the reward of the last action, or one number for all rows; None: 0.
            first: (R,) bool, True where an episode starts and memory is reset; None: only in rows without observation.
            previous_action: (R,) or (R, M), if something else (a shield, a person) acted instead of the agent.
            mask: (R, A) bool (or 0 and 1), True = allowed; None: `observation["action_mask"]`, if there is one.
                If M > 1: (R, M, A), False beyond a dimension's own size, or a tuple of M arrays (R, sizes[m]).
            candidates: (R, C) numbers of the actions to choose among; -1 pads a shorter row. Only they are scored, and the
                decision's q holds their scores, (R, C). Use instead of a mask.
            rows: (R,) which rows of the state to use; None: all of them, in order.

        An agent that was trained with masks warns (once) if it gets none.

        Raises:
            SpaceError: the observation does not fit; a mask is invalid or allows no action; rewards are not finite; or
                candidates, rows or previous actions are invalid. The state is then unchanged.
        """
        index = None if rows is None else self._index(rows, state)
        if index is not None:
            batch = len(index)
        else:
            batch = self.observation_spec.rows(observation) if state is None else len(state)
        leaves = self.leaves(observation, batch)
        if state is None:
            state = self.initial_state(batch)
        if mask is None and candidates is None:
            mask = mask_in(observation, self.observation_spec)
            if mask is None and self.info.get("masked") and not self._warned:
                self._warned = True
                warnings.warn(UNMASKED, stacklevel=2)
        allowed = None if mask is None else self._mask(mask, batch)
        among = None
        if candidates is not None:
            if mask is not None:
                raise SpaceError("expected a mask or candidates, got both")
            among, allowed = self._candidates(candidates, batch)
        with torch.inference_mode():
            out = self._step(leaves, state, reward, first, previous_action, index, batch, among)
            q = self.network.scores(out, allowed)  # (R, M, A or C)
            action = q.argmax(dim=-1)
            if among is not None:
                action = among.gather(1, action)
            if index is None:
                state.last_action.copy_(action)
            else:
                state.last_action[index] = action
        single = self.action_spec.dims == 1
        values = q[:, 0] if single else q
        chosen = action[:, 0] if single else action
        return Decision(chosen.cpu().numpy() + self.action_spec.offset, values.cpu().numpy()), state

    def _step(
        self,
        leaves: dict[str, Tensor],
        state: AgentState,
        reward: Any,
        first: Any,
        previous_action: Any,
        index: Tensor | None,
        batch: int,
        candidates: Tensor | None,
    ) -> QOutput:
        fresh = state.fresh if index is None else state.fresh[index]
        begins = fresh if first is None else fresh | self._row_values("first", first, torch.bool, batch)
        last = state.last_action if index is None else state.last_action[index]
        if previous_action is not None:
            last = self._previous(previous_action, batch)
        earned = self._row_values("reward", 0.0 if reward is None else reward, torch.float32, batch)
        if not bool((earned.isfinite() | begins).all()):
            raise SpaceError(f"reward: expected finite numbers, got {earned.tolist()!s:.200}")
        if bool(begins.any()):
            forget = begins if index is None else torch.zeros_like(state.fresh).index_put_((index,), begins)
            self.network.trunk.reset(state.memory, forget)
        out, state.memory = self.network.step(leaves, last, earned, begins, state.memory, index, candidates)
        if index is None:
            state.fresh.fill_(False)
        else:
            state.fresh[index] = False
        return out

    def predict(
        self,
        observation: Any,
        state: AgentState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
        action_masks: Any = None,
    ) -> tuple[NDArray[np.int64], AgentState]:
        """Choose actions for Stable-Baselines3's `evaluate_policy`; `action_masks` (R, A) or (A,) as in sb3-contrib.

        Its tools pass no reward, so the token's previous reward is 0; for tasks that need it, use `act`. An observation
        without a batch axis gives one action; a batch of one gives an array of one. If M > 1, masks are as for `act`, or the
        dimensions' masks end to end, as in sb3-contrib.

        Raises:
            ConfigError: `deterministic` is False (the agent is greedy).
            SpaceError: the observation or the masks do not fit.
        """
        if not deterministic:
            raise ConfigError(
                "predict: expected deterministic=True; got False; the agent is greedy and explores in training only"
            )
        single = self.observation_spec.is_single(observation)
        mask = action_masks if action_masks is not None else mask_in(observation, self.observation_spec)
        if single:
            flat = self.observation_spec.flatten(observation, None)
            observation = FlatObservation({path: leaf[None] for path, leaf in flat.items()})
        if single and mask is not None:
            if not isinstance(mask, tuple) and len(mask) == 1:  # with a batch axis, as sb3-contrib gives it
                mask = mask[0]
            mask = read_action_mask(mask, self.action_spec)[None]
        first = None if episode_start is None else np.atleast_1d(episode_start)
        decision, state = self.act(observation, state, first=first, mask=mask)
        return (decision.action[0] if single else decision.action), state

    def leaves(self, observation: Any, batch: int) -> dict[str, Tensor]:
        """Convert a batch, as the environment gives it or already flat, to tensors on the agent's device."""
        flat = observation
        if not isinstance(observation, FlatObservation):
            flat = self.observation_spec.flatten(observation, batch)
        for path, leaf in flat.items():
            if len(leaf) != batch:
                raise SpaceError(f"observation {path!r}: expected {batch} rows, got {len(leaf)}")
        return {path: torch.from_numpy(np.ascontiguousarray(leaf)).to(self.device) for path, leaf in flat.items()}

    def _index(self, rows: Any, state: AgentState | None) -> Tensor:
        index = np.asarray(rows)
        if state is None:
            raise SpaceError("rows: expected a state together with rows, got None; `initial_state(batch)` creates one")
        whole = index.ndim == 1 and (np.issubdtype(index.dtype, np.integer) or index.size == 0)
        if not whole or (index < 0).any() or (index >= len(state)).any():
            raise SpaceError(f"rows: expected numbers from 0 to {len(state) - 1}, got {index.tolist()}")
        if len(np.unique(index)) != len(index):
            raise SpaceError(f"rows: expected each row at most once, got {index.tolist()}")
        return torch.as_tensor(index.astype(np.int64), device=self.device)

    def _previous(self, action: Any, batch: int) -> Tensor:
        given = np.asarray(action)
        start, sizes = np.asarray(self.action_spec.start), np.asarray(self.action_spec.sizes)
        if given.size != batch * len(sizes):
            raise SpaceError(f"previous_action: expected {[batch, len(sizes)]}, got {list(given.shape)}")
        code = given.reshape(batch, -1) - start
        if (code < 0).any() or (code >= sizes).any():
            raise SpaceError(f"previous_action: expected actions of the action space, got {given.tolist()}")
        return self._tensor(code, torch.int64)

    def _row_values(self, name: str, value: Any, dtype: torch.dtype, batch: int) -> Tensor:
        tensor = self._tensor(value, dtype)
        if tensor.ndim == 0:
            return tensor.expand(batch)
        if tensor.shape != (batch,):
            raise SpaceError(f"{name}: expected [{batch}], got {list(tensor.shape)}")
        return tensor

    def _mask(self, mask: Any, batch: int) -> Tensor:
        """-> (R, M, A)."""
        allowed = read_action_mask(mask, self.action_spec, batch)
        require_some(allowed, self.action_spec)
        return self._tensor(allowed.reshape(batch, self.action_spec.dims, -1), torch.bool)

    def _candidates(self, candidates: Any, batch: int) -> tuple[Tensor, Tensor]:
        """Return the candidates' action numbers (R, C), and which of them are padding (R, 1, C)."""
        if self.action_spec.dims > 1:
            raise ConfigError(
                f"candidates: expected one action dimension, this agent has {self.action_spec.dims}. Use a mask: it costs "
                "little where actions are a sum of a few dimensions"
            )
        given = np.asarray(candidates)
        if given.ndim != 2 or len(given) != batch or not np.issubdtype(given.dtype, np.integer):
            raise SpaceError(f"candidates: expected integers [{batch}, C], got {list(given.shape)} {given.dtype}")
        codes, there = given - self.action_spec.start[0], given != -1
        if (there & ((codes < 0) | (codes >= self.action_spec.actions))).any():
            raise SpaceError(f"candidates: expected actions of the action space or -1, got {given.tolist()!s:.200}")
        if not there.any(axis=1).all():
            raise SpaceError(f"candidates: rows {np.flatnonzero(~there.any(axis=1)).tolist()} have none")
        return self._tensor(np.where(there, codes, 0), torch.int64), self._tensor(there, torch.bool)[:, None]

    def _tensor(self, value: Any, dtype: torch.dtype) -> Tensor:
        try:
            return torch.as_tensor(np.asarray(value), device=self.device).to(dtype)
        except (TypeError, ValueError) as error:
            raise SpaceError(f"expected numbers, got {value!r:.80}") from error

    # -- saving and loading ----------------------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> Path:
        """Write `weights.safetensors` and `config.json`. Nothing is pickled.

        Raises:
            StorageError: it could not be written; an existing agent is untouched.
        """
        return artifact.save(Path(directory), self.network, self.info)

    @classmethod
    def load(cls, directory: str | Path, device: str | torch.device = "cpu") -> Agent:
        """Load what `save` wrote. For a run's folder, its `agent/` is loaded.

        Raises:
            CheckpointError: a file is missing, truncated, or of another version.
        """
        network, info = artifact.load(Path(directory))
        return cls(network.to(device).eval(), info)
