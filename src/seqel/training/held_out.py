"""Scores on held-out episodes: how well the network predicts them, and how often it agrees with the recorded actions."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.losses.config import ObjectiveConfig
from seqel.losses.objective import recorded_advantage, term_losses
from seqel.losses.returns import discounted_return
from seqel.losses.targets import q_targets
from seqel.losses.td import action_values, mean_over_dimensions
from seqel.losses.terms.awr import advantage_weight
from seqel.losses.terms.cloning import CLONING
from seqel.networks.qnetwork import QNetwork
from seqel.types import QOutput, SequenceBatch

__all__ = ["TITLES", "HeldOut", "Sums", "describe_validation"]

Metric = Literal["unexplained", "imitation", "weighted_imitation", "ranking"]
TITLES: dict[str, str] = {
    "unexplained": "held-out unexplained", "imitation": "held-out imitation",
    "weighted_imitation": "held-out weighted imitation", "ranking": "held-out 1 - NDCG",
}  # fmt: skip
NOTHING = 0.01  # fraction of the chance level: a smaller improvement over chance counts as none


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOut:
    """Scores of a network on episodes that it was not trained on."""

    mean: float  # the score by which the best weights are chosen, larger is better: minus the `metric`
    unexplained: float  # share of the targets' variance that the Q-values do not explain; 1: like predicting the mean
    td_error: float  # mean |target - q|, in units of reward
    imitation: float | None  # mean negative log-probability of the recorded action under the policy head, in nats
    agreement: float  # share of the steps at which the agent would have chosen the recorded action
    first_value: float  # mean value of the greedy action at the first step: the expected discounted return
    first_return: float  # mean discounted return of those episodes from the first step on
    sessions: int
    # what `mean` is minus of; with `objective.awr_beta`, imitation with the weights of that loss, whose mean is 1: the policy
    # leaves the recorded actions that it should not imitate, so how well it predicts all of them says little. "ranking" where
    # actions are items: 1 - the discounted gain of the recorded item, because probabilities that
    # were learned with sampled negatives get worse while the order still improves. The list is the whole catalogue: a list of
    # ten, in which most items are missed, would choose among noisy scores
    metric: Metric = "unexplained"
    chance: float = 1.0  # the metric of uniform probabilities, or of predicting the mean target everywhere
    success: ClassVar[None] = None  # no episodes are played

    def as_json(self) -> dict[str, Any]:
        """Return the figures as metrics.jsonl holds them."""
        return dataclasses.asdict(self)

    def evidence(self) -> dict[str, Any]:
        """Return what a saved agent keeps about the validation that selected it, besides the score."""
        return {"held_out_sessions": self.sessions, "metric": self.metric, "chance": self.chance}

    def scalars(self) -> dict[str, float]:
        """Return the metric and its chance level under TensorBoard's names."""
        return {f"held_out/{self.metric}": -self.mean, f"held_out/{self.metric}_chance": self.chance}

    @property
    def title(self) -> str:
        """The metric's display name."""
        return TITLES[self.metric]

    @property
    def no_better_than_chance(self) -> bool:
        """Whether the metric is no better than chance."""
        return not -self.mean < self.chance * (1.0 - NOTHING)

    def describe(self, best: float | None = None) -> str:
        """Format the metric with its unit, the chance level, and the best score so far (like `mean`: larger is better)."""
        return describe_validation(dataclasses.asdict(self), best)


def describe_validation(validation: dict[str, Any], best: float | None = None) -> str:
    """Format as `HeldOut.describe` does, from a validation as a file holds it."""
    value, chance = -validation["mean"], validation.get("chance", 1.0)
    metric = validation.get("metric", "unexplained")
    share, unit = metric == "unexplained", "" if metric == "ranking" else " nats"
    parts = [f"chance: {chance:.0%}" if share else f"chance: {chance:.4g}"]
    if best is not None:
        parts.append(f"best {-best:.1%}" if share else f"best {-best:.4g}")
    text = f"{value:.1%}" if share else f"{value:.4g}{unit}"
    nothing = "" if value < chance * (1.0 - NOTHING) else ", so nothing is learned yet"
    return f"{text} ({', '.join(parts)}{nothing})"


class Sums:
    """Accumulates the sums behind `HeldOut`, batch by batch."""

    def __init__(self, network: QNetwork, objective: ObjectiveConfig, lengths: NDArray[np.int64]) -> None:
        self.network, self.objective = network, objective
        self.lengths = torch.from_numpy(lengths)  # (episodes,)
        self.steps = 0
        self.evaluates = False  # whether batches hold policies to evaluate; then no greedy action is compared
        self.error = self.size = self.nats = self.agree = self.even = self.gain = 0.0
        self.weighted = self.weight = 0.0  # with `awr_beta`: the sums of weight * nats and of the weights
        self.target: torch.Tensor | float = 0.0  # (K,)  K values per step: one, or one for each of K evaluated policies
        self.square: torch.Tensor | float = 0.0
        self.first_value: list[torch.Tensor] = []  # (episodes, K)
        self.first_return: list[float] = []

    def add(self, batch: SequenceBatch, online: QOutput, slow: QOutput) -> None:
        """Add one batch of whole episodes, or of windows that cover them."""
        network, objective = self.network, self.objective
        support = network.config.bcq_threshold if network.config.policy_head == "constraint" else 0.0
        prefer = network.preferred(online if objective.double else slow)
        goal = q_targets(batch, online, slow, objective, support, prefer)[batch.loss_mask].double()
        error = action_values(online.q[:, :-1], batch.action)[batch.loss_mask].double() - goal
        self.steps += len(goal)
        self.error += float(error.square().mean(dim=-1).sum())
        self.size += float(error.abs().mean(dim=-1).sum())
        self.target = self.target + goal.sum(dim=0)
        self.square = self.square + goal.square().sum(dim=0)
        for term, _, reported in term_losses(batch, online, slow, network.head.scale, objective):
            if term is CLONING:
                self.nats += float(reported[batch.loss_mask].sum())
                advantage = recorded_advantage(batch, online, slow, network.head.scale)
                if objective.awr_beta > 0.0 and advantage is not None:
                    weight = advantage_weight(advantage, objective.awr_beta, batch.loss_mask)[batch.loss_mask].double()
                    self.weighted += float((weight * reported[batch.loss_mask]).sum())
                    self.weight += float(weight.sum())
        # chance level: nats of one action chosen uniformly among the allowed ones
        if batch.allowed is None:
            self.even += len(goal) * float(np.log(network.action_spec.sizes).sum())
        else:
            there = batch.allowed[:, :-1][batch.loss_mask].sum(dim=-1)  # (steps, M)
            self.even += float(there.clamp(min=1).double().log().sum())
        begins = batch.is_first[:, 0]
        if batch.policy is None:
            scores = network.scores(online, batch.allowed)
            chosen = scores.argmax(dim=-1)  # (B, T+1, M)
            if network.config.actions == "items":
                self.gain += gain_of(scores[:, :-1][batch.loss_mask], batch.action[batch.loss_mask])
            self.agree += float((chosen[:, :-1] == batch.action).all(dim=-1)[batch.loss_mask].sum())
            value = action_values(online.q, chosen)[:, 0]
        else:
            self.evaluates = True
            value = mean_over_dimensions((batch.policy[:, 0] * slow.q[:, 0]).sum(dim=-1))
        self.first_value.append(value[begins].double().cpu())
        assert batch.episode_index is not None
        # longer episodes span several windows
        whole = begins & (batch.valid.sum(dim=1) == self.lengths.to(begins.device)[batch.episode_index])
        discount = torch.full_like(batch.reward, objective.discount)
        earned = discounted_return(batch.reward, discount, batch.valid)[:, 0]
        self.first_return += earned[whole].tolist()

    def first_values(self) -> NDArray[np.float64]:
        """Return (K,) mean values at the first step of an episode; NaN if no episode starts in the batches."""
        found: NDArray[np.float64] = torch.cat(self.first_value).mean(dim=0).numpy()
        return found

    def result(self) -> HeldOut:
        """Return the means over all steps."""
        steps, objective = max(self.steps, 1), self.objective
        variance = float(torch.as_tensor(self.square / steps - (self.target / steps) ** 2).mean())
        floor = 1e-6 * float(self.network.head.scale) ** 2
        unexplained = self.error / steps / max(variance, floor)
        nats = self.nats / steps if objective.cloning_weight > 0.0 else None
        imitates = nats is not None and (self.network.config.policy_head == "greedy" or objective.td_weight == 0.0)
        metric: Metric = "unexplained"
        score = unexplained
        if imitates and nats is not None:
            metric, score = "imitation", nats
            if self.weight:
                metric, score = "weighted_imitation", self.weighted / self.weight
            if self.network.config.actions == "items":
                metric, score = "ranking", 1.0 - self.gain / steps
        chance = self.even / steps if imitates else 1.0
        if metric == "ranking":
            chance = 1.0 - float(_discount(torch.arange(self.network.action_spec.actions)).mean())
        return HeldOut(
            mean=-score,
            unexplained=unexplained,
            td_error=self.size / steps,
            imitation=nats,
            agreement=float("nan") if self.evaluates else self.agree / steps,
            first_value=float(self.first_values().mean()),
            first_return=float(np.mean(self.first_return)) if self.first_return else float("nan"),
            sessions=sum(len(values) for values in self.first_value),
            metric=metric,
            chance=chance,
        )


def gain_of(scores: torch.Tensor, item: torch.Tensor) -> float:
    """Return the sum of the discounted gains of items in a list of all: scores (N, 1, A), item (N, 1)."""
    place = (scores > scores.gather(-1, item[..., None])).sum(dim=-1)
    return float(_discount(place).sum())


def _discount(place: torch.Tensor) -> torch.Tensor:
    """Return the discount of a hit at `place`, from 0: 1 / log2(place + 2), as in NDCG."""
    return 1.0 / torch.log2(place.double() + 2.0)
