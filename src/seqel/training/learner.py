"""The learner: `update(batch) -> metrics`. It owns network, target network and optimiser, but no replay or environment."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from seqel.errors import ConfigError, NonFiniteError
from seqel.losses.config import ObjectiveConfig
from seqel.losses.objective import step_loss
from seqel.losses.targets import bootstraps, reads_every_value
from seqel.losses.td import masked_mean
from seqel.losses.terms.registry import active_terms
from seqel.networks.qnetwork import QNetwork
from seqel.pretrained.adapted import Adapted
from seqel.training.adversary import move_observations, require_movable
from seqel.training.augmentation import add_noise, shift_images
from seqel.training.hardware.compilation import compiled
from seqel.training.learner_config import LearnerConfig
from seqel.training.negatives import with_negatives
from seqel.training.required_heads import require_heads
from seqel.types import SequenceBatch

__all__ = ["Learner", "rate_at"]

FEW = 8  # actions, whose values cost nothing where only that of the action taken is needed
WARM = 0.2  # share of a run that warm-up may take
VARIANCE_MEMORY = 0.99
VARIANCE_FLOOR = 1e-3  # of the squared return scale: keeps the loss bounded if the targets barely vary


class Learner:
    """Double Q-learning on windows.

    Raises ConfigError if the network's value type and the objective are incompatible, or if the learning rate or the target
    rate is still "auto": a run chooses them from its number of steps (`training/resolve.py`).

    The loss of scalar values is divided by a running variance of their targets, so that one clipping threshold for the
    gradient suits every task.
    """

    def __init__(self, network: QNetwork, objective: ObjectiveConfig, config: LearnerConfig) -> None:
        if network.head.values.needs_next_outputs and objective.lambda_ > 0.0:
            raise ConfigError(
                f"network.value = {network.config.value!r} predicts distributions, for which there is no lambda-return: set "
                f"objective.lambda_ = 0 (got {objective.lambda_}), and objective.n_step for longer returns"
            )
        if config.learning_rate < 0.0 or config.target_rate < 0.0:
            raise ConfigError(
                "learner: expected numbers for learning_rate and target_rate, got 'auto', which only a run resolves: set "
                "them, for instance to 5e-4 and 0.05"
            )
        require_heads(network, objective, config)
        self.network, self.objective, self.config = network.eval(), objective, config
        self.target = copy.deepcopy(network).eval().requires_grad_(False)
        keeps = any(term.reads_reference for term in active_terms(objective))
        self.reference = copy.deepcopy(self.target) if keeps else None  # what training starts from
        self.updates = 0
        self.device = network.head.scale.device
        self.optimizer = self._make_optimizer()
        self.variance = torch.zeros((), device=self.device)
        self.variance_weight = 0.0
        self.errors = torch.zeros(0, 0)  # (B, T) |target - q| of the last update, in units of the return scale
        self._online: list[Tensor] = list(network.parameters())
        self._slow: list[Tensor] = list(self.target.parameters())
        self._reads_target = any(term.reads_target for term in active_terms(objective))
        self._bootstraps = True  # whether the batch at hand needs the target network's values
        self._moves = any(term.reads_moved for term in active_terms(objective))
        if self._moves:
            require_movable(network, config.sampled_negatives)
        self._taken = False  # whether the batch at hand needs the values of recorded actions alone
        self._reads_values = (
            config.sampled_negatives > 0
            or network.head.values.needs_next_outputs
            or network.action_spec.actions <= FEW
            or any(term.reads_values or term.reads_target for term in active_terms(objective))
        )
        # a gradient within the loss cannot be compiled with it
        self._loss = compiled(self._step_losses) if config.compile == "on" and not self._moves else self._step_losses

    def _make_optimizer(self) -> torch.optim.Optimizer:
        config = self.config
        pretrained = {id(p) for part in self.network.modules() if isinstance(part, Adapted) for p in part.parameters()}
        groups: list[dict[str, Any]] = []
        for theirs, share in ((False, 1.0), (True, config.pretrained_rate)):
            some = [p for p in self.network.parameters() if (id(p) in pretrained) == theirs]
            matrices, others = [p for p in some if p.ndim >= 2], [p for p in some if p.ndim < 2]
            groups.append({"params": matrices, "weight_decay": config.weight_decay, "share": share})
            groups.append({"params": others, "weight_decay": 0.0, "share": share})
        groups = [group for group in groups if group["params"]]
        if config.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)

    # -- one update ------------------------------------------------------------------------------------------------

    def update(self, batch: SequenceBatch, progress: float = 0.0) -> dict[str, Tensor]:
        """Take one optimiser step on one batch; the metrics are tensors, so that nothing waits for the device.

        `progress` is the fraction of the run that is over, for the learning-rate schedule.

        Raises:
            NonFiniteError: the loss or a gradient is not finite; the weights are left as they were before this update.
        """
        self._bootstraps = self._reads_target or bootstraps(batch, self.objective)
        self._taken = not (self._reads_values or reads_every_value(batch, self.objective))
        batch = batch.to(self.device)
        rate = rate_at(self.updates, progress, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        if self.config.image_shift:
            batch = shift_images(batch, self.network.observation_spec, self.config.image_shift)
        if self.config.observation_noise:
            batch = add_noise(batch, self.network, self.config.observation_noise)
        before = self.variance, self.variance_weight
        self._train(True)
        metrics = self._backward(batch)
        self._train(False)
        norm = torch.nn.utils.clip_grad_norm_(self._online, self.config.max_grad_norm or math.inf)
        try:
            self._require_finite(metrics["loss"], norm, batch)
        except NonFiniteError:
            self.variance, self.variance_weight = before
            raise
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        self._move_target()
        return metrics | {"gradient_norm": norm.detach(), "learning_rate": torch.tensor(rate)}

    def _train(self, mode: bool) -> None:
        """Enable dropout only during the update: the same network acts in between."""
        config = self.network.config
        if config.dropout or config.item_dropout or config.step_dropout:
            self.network.train(mode)

    def _backward(self, batch: SequenceBatch) -> dict[str, Tensor]:
        if self.config.gradient_accumulation_steps > 1:
            return self._backward_in_parts(split(batch, self.config.gradient_accumulation_steps))
        loss, extra, metrics, self.errors = self._loss(batch)
        if self.network.head.values.divide_by_variance:
            loss = loss / self._track_variance(metrics["target_variance"])
        if extra is not None:
            loss = loss + extra
        metrics["loss"] = loss.detach()
        torch.autograd.backward(loss)
        return metrics

    def _backward_in_parts(self, parts: list[SequenceBatch]) -> dict[str, Tensor]:
        """Compute the same gradients one micro-batch at a time, each weighted by its number of trained transitions.

        The variance of the whole batch's targets is known only at the end, so the gradients are divided by it then.
        """
        total = sum(part.num_learned for part in parts) or 1
        sums: dict[str, Tensor] = {}
        errors = []
        square = torch.zeros((), device=self.device)
        for part in parts:
            share = part.num_learned / total
            loss, extra, metrics, error = self._loss(part)
            errors.append(error)
            if extra is not None:  # only without division by the variance below (see `require_heads`)
                loss = loss + extra
                metrics["loss"] = loss.detach()
            torch.autograd.backward(loss * share)
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + value * share
            square = square + share * metrics["target"].square()
        if self.network.head.values.divide_by_variance:
            between = (square - sums["target"].square()).clamp(min=0.0)
            sums["target_variance"] = sums["target_variance"] + between / self.network.head.scale.square()
            size = self._track_variance(sums["target_variance"])
            torch._foreach_div_([p.grad for p in self._online if p.grad is not None], size)
            sums["loss"] = sums["loss"] / size
        self.errors = torch.cat(errors)
        return sums

    def _step_losses(self, batch: SequenceBatch) -> tuple[Tensor, Tensor | None, dict[str, Tensor], Tensor]:
        """Return the value loss, the sum of the other terms, metrics, and (B, T) |target - q| in return scales."""
        judged = batch
        if self.config.sampled_negatives:
            batch, judged = with_negatives(batch, self.network.action_spec.actions, self.config.sampled_negatives)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            online = self.network(batch, taken=self._taken)
            if self._bootstraps:
                with torch.no_grad():
                    slow = self.target(batch, taken=self._taken)
            else:
                slow = online.detached()
            reference = None
            if self.reference is not None:
                with torch.no_grad():
                    reference = self.reference(batch, taken=self._taken)
            moved = None
            if self._moves:
                moved = self.network(move_observations(self.network, batch, online, self.objective))
        head = self.network.head
        filters = self.network.config.policy_head == "constraint"
        support = self.network.config.bcq_threshold if filters else 0.0
        prefer = self.network.preferred(online if self.objective.double else slow)
        found = step_loss(
            judged, online, slow, head.scale, self.objective, head.values, support, reference, moved, prefer
        )
        weight = 1.0 if batch.weight is None else batch.weight
        loss = masked_mean(found.loss * weight, batch.loss_mask)
        extra = None if found.extra is None else masked_mean(found.extra * weight, batch.loss_mask)
        with torch.no_grad():
            error = (found.target - found.q).abs()
            mean = masked_mean(found.target, batch.loss_mask)
            metrics = {
                "loss": loss.detach(),
                "q": masked_mean(found.q, batch.loss_mask),
                "target": mean,
                "target_variance": masked_mean((found.target - mean).square(), batch.loss_mask) / head.scale.square(),
                "td_error": masked_mean(error, batch.loss_mask),
            } | {name: masked_mean(term, batch.loss_mask) for name, term in found.terms.items()}
        return loss, extra, metrics, error / head.scale

    def _track_variance(self, variance: Tensor) -> Tensor:
        self.variance = VARIANCE_MEMORY * self.variance + (1 - VARIANCE_MEMORY) * variance
        self.variance_weight = VARIANCE_MEMORY * self.variance_weight + (1 - VARIANCE_MEMORY)
        return (self.variance / self.variance_weight).clamp(min=VARIANCE_FLOOR)

    def _require_finite(self, loss: Tensor, norm: Tensor, batch: SequenceBatch) -> None:
        if bool(torch.isfinite(norm) & torch.isfinite(loss)):
            return
        self.optimizer.zero_grad(set_to_none=True)
        blame = [name for name, p in self.network.named_parameters() if not bool(torch.isfinite(p).all())]
        if not bool(torch.isfinite(batch.reward).all()):
            what = "a reward in the batch"
        elif blame:
            what = f"the weights {', '.join(blame[:3])}"
        else:
            what = "the loss" if not bool(torch.isfinite(loss)) else "the gradient"
        raise NonFiniteError(
            f"update {self.updates}: {what} is not finite (loss {float(loss):g}, gradient norm {float(norm):g}). Try a "
            f"smaller learner.learning_rate (now {self.config.learning_rate:g}) or check the rewards."
        )

    @torch.no_grad()
    def _move_target(self) -> None:
        if self.config.target == "average":
            torch._foreach_lerp_(self._slow, self._online, self.config.target_rate)
        elif self.updates % self.config.target_every == 0:
            torch._foreach_copy_(self._slow, self._online)

    # -- scale, statistics, state ----------------------------------------------------------------------------------

    def rescale(self, scale: float) -> None:
        """Change the unit of value in all networks; the values of scalar heads stay exactly the same."""
        ratio = float(self.network.head.scale) / scale
        for network in self._networks():
            network.rescale(scale)
        self.variance = self.variance * ratio**2

    def _networks(self) -> list[QNetwork]:
        return [self.network, self.target, *([] if self.reference is None else [self.reference])]

    def observe(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Freeze the statistics of vector leaves, the same in all networks. `statistics`: path -> (mean, std)."""
        for network in self._networks():
            for path, encoder in network.tokens.vectors().items():
                if path in statistics:
                    encoder.observe(*(value.to(self.device) for value in statistics[path]))

    def start_from(self, network: QNetwork) -> None:
        """Copy the weights of another network into all networks. A head that it lacks keeps its initial weights."""
        for mine in self._networks():
            mine.load_state_dict(mine.state_dict() | network.state_dict())

    def describe_actions(self, features: Tensor) -> None:
        """Set the action features (A, F) of all networks. Raises ConfigError if their shape does not fit."""
        for network in self._networks():
            network.describe_actions(features)

    def set_known_items(self, known: Tensor) -> None:
        """Set which items (A,) bool occur in the data, in all networks; others are represented by their features alone."""
        for network in self._networks():
            items = network.tokens.items
            if items is not None and items.described is not None:
                items.known.copy_(known.to(items.known.device))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an exact resume needs."""
        return {
            "network": self.network.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
            "variance": self.variance,
            "variance_weight": self.variance_weight,
        } | ({} if self.reference is None else {"reference": self.reference.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.target.load_state_dict(state["target"])
        if self.reference is not None:
            self.reference.load_state_dict(state["reference"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = int(state["updates"])
        self.variance = state["variance"].to(self.device)
        self.variance_weight = float(state["variance_weight"])


def rate_at(update: int, progress: float, config: LearnerConfig) -> float:
    """Return the learning rate: linear warm-up over updates, then constant, linear or cosine decay to `final_fraction`.

    Warm-up takes at most a fifth of the run. A short run would otherwise end before it has learned anything. With a constant
    schedule it does not, because nothing there depends on how long the run is.
    """
    warm = (update + 1) / max(1, config.warmup)
    if config.schedule == "constant":
        return config.learning_rate * min(1.0, warm)
    rate = config.learning_rate * min(1.0, max(warm, progress / WARM))
    left = 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return rate * (config.final_fraction + (1 - config.final_fraction) * left)


def split(batch: SequenceBatch, parts: int) -> list[SequenceBatch]:
    """Split a batch into `parts` micro-batches along B."""
    size = -(-len(batch.reward) // parts)
    return [batch.rows(slice(at, at + size)) for at in range(0, len(batch.reward), size)]
