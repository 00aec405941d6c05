"""The acting object: a Q-network, its spaces, and how it is saved.

Everything after training takes an `Agent` and nothing else. Memory is a value: `act` returns it and takes it back, with
one row per environment or session. One agent can therefore serve many of them, also in partial batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.action_masks import UNMASKED, mask_in, read_action_mask
from seqel.agents import artifact
from seqel.agents.arguments import (
    read_candidates,
    read_mask,
    read_observation,
    read_previous_action,
    read_row_values,
    read_rows,
)
from seqel.agents.calibration import require_calibrated
from seqel.agents.info import AgentInfo
from seqel.agents.item_ranking import ItemRanking
from seqel.agents.score_weights import ScoreWeights
from seqel.agents.shielding import read_shield
from seqel.agents.state import AgentState
from seqel.agents.uncertainty import uncertainty_of
from seqel.errors import CheckpointError, ConfigError, SpaceError
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec
from seqel.texts.embeddings import Embed
from seqel.types import Decision, QOutput

__all__ = ["Agent", "AgentState"]


class Agent(ScoreWeights, ItemRanking):
    """A trained network that acts greedily on its decision scores, usually the Q-values.

    The agent does not explore: training adds exploration where it collects experience. The network is put into evaluation
    mode, without dropout. If `info` has rules under "shield", `act` never takes an action that they veto.

    Raises ConfigError if the rules do not fit the agent's spaces.
    """

    def __init__(self, network: QNetwork, info: AgentInfo | Mapping[str, Any] | None = None) -> None:
        self.network = network.eval()
        self.info: AgentInfo = cast(AgentInfo, {} if info is None else info)
        self._warned = False  # whether a warning about missing masks was given
        self._read_safeguards()

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
            last_action=np.zeros((batch, self.action_spec.dims), np.int64),
            fresh=np.ones(batch, bool),
            shield=None if self.shield is None else self.shield.initial(batch),
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
            observation: a batch as from Gymnasium vector environments, with R as the first axis of every leaf, or a
                `FlatObservation`.
            state: the state that the last call returned; None: a new state with one row per row of `observation`. It is
                overwritten: do not use it again.
            reward: (R,) the reward of the last action, or one number for all rows; None: 0.
            first: (R,) bool, True where an episode starts and memory is reset; None: only in rows without observation.
            previous_action: (R,) or (R, M), if something else (a shield, a person) acted instead of the agent.
            mask: (R, A) bool (or 0 and 1), True = allowed; None: `observation["action_mask"]`, if there is one.
                If M > 1: (R, M, A), False beyond a dimension's own size, or a tuple of M arrays (R, sizes[m]).
            candidates: (R, C) indices of the actions to choose among; -1 pads a shorter row. Only these are scored, and the
                decision's q holds their scores, (R, C). Use either candidates or a mask.
            rows: (R,) indices of the rows of the state to use; None: all of them, in order.

        An agent that was trained with masks issues a warning (once) if it gets none. An agent with a shield also excludes the
        actions that its rules veto. A calibrated agent (`seqel calibrate`) says in `Decision.abstain` where it abstains; the
        action is then only the one that it would have taken.

        Returns:
            The decision for each row, and the state for the next call.

        Raises:
            SpaceError: the observation does not fit; a mask is invalid or allows no action; the rules allow no action of the
                mask or the candidates; rewards are not finite; or candidates, rows or previous actions are invalid. The state
                is then unchanged.
        """
        spec, index = self.action_spec, None
        if rows is not None:
            index = read_rows(rows, None if state is None else len(state))
        if index is not None:
            batch = len(index)
        else:
            batch = self.observation_spec.rows(observation) if state is None else len(state)
        flat = read_observation(observation, self.observation_spec, batch)
        if state is None:
            state = self.initial_state(batch)
        if mask is None and candidates is None:
            mask = mask_in(observation, self.observation_spec)
            if mask is None and self.info.get("masked") and not self._warned:
                self._warned = True
                warnings.warn(UNMASKED, stacklevel=2)
        allowed = None if mask is None else read_mask(mask, spec, batch)
        among = None
        if candidates is not None:
            if mask is not None:
                raise SpaceError("expected a mask or candidates, got both")
            among, allowed = read_candidates(candidates, spec, batch)
        here: Any = slice(None) if index is None else index
        begins = state.fresh[here]
        if first is not None:
            begins = begins | read_row_values("first", first, np.bool_, batch)
        last = state.last_action[here]
        if previous_action is not None:
            last = read_previous_action(previous_action, spec, batch)
        earned = read_row_values("reward", 0.0 if reward is None else reward, np.float32, batch)
        if not (np.isfinite(earned) | begins).all():
            raise SpaceError(f"reward: expected finite numbers, got {earned.tolist()!s:.200}")
        known = None
        if self.shield is not None:
            known, safe = read_shield(
                self.shield, state.shield, here, flat, previous_action=last, reward=earned, first=begins
            )
            if among is None or allowed is None:
                allowed = self.shield.combine(allowed, safe)
            else:
                allowed = self.shield.combine_candidates(among, allowed, safe)
        out = self.outputs(flat, state, reward=earned, first=begins, previous_action=last, candidates=among, rows=index)
        q = self.scores(out, allowed)
        if known is not None and state.shield is not None:
            state.shield[here] = known
        action = q.argmax(axis=-1)  # (R, M)
        if among is not None:
            action = np.take_along_axis(among, action, axis=1)
        state.last_action[here] = action
        uncertainty = abstain = None
        if self.abstention is not None:
            uncertainty = uncertainty_of(out, q, self.network.config, self.abstention.measure)
            abstain = self.abstention.abstains(uncertainty)
        if spec.dims == 1:
            action, q = action[:, 0], q[:, 0]
        return Decision(action + spec.offset, q, abstain, uncertainty), state

    def outputs(
        self,
        observation: FlatObservation,
        state: AgentState,
        *,
        reward: NDArray[np.float32],
        first: NDArray[np.bool_],
        previous_action: NDArray[np.int64],
        candidates: NDArray[np.int64] | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> QOutput:
        """Take the step of `act` without its checks, and return the outputs of the network's heads: q (R, M, A or C).

        For a caller that has checked its arrays, as vector environments do. `first` must be True in rows that have no
        observation yet. `previous_action` (R, M) and `candidates` (R, C) count from 0.
        """
        network, device = self.network, self.device
        with torch.inference_mode():
            if first.any():
                forget = first
                if rows is not None:
                    forget = np.zeros(len(state), bool)
                    forget[rows] = first
                network.trunk.reset(state.memory, _tensor(forget, device))
            out, state.memory = network.step(
                {path: _tensor(leaf, device) for path, leaf in observation.items()},
                _tensor(previous_action, device),
                _tensor(reward, device),
                _tensor(first, device),
                state.memory,
                None if rows is None else _tensor(rows, device),
                None if candidates is None else _tensor(candidates, device),
            )
        state.fresh[slice(None) if rows is None else rows] = False
        return out

    def scores(self, out: QOutput, mask: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Return the scores whose argmax is the greedy action: outputs of R rows, mask (R, M, A or C) -> (R, M, A or C)."""
        with torch.inference_mode():
            q = self.network.scores(out, None if mask is None else _tensor(mask, self.device))
            found: NDArray[np.float32] = q.cpu().numpy()
        return found

    def predict(
        self,
        observation: Any,
        state: AgentState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
        action_masks: Any = None,
    ) -> tuple[NDArray[np.int64], AgentState]:
        """Choose actions for Stable-Baselines3's `evaluate_policy`; `action_masks` (R, A) or (A,) as in sb3-contrib.

        Stable-Baselines3 passes no reward, so the token's previous reward is 0; for tasks that need it, use `act`. An
        observation without a batch axis gives one action; a batch of one gives an array of one. If M > 1, masks are as for
        `act`, or the concatenated masks of all dimensions, as in sb3-contrib.

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

    # -- saving and loading ----------------------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> Path:
        """Write `weights.safetensors` and `config.json`. Nothing is pickled.

        Raises:
            StorageError: the files could not be written; an existing agent is untouched.
        """
        return artifact.save(Path(directory), self.network, self.info)

    @classmethod
    def load(
        cls, directory: str | Path, device: str | torch.device = "cpu", *, text_encoder: Embed | None = None
    ) -> Agent:
        """Load an agent that `save` wrote, or the one in `agent/` of a run's folder.

        Args:
            directory: the folder of the agent, or of the run.
            device: the device of the weights.
            text_encoder: the function from texts to vectors, if the agent was trained with one.

        Raises:
            CheckpointError: a file is missing, truncated, or of another version.
            ConfigError: the agent's pretrained model is not known on this machine, or its text encoder is missing.
        """
        network, info = artifact.load(Path(directory), text_encoder)
        try:
            agent = cls(network.to(device).eval(), info)
            if agent.abstention is not None:
                require_calibrated(agent.abstention, artifact.weights_checksum(network), info)
        except ConfigError as error:
            raise CheckpointError(
                f"{directory}: expected rules and thresholds that fit the agent, but {error}"
            ) from error
        return agent


def _tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor if device.type == "cpu" else tensor.to(device)
