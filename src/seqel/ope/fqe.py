"""Fitted Q evaluation of several policies on recorded data by one Transformer, and an estimate of the behaviour policy.

Le et al. 2019, arXiv:1903.08738 (FQE): regression on r + gamma E_pi Q(s', .) instead of the maximum. Differs: the network
reads the history; all policies share its trunk and each has its own head, so twenty cost little more than one; the
targets are Retrace's (arXiv:1606.02647) where the recorded action agrees with the policy, so that values propagate faster
than one step at a time; and a policy head is trained on the recorded behaviour, to provide ratios where its probabilities
were not recorded, and to detect where a policy leaves the data.

The error of the fit is measured by repeated fits: a member is a fit from other initial weights, to another resample of the
sessions in which each is weighted by an Exp(1) draw (the Bayesian bootstrap, Rubin 1981; bootstrapped FQE, Hao et al. 2021,
arXiv:2102.03607; separate networks as in Lakshminarayanan et al. 2017, arXiv:1612.01474, because heads on one trunk
differed by only a third of their error, docs/experiments.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.losses.config import ObjectiveConfig
from seqel.losses.targets import allowed_actions
from seqel.losses.td import action_values, gather_actions, mean_over_dimensions
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.ope.policies import Policy, observation_slots
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.ring import EpisodeTable
from seqel.training.config import LearnerConfig, OfflineConfig, ReplayConfig, RunConfig
from seqel.training.held_out import HeldOut
from seqel.training.offline.trainer import OfflineTrainer
from seqel.training.sources import Source
from seqel.types import SequenceBatch
from seqel.values.policy import log_policy

__all__ = ["FQETrainer", "StepEstimates", "fitted_config"]

OVERFITTED = 0.05  # nats by which the cloning loss on held-out episodes may exceed its best value
RARE_PROBABILITY = 0.05  # times the uniform probability: a less likely action is rare
UPDATES = 3_000  # updates per member
BLOCK = 1 << 24  # numbers computed at once for a batch of steps, about: one per policy and action


@dataclasses.dataclass(frozen=True, slots=True)
class StepEstimates:
    """Estimates at each recorded step for each of K policies; one row per episode, padded to T steps.

    T is one more than the number of transitions of the longest episode: `v` also has the value of the final observation.
    """

    valid: NDArray[np.bool_]  # (N, T)
    reward: NDArray[np.float64]  # (N, T)
    behaviour: NDArray[np.float64]  # (N, T)  probability of the recorded action, recorded or learned; 1 in padding
    policy: NDArray[np.float64]  # (K, N, T)  probability of the recorded action under each policy
    q: NDArray[np.float32]  # (E, K, N, T)  fitted value of the recorded action, by each member
    v: NDArray[np.float32]  # (E, K, N, T)  fitted value of the policy's choice
    off_support: NDArray[np.float64]  # (K, N, T)  the policy's probability of actions that are rare in the data
    iterate_std: NDArray[np.float64]  # (E, K)  how much the value of a session varied over updates

    @classmethod
    def of(cls, members: Sequence[StepEstimates]) -> StepEstimates:
        """Combine the estimates of several members; those of the recorded behaviour are averaged."""
        first = members[0]
        return cls(
            valid=first.valid, reward=first.reward, policy=first.policy,
            behaviour=np.mean([one.behaviour for one in members], axis=0),
            q=np.concatenate([one.q for one in members]), v=np.concatenate([one.v for one in members]),
            off_support=np.mean([one.off_support for one in members], axis=0),
            iterate_std=np.concatenate([one.iterate_std for one in members]),
        )  # fmt: skip


class FQETrainer(OfflineTrainer):
    """One member: recorded episodes and the policies to evaluate on them. Run it with `training/offline/loop.py`.

    table: the table of another member, so that the policies are evaluated only once.
    """

    def __init__(
        self, config: RunConfig, source: Source, policies: Sequence[Policy], table: Tensor | None = None
    ) -> None:
        self.policies = list(policies)
        self.first_values: list[NDArray[np.float64]] = []  # (K,) on held-out episodes, per validation
        self._sound: dict[str, Tensor] = {}  # the averaged weights at the last validation without overfitting
        self.known_best = float("inf")  # best cloning loss on held-out episodes so far, in nats
        super().__init__(config, source)
        self.table = self._tabulate(source.buffer) if table is None else table  # (slots, K, M, A)
        self.counts = self._resample(source.buffer)  # (slots,)

    def make_network(self) -> QNetwork:
        """Create one trunk, Q-values of K policies, and a policy head for the recorded behaviour."""
        super().make_network()  # consumes random numbers, so that existing seeds keep their initial weights
        return QNetwork(self.config.network, self.source.observation, self.source.action, len(self.policies))

    @torch.no_grad()
    def _tabulate(self, recorded: EpisodeBuffer) -> Tensor:
        """Compute once what every policy would do at every recorded step: the policies do not change."""
        action = self.source.action
        table = torch.zeros(recorded.slots.capacity, len(self.policies), action.dims, action.actions)
        for batch in self.walk(recorded):
            here = observation_slots(batch)
            now = torch.cat([batch.loss_mask, torch.zeros_like(batch.loss_mask[:, :1])], dim=1)  # after the burn-in
            now[:, 0] |= batch.is_first[:, 0]
            after = torch.zeros_like(now)  # observations that are bootstrapped from and are no step themselves
            after[:, 1:] = batch.loss_mask
            for number, policy in enumerate(self.policies):
                probabilities = policy.probabilities(batch).float().cpu()
                probabilities = (
                    probabilities.unsqueeze(2) if probabilities.ndim == 3 else probabilities
                )  # (B, T+1, M, A)
                for steps in (after, now):
                    table[here[steps], number] = probabilities[steps]
        return table

    def _resample(self, recorded: EpisodeBuffer) -> Tensor:
        """Sample how much the content of each slot counts: one draw per session."""
        drawn = np.random.default_rng((self.config.seed, 0xB007)).standard_exponential(recorded.episodes)
        numbers = recorded.table.numbers
        slots = numbers[:, EpisodeTable.LENGTH] + 1
        within = np.arange(slots.sum()) - np.repeat(np.cumsum(slots) - slots, slots)
        counts = np.zeros(recorded.slots.capacity, np.float32)
        counts[np.repeat(numbers[:, EpisodeTable.SLOT], slots) + within] = np.repeat(drawn, slots)
        return torch.from_numpy(counts)

    def walk(self, recorded: EpisodeBuffer) -> Iterator[SequenceBatch]:
        """Yield every transition of the episodes once."""
        config = self.config
        tokens = int(
            np.clip(BLOCK // (len(self.policies) * self.source.action.dims * self.source.action.actions), 512, 16_384)
        )
        return recorded.batches(
            window=config.replay.window,
            context=config.network.context,
            discount=config.objective.discount,
            tokens=tokens,
        )

    def prepare(self, batch: SequenceBatch) -> SequenceBatch:
        """Add what the policies would do, and the weight of each step for this member."""
        slots = observation_slots(batch)
        policy, weight = self.table[slots], self.counts[slots[:, :-1]]  # (B, T+1, K, M, A), (B, T)
        return dataclasses.replace(batch, policy=policy, weight=weight).to(self.device)

    def validate(self) -> HeldOut:
        """Measure the fit on held-out episodes; end it when it starts to overfit, and restore the weights from before.

        Values that have memorised the rewards of single episodes no longer correct anything, and ratios become noise. The
        targets of the values change with the values, so they cannot show it; the recorded actions do not change.
        """
        sums = self.validation_sums()
        result = sums.result()
        self.first_values.append(sums.first_values())
        assert result.imitation is not None
        self.known_best = min(self.known_best, result.imitation)
        if result.imitation <= self.known_best + OVERFITTED:
            self._sound = {name: value.clone() for name, value in self.learner.target.state_dict().items()}
        else:
            self.solved = True
            self.learner.target.load_state_dict(self._sound)
        return result

    def iterate_std(self) -> NDArray[np.float64]:
        """(K,) standard deviation of each policy's value over the second half of the validations.

        It measures convergence and the spread of equally good fits: with a learning rate that has not decayed yet, iterates
        wander among those (Mandt et al. 2017, arXiv:1704.04289); at the end of the schedule they stay wherever they are.
        """
        settled = self.first_values[min(len(self.first_values) // 2, max(0, len(self.first_values) - 2)) :]
        return np.std(settled, axis=0, ddof=1) if len(settled) > 1 else np.zeros(len(self.policies))

    @torch.no_grad()
    def steps_of(self, recorded: EpisodeBuffer) -> StepEstimates:
        """Return the estimates of the target network (the average of recent weights) for every step of these episodes."""
        count, horizon = recorded.episodes, int(recorded.lengths.max()) + 1
        policies = len(self.policies)
        valid = np.zeros((count, horizon), np.bool_)
        reward, behaviour = np.zeros((count, horizon)), np.ones((count, horizon))
        chance, outside = (np.zeros((count, horizon, policies)) for _ in range(2))
        q, v = (np.zeros((count, horizon, policies), np.float32) for _ in range(2))
        for batch in self.walk(recorded):
            here = self.prepare(batch)
            assert here.policy is not None and here.episode_index is not None and here.behaviour_prob is not None
            out = self.learner.target(here)
            assert out.policy_logits is not None
            mask = allowed_actions(here, out)
            log = log_policy(out.policy_logits, mask)  # (B, T+1, M, A)
            there = self.source.action.actions if mask is None else mask.sum(dim=-1, keepdim=True).clamp(min=1)
            rare = log.exp() < RARE_PROBABILITY / there
            estimated = gather_actions(log[:, :-1], here.action).sum(dim=-1).exp()
            mu = torch.where(here.behaviour_prob.isnan(), estimated, here.behaviour_prob)
            time = here.start_step[:, None] + torch.arange(horizon_of(batch), device=self.device)
            row, at = (x.cpu().numpy() for x in (here.episode_index[:, None].expand_as(time), time))
            # a trained step, or the final observation of a truncated session
            now = here.loss_mask.cpu().numpy()
            goes_on = (here.loss_mask & (here.discount > 0)).cpu().numpy()
            place, after = (row[:, :-1][now], at[:, :-1][now]), (row[:, 1:][goes_on], at[:, 1:][goes_on])
            value = mean_over_dimensions((here.policy * out.q).sum(dim=-1)).cpu().numpy()  # (B, T+1, K)
            valid[place] = True
            reward[place] = here.reward.cpu().numpy()[now]
            behaviour[place] = mu.cpu().numpy()[now]
            v[after] = value[:, 1:][goes_on]
            v[place] = value[:, :-1][now]
            q[place] = action_values(out.q[:, :-1], here.action).cpu().numpy()[now]
            action = here.action[:, :, None].expand(-1, -1, policies, -1)
            chance[place] = gather_actions(here.policy[:, :-1], action).prod(dim=-1).cpu().numpy()[now]
            outside[place] = _any_of((here.policy * rare[:, :, None]).sum(dim=-1))[:, :-1].cpu().numpy()[now]
        return StepEstimates(
            valid, reward, behaviour, np.moveaxis(chance, -1, 0), np.moveaxis(q, -1, 0)[None],
            np.moveaxis(v, -1, 0)[None], np.moveaxis(outside, -1, 0), self.iterate_std()[None],
        )  # fmt: skip


def _any_of(chance: Tensor) -> Tensor:
    """Return the probability of the event in at least one of M independent dimensions. (..., M) -> (...)."""
    return chance[..., 0] if chance.shape[-1] == 1 else 1.0 - (1.0 - chance).prod(dim=-1)


def horizon_of(batch: SequenceBatch) -> int:
    """Return T + 1."""
    return batch.is_first.shape[1]


def fitted_config(
    discount: float, context: int = 0, updates: int = UPDATES, seed: int = 0, **network: Any
) -> RunConfig:
    """Return the config of a fit: one-step Retrace targets of the evaluated policies, and cloning of the behaviour."""
    return RunConfig(
        seed=seed,
        network=NetworkConfig(context=context, policy_head="auxiliary", **network),
        objective=ObjectiveConfig(discount, lambda_=0.9, trace="retrace", cloning_weight=0.1),
        # an expectation does not overestimate as a maximum does, so targets may follow fast
        learner=LearnerConfig(learning_rate=1e-3, target_rate=0.05),
        replay=ReplayConfig(batch_tokens=832),
        offline=OfflineConfig(updates=updates, every=max(1, updates // 20), held_out=0.1, patience=0),
    )
