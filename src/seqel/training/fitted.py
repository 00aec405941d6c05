"""Fitted Q evaluation: the values of several policies on recorded data, by one Transformer, and how the data were made.

Le et al. 2019, arXiv:1903.08738 (FQE): regression on r + gamma E_pi Q(s', .) instead of the maximum. Differs: the network
reads the history; all policies share its trunk, each has a head of its own, so twenty cost hardly more than one; the
targets are Retrace's (arXiv:1606.02647) where the recorded action agrees with the policy, so that values need not creep back
step by step; and a policy head learns the recorded behaviour beside them, for ratios where its probabilities were not
recorded, and to say where a policy leaves what was recorded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.data.recorded import Recorded
from seqel.evaluation.policies import Policy
from seqel.losses.config import ObjectiveConfig
from seqel.losses.offline import log_policy
from seqel.losses.td import select
from seqel.networks.config import NetworkConfig
from seqel.networks.heads import QHead
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec
from seqel.training.config import DataConfig, ReplayConfig, RunConfig
from seqel.training.offline_session import OfflineSession
from seqel.training.sources import Source
from seqel.types import SequenceBatch

__all__ = ["FittedSession", "Steps", "fitted_config"]

SELDOM = 0.05  # times even play: an action less likely than that is hardly ever done
UPDATES = 4_000


@dataclasses.dataclass(frozen=True, slots=True)
class Steps:
    """What is known of each recorded step and of each of K policies there; a row an episode, padded to T steps.

    T is one more than the longest episode has transitions: `v` has a value for a truncated episode's final observation.
    """

    valid: NDArray[np.bool_]  # (N, T)
    reward: NDArray[np.float64]  # (N, T)
    behaviour: NDArray[
        np.float64
    ]  # (N, T)  probability of the recorded action: as recorded, else as learnt; 1 in padding
    policy: NDArray[np.float64]  # (K, N, T)  probability of the recorded action under each policy
    q: NDArray[np.float64]  # (K, N, T)  fitted value of the recorded action
    v: NDArray[np.float64]  # (K, N, T)  fitted value of what the policy would do
    outside: NDArray[
        np.float64
    ]  # (K, N, T)  how much of the policy's probability lies on what is hardly ever done there


class EvaluationNetwork(QNetwork):
    """A Q head for each of K policies (an action dimension each), and a policy head for the recorded behaviour."""

    def __init__(self, base: QNetwork, policies: int) -> None:
        super().__init__(base.config, base.observation_spec, base.action_spec)
        action = self.action_spec
        self.head = QHead(ActionSpec(action.sizes * policies, action.start * policies), self.config)

    def embed(self, batch: SequenceBatch) -> Tensor:
        """The tokens of a batch whose actions stand there once for each policy.  -> (B, T+1, D)."""
        return super().embed(dataclasses.replace(batch, action=batch.action[..., : self.action_spec.dims]))


class FittedSession(OfflineSession):
    """Recorded sessions and the policies to evaluate on them; run it with `training/offline.py`."""

    def __init__(self, config: RunConfig, source: Source, policies: Sequence[Policy]) -> None:
        self.policies = list(policies)
        super().__init__(config, source)
        self.table = self._tabulate(source.recorded)  # (slots, K, A)

    def make_network(self) -> QNetwork:
        """One trunk, K + 1 heads."""
        return EvaluationNetwork(super().make_network(), len(self.policies))

    @torch.no_grad()
    def _tabulate(self, recorded: Recorded) -> Tensor:
        """What every policy would do at every recorded step, once: the policies do not change."""
        actions = self.source.action.actions
        table = torch.zeros(recorded.slots.capacity, len(self.policies), actions)
        for batch in self.walk(recorded):
            here = _slots(batch)
            told = torch.cat(
                [batch.learn, batch.learn[:, -1:]], dim=1
            )  # past the burn-in; an end follows its last step
            told[:, 1:] |= batch.learn
            told[:, 0] |= batch.first[:, 0]
            for number, policy in enumerate(self.policies):
                table[here[told], number] = policy.probabilities(batch)[told].float().cpu()
        return table

    def walk(self, recorded: Recorded) -> Iterator[SequenceBatch]:
        """Every transition of the episodes once."""
        config = self.config
        return recorded.batches(window=config.replay.window, context=config.network.context, discount=self.discount)

    def prepare(self, batch: SequenceBatch) -> SequenceBatch:
        """Actions once for each policy, and what the policies would do."""
        policy = self.table[_slots(batch)]  # (B, T+1, K, A)
        wide = batch.action.expand(*batch.action.shape[:2], len(self.policies))
        return dataclasses.replace(batch, action=wide, policy=policy).to(self.device)

    @torch.no_grad()
    def steps_of(self, recorded: Recorded) -> Steps:
        """What the target network (the average of the last ones) says of every step of these episodes."""
        count, horizon, policies = recorded.episodes, int(recorded.lengths.max()) + 1, len(self.policies)
        valid, shape = np.zeros((count, horizon), np.bool_), (policies, count, horizon)
        reward, behaviour = np.zeros((count, horizon)), np.ones((count, horizon))
        chance, q, v, outside = (np.zeros(shape) for _ in range(4))
        seldom = SELDOM / self.source.action.actions
        for batch in self.walk(recorded):
            here = self.prepare(batch)
            assert here.policy is not None and here.index is not None and here.behaviour_prob is not None
            out = self.learner.target(here)
            assert out.policy_logits is not None
            mask = None if here.action_mask is None else here.action_mask[:, :, None]
            log = log_policy(out.policy_logits, mask)  # (B, T+1, 1, A)
            learnt = select(log[:, :-1], batch.action)[..., 0].exp()
            mu = torch.where(here.behaviour_prob.isnan(), learnt, here.behaviour_prob)
            time = here.start[:, None] + torch.arange(horizon_of(batch), device=self.device)
            row, at = (x.cpu().numpy() for x in (here.index[:, None].expand_as(time), time))
            # a step that is learnt, or that ends a session which goes on beyond its record
            now = here.learn.cpu().numpy()
            valid[row[:, :-1][now], at[:, :-1][now]] = True
            reward[row[:, :-1][now], at[:, :-1][now]] = here.reward.cpu().numpy()[now]
            behaviour[row[:, :-1][now], at[:, :-1][now]] = mu.cpu().numpy()[now]
            goes_on = (here.learn & (here.discount > 0)).cpu().numpy()
            value = (here.policy * out.q).sum(dim=-1).cpu().numpy()  # (B, T+1, K)
            taken = select(out.q[:, :-1], here.action).cpu().numpy()
            pi = select(here.policy[:, :-1], here.action).cpu().numpy()
            far = (here.policy * (log.exp() < seldom)).sum(dim=-1).cpu().numpy()
            for k in range(policies):
                v[k][row[:, 1:][goes_on], at[:, 1:][goes_on]] = value[:, 1:, k][goes_on]
                v[k][row[:, :-1][now], at[:, :-1][now]] = value[:, :-1, k][now]
                q[k][row[:, :-1][now], at[:, :-1][now]] = taken[..., k][now]
                chance[k][row[:, :-1][now], at[:, :-1][now]] = pi[..., k][now]
                outside[k][row[:, :-1][now], at[:, :-1][now]] = far[:, :-1, k][now]
        return Steps(valid, reward, behaviour, chance, q, v, outside)


def horizon_of(batch: SequenceBatch) -> int:
    """T + 1."""
    return batch.first.shape[1]


def _slots(batch: SequenceBatch) -> Tensor:
    """Where all T + 1 observations are stored, (B, T+1); padding repeats a row's last one."""
    assert batch.slot is not None
    return torch.cat([batch.slot, batch.slot[:, -1:] + batch.valid[:, -1:]], dim=1)


def fitted_config(
    discount: float, context: int = 0, updates: int = UPDATES, seed: int = 0, **network: Any
) -> RunConfig:
    """How values are fitted: one-step Retrace targets of the evaluated policies, and the behaviour beside them."""
    return RunConfig(
        seed=seed,
        network=NetworkConfig(context=context, policy="beside", **network),
        objective=ObjectiveConfig(discount, lambda_=0.9, trace="retrace", imitation=0.1),
        replay=ReplayConfig(batch_tokens=832),
        data=DataConfig(updates=updates, every=max(1, updates // 10), held_out=0.1),
    )
