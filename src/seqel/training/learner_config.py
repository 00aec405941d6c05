"""The settings of the learner: its optimiser, target network and moving averages. Does not import torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from seqel.settings import check, setting

__all__ = ["LearnerConfig"]


@dataclass(frozen=True, slots=True)
class LearnerConfig:
    """The optimiser, its schedule, and the target network."""

    optimizer: Literal["adamw", "sgd"] = setting("adamw", "The optimiser: AdamW, or SGD with momentum.")
    learning_rate: float = setting(
        -math.inf,
        "Step size of the optimiser after warm-up. 'auto': 5e-4 times sqrt(`replay.batch_tokens` / 416).",
        ge=0.0,
        auto=-math.inf,
        known_as=("lr", "step_size", "alpha"),
    )
    pretrained_rate: float = setting(
        -math.inf,
        "Learning rate of the trained weights of a pretrained Transformer. 'auto': 0.2 for adapters and prefixes "
        "(`text.tuning`), 0.02 if all of it is trained.",
        unit="share of `learning_rate`",
        ge=0.0,
        auto=-math.inf,
    )
    warmup: int = setting(
        200,
        "Updates over which the learning rate rises linearly from 0; at most a fifth of the run, unless `schedule` is "
        "'constant'.",
        unit="updates",
        ge=0,
    )
    schedule: Literal["constant", "linear", "cosine"] = setting(
        "linear", "How the learning rate decays after warm-up, until the end of the run.", known_as=("lr_schedule",)
    )
    final_fraction: float = setting(
        0.05, "The learning rate at the end of the run.", unit="share of `learning_rate`", ge=0.0, le=1.0
    )
    betas: tuple[float, float] = setting(
        (0.9, 0.99), "AdamW's decay rates of the gradient's two moments.", ge=0.0, lt=1.0
    )
    momentum: float = setting(0.9, "SGD's momentum; AdamW does not use it.", ge=0.0, lt=1.0)
    weight_decay: float = setting(0.01, "Decoupled weight decay of the matrices.", ge=0.0, known_as=("wd", "l2"))
    max_grad_norm: float = setting(
        1.0,
        "Largest norm of the gradient; a larger one is scaled down. 0: no clipping.",
        ge=0.0,
        known_as=("grad_clip", "gradient_clip"),
        renamed_from=("clip",),
    )
    gradient_accumulation_steps: int = setting(
        1, "Micro-batches per update; more of them need less RAM.", ge=1, renamed_from=("accumulate",)
    )
    target: Literal["average", "copy"] = setting(
        "average", "How the target network follows: as a moving average of the weights, or by periodic copies."
    )
    target_rate: float = setting(
        -math.inf,
        "Fraction by which a moving-average target moves towards the current weights at each update. 'auto': 0.05, and less "
        "in runs of more than 200,000 steps, in proportion to 1 / sqrt(steps).",
        unit="fraction per update",
        gt=0.0,
        le=1.0,
        auto=-math.inf,
        known_as=("tau", "polyak"),
    )
    target_every: int = setting(
        500, "Updates between copies, if `target` is 'copy'.", unit="updates", ge=1,
        known_as=("target_update_interval", "target_update_freq"),
    )  # fmt: skip
    average_rate: float = setting(
        0.005,
        "Fraction by which the moving average of the weights moves towards the current weights at each update on an "
        "environment. The average is validated and kept. 1: the latest weights are validated and kept.",
        unit="fraction per update",
        gt=0.0,
        le=1.0,
        known_as=("ema", "ema_decay", "polyak_averaging"),
    )
    acting_weights: Literal["latest", "averaged", "incumbent"] = setting(
        "latest",
        "Which weights collect experience: the latest, or their moving average (`average_rate`). 'incumbent': the weights "
        "that did best in validation so far act in three quarters of the environments and are kept; the averaged weights act "
        "in the others and are validated.",
    )
    precision: Literal["float32", "bf16"] = setting(
        "float32",
        "Number format of the matrix products during updates. 'bf16' needs a processor or GPU with instructions for it, "
        "which `seqel check` reports. Without them it can be several times slower, and a new run is refused.",
    )
    compile: Literal["auto", "on", "off"] = setting(
        "auto",
        "Compile the update and the acting step, which takes up to a minute. 'auto': if the run is long enough to benefit.",
        auto="auto",
    )
    image_shift: int = setting(0, "Largest random shift of images in an update (DrQ). 0: none.", unit="pixels", ge=0)
    observation_noise: float = setting(
        0.0,
        "Standard deviation of Gaussian noise on numbers and images in an update, independent for each step. 0: none.",
        unit="units of the leaf: half the range, the standard deviation, or full brightness",
        ge=0.0,
        known_as=("noise",),
    )
    sampled_negatives: int = setting(
        0,
        "Number of actions, sampled at every update, that are scored at each step besides the one taken. 0: all actions.",
        unit="actions",
        ge=0,
    )

    def __post_init__(self) -> None:
        check(self, "learner")
