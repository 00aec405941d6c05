"""What a network says about recorded sessions that it does not learn from: how well it knows them, and what it would do."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.losses.config import ObjectiveConfig
from seqel.losses.objective import term_losses
from seqel.losses.returns import discounted_return
from seqel.losses.targets import q_targets
from seqel.losses.td import action_values, mean_over_dimensions
from seqel.losses.terms.cloning import CLONING
from seqel.networks.qnetwork import QNetwork
from seqel.types import QOutput, SequenceBatch

__all__ = ["TITLES", "HeldOut", "Sums", "told"]

Metric = Literal["unexplained", "imitation"]
TITLES: dict[str, str] = {"unexplained": "held-out unexplained", "imitation": "held-out imitation"}
NOTHING = 0.01  # of chance: no better than that by more is nothing learnt


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOut:
    """What the network says about sessions that it does not learn from."""

    mean: float  # the score that the best weights are chosen by, larger is better: - `unexplained`, or - `imitation`
    unexplained: float  # share of the variance of its targets that the values leave unexplained; 1: they know nothing
    td_error: float  # mean |target - q|, in units of reward
    imitation: float | None  # nats of the recorded action under the policy head
    agreement: float  # share of the steps where the agent would have done what was recorded
    first_value: float  # mean value of its own action at the first step: what it expects of a whole session, discounted
    first_return: float  # what those sessions earned from there, discounted
    sessions: int
    metric: Metric = "unexplained"  # what `mean` is minus of
    chance: float = 1.0  # the metric without any knowledge: uniform probabilities, or the mean of the targets
    success: ClassVar[None] = None  # nothing is played

    def as_json(self) -> dict[str, Any]:
        """The figures as metrics.jsonl holds them."""
        return dataclasses.asdict(self)

    def evidence(self) -> dict[str, Any]:
        """What a saved agent says about the validation that it was chosen by, beside the score."""
        return {"held_out_sessions": self.sessions, "metric": self.metric, "chance": self.chance}

    def scalars(self) -> dict[str, float]:
        """The metric and its chance level under TensorBoard's names."""
        return {f"held_out/{self.metric}": -self.mean, f"held_out/{self.metric}_chance": self.chance}

    @property
    def title(self) -> str:
        """The metric's name for a person, one for each of the two."""
        return TITLES[self.metric]

    @property
    def learnt_nothing(self) -> bool:
        """Whether the metric is no better than chance."""
        return not -self.mean < self.chance * (1.0 - NOTHING)

    def told(self, best: float | None = None) -> str:
        """The metric with its unit, what chance would be, and the best so far (as `mean` is: larger is better)."""
        return told(dataclasses.asdict(self), best)


def told(look: dict[str, Any], best: float | None = None) -> str:
    """As `HeldOut.told`, of a look that a file has."""
    value, chance = -look["mean"], look.get("chance", 1.0)
    share = look.get("metric", "unexplained") == "unexplained"
    parts = [f"chance: {chance:.0%}" if share else f"chance: {chance:.4g}"]
    if best is not None:
        parts.append(f"best {-best:.1%}" if share else f"best {-best:.4g}")
    text = f"{value:.1%}" if share else f"{value:.4g} nats"
    nothing = "" if value < chance * (1.0 - NOTHING) else ", so nothing is learnt yet"
    return f"{text} ({', '.join(parts)}{nothing})"


class Sums:
    """Adds up what `HeldOut` tells, batch by batch."""

    def __init__(
        self, network: QNetwork, objective: ObjectiveConfig, discount: float, lengths: NDArray[np.int64]
    ) -> None:
        self.network, self.objective, self.discount = network, objective, discount
        self.lengths = torch.from_numpy(lengths)  # (episodes,)
        self.steps = 0
        self.evaluates = False  # policies are evaluated: no greedy action is there to agree with
        self.error = self.size = self.nats = self.agree = self.even = 0.0
        self.target: torch.Tensor | float = 0.0  # (K,)  K values of each step: one, or of K evaluated policies
        self.square: torch.Tensor | float = 0.0
        self.first_value: list[torch.Tensor] = []  # (episodes, K)
        self.first_return: list[float] = []

    def add(self, batch: SequenceBatch, online: QOutput, slow: QOutput) -> None:
        """One batch of whole walks through the sessions."""
        network, objective = self.network, self.objective
        support = network.config.bcq_threshold if network.config.policy_head == "constraint" else 0.0
        goal = q_targets(batch, online, slow, objective, support)[batch.loss_mask].double()
        error = action_values(online.q[:, :-1], batch.action)[batch.loss_mask].double() - goal
        self.steps += len(goal)
        self.error += float(error.square().mean(dim=-1).sum())
        self.size += float(error.abs().mean(dim=-1).sum())
        self.target = self.target + goal.sum(dim=0)
        self.square = self.square + goal.square().sum(dim=0)
        for term, _, reported in term_losses(batch, online, slow, network.head.scale, objective):
            if term is CLONING:
                self.nats += float(reported[batch.loss_mask].sum())
        # even play: nats of any one of the actions that there are
        if batch.allowed is None:
            self.even += len(goal) * float(np.log(network.action_spec.sizes).sum())
        else:
            there = batch.allowed[:, :-1][batch.loss_mask].sum(dim=-1)  # (steps, M)
            self.even += float(there.clamp(min=1).double().log().sum())
        begins = batch.is_first[:, 0]
        if batch.policy is None:
            chosen = network.scores(online, batch.allowed).argmax(dim=-1)  # (B, T+1, M)
            self.agree += float((chosen[:, :-1] == batch.action).all(dim=-1)[batch.loss_mask].sum())
            value = action_values(online.q, chosen)[:, 0]
        else:
            self.evaluates = True
            value = mean_over_dimensions((batch.policy[:, 0] * slow.q[:, 0]).sum(dim=-1))
        self.first_value.append(value[begins].double().cpu())
        assert batch.episode_index is not None
        # longer sessions come in several windows
        whole = begins & (batch.valid.sum(dim=1) == self.lengths.to(begins.device)[batch.episode_index])
        earned = discounted_return(batch.reward, torch.full_like(batch.reward, self.discount), batch.valid)[:, 0]
        self.first_return += earned[whole].tolist()

    def first_values(self) -> NDArray[np.float64]:
        """(K,) what a session is worth at its first step, by each of K values; NaN where none began."""
        found: NDArray[np.float64] = torch.cat(self.first_value).mean(dim=0).numpy()
        return found

    def result(self) -> HeldOut:
        """Means over all steps."""
        steps, objective = max(self.steps, 1), self.objective
        variance = float(torch.as_tensor(self.square / steps - (self.target / steps) ** 2).mean())
        floor = 1e-6 * float(self.network.head.scale) ** 2
        unexplained = self.error / steps / max(variance, floor)
        nats = self.nats / steps if objective.cloning_weight > 0.0 else None
        imitates = nats is not None and self.network.config.policy_head == "greedy"
        return HeldOut(
            mean=-nats if imitates and nats is not None else -unexplained,
            unexplained=unexplained,
            td_error=self.size / steps,
            imitation=nats,
            agreement=float("nan") if self.evaluates else self.agree / steps,
            first_value=float(self.first_values().mean()),
            first_return=float(np.mean(self.first_return)) if self.first_return else float("nan"),
            sessions=sum(len(values) for values in self.first_value),
            metric="imitation" if imitates else "unexplained",
            chance=self.even / steps if imitates else 1.0,
        )
