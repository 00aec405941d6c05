"""The complete configuration of a run, as frozen dataclasses, and presets. Does not import torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from seqel.agents.config import ExplorationConfig
from seqel.errors import ConfigError
from seqel.losses.config import ObjectiveConfig
from seqel.networks.config import NetworkConfig
from seqel.settings import check, replace, section, setting
from seqel.texts.config import TextConfig
from seqel.training.learner_config import LearnerConfig
from seqel.training.presets import preset_settings

__all__ = [
    "LearnerConfig",
    "OfflineConfig",
    "ReplayConfig",
    "RunConfig",
    "ValidationConfig",
    "from_dict",
    "preset",
    "with_settings",
]


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """What experience is kept, and how much of it one update uses."""

    capacity: int = setting(
        1_000_000,
        "How much experience is kept; the oldest is dropped first. An episode of T steps takes T + 1 slots. Never more than "
        "the run's own steps need.",
        unit="slots",
        ge=2,
        known_as=("buffer_size", "memory_size", "replay_size"),
    )
    window: int = setting(
        0,
        "Length of a training window. 'auto': whole episodes, up to twice `network.context`.",
        unit="steps",
        ge=1,
        auto=0,
        known_as=("seq_len", "sequence_length", "unroll_length"),
    )
    batch_tokens: int = setting(
        0,
        "Approximate number of steps per update; determines the number of windows. 'auto': 416, and more in runs of more "
        "than 200,000 steps, in proportion to sqrt(steps).",
        unit="steps",
        ge=1,
        auto=0,
    )
    batch_size: int = setting(0, "Windows per update. 0: chosen from `batch_tokens`.", unit="windows", ge=0)
    replay_ratio: float = setting(
        -math.inf,
        "Transitions trained on per environment step; a transition counts each time it is sampled. 'auto': 32, and fewer in "
        "runs of more than 200,000 steps, in proportion to 1 / sqrt(steps).",
        unit="trained transitions per environment step",
        gt=0.0,
        auto=-math.inf,
        known_as=("utd", "update_to_data", "train_freq", "gradient_steps"),
    )
    learning_starts: int = setting(
        1_000, "Environment steps before the first update.", unit="environment steps", ge=1, known_as=("warmup_steps",)
    )
    priority_exponent: float = setting(
        0.0,
        "Exponent alpha of prioritised replay: steps are sampled in proportion to their error to this power. 0: uniformly.",
        ge=0.0,
        le=1.0,
        known_as=("alpha", "per_alpha"),
        renamed_from=("priority",),
    )
    directory: str = setting("", "Folder for files that hold the experience. Empty: the experience is held in RAM.")
    importance_exponent: float = setting(
        0.4,
        "Initial exponent beta of the importance weights that correct for prioritised sampling; it grows to 1 over the run.",
        ge=0.0,
        le=1.0,
        known_as=("beta", "per_beta"),
        renamed_from=("importance",),
    )

    def __post_init__(self) -> None:
        check(self, "replay")


@dataclass(frozen=True, slots=True)
class ValidationConfig:
    """Validation during training: greedy episodes on seeds that no reported figure uses."""

    every: int = setting(
        20_000, "Environment steps between validations.", unit="environment steps", ge=1, known_as=("eval_freq",)
    )
    episodes: int = setting(
        32,
        "Greedy episodes per validation, always new ones. Weights that may replace the best ones play as many again.",
        unit="episodes",
        ge=1,
        known_as=("n_eval_episodes",),
    )
    threshold: float = setting(
        math.inf, "Mean return that counts as solved.", unit="reward", none=math.inf, known_as=("stop_at", "goal")
    )
    stop: bool = setting(False, "End the run once `threshold` is also reached in `confirm` further episodes.")
    confirm: int = setting(
        100,
        "Greedy episodes that confirm the threshold or, if `learner.acting_weights` is 'incumbent', that a challenger is at "
        "least as good as the incumbent.",
        unit="episodes",
        ge=1,
    )

    def __post_init__(self) -> None:
        check(self, "validation")


@dataclass(frozen=True, slots=True)
class OfflineConfig:
    """Training on recorded sessions: where they are, for how long, and what is held out."""

    files: tuple[str, ...] = setting(
        (), "Tables of recorded sessions (CSV, Parquet, JSONL), or one Minari dataset's id."
    )
    schema: str = setting("", "The TOML file that describes the columns of the tables.")
    action_features: str = setting(
        "", "A table that describes each action: its name in the first column, then numbers or categories. Empty: none."
    )
    updates: int = setting(
        20_000, "Updates of a run without an environment.", unit="updates", ge=1, known_as=("n_steps", "epochs")
    )
    every: int = setting(500, "Updates between validations on the held-out sessions.", unit="updates", ge=1)
    patience: int = setting(
        5,
        "Stop early after this many validations in a row with a held-out score clearly below the best. 0: never.",
        unit="validations",
        ge=0,
        known_as=("early_stopping",),
    )
    held_out: float = setting(
        0.1, "Share of the sessions that is excluded from training.", unit="share of sessions", gt=0.0, lt=1.0,
        known_as=("validation_split", "test_size"),
    )  # fmt: skip
    fraction: float = setting(
        0.5,
        "Share of each batch that is recorded data, in runs that also train on an environment.",
        unit="share of a batch",
        gt=0.0,
        lt=1.0,
    )

    def __post_init__(self) -> None:
        check(self, "offline")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One training run."""

    env: str = setting(
        "", "The environment to train on: a Gymnasium id, or module:Class. Empty: train on recorded data alone.",
        known_as=("env_id", "environment"),
    )  # fmt: skip
    env_args: dict[str, Any] = setting(
        factory=dict, meaning="Arguments of the environment's constructor, as TOML values.", known_as=("env_kwargs",)
    )
    observation: dict[str, Any] = setting(
        factory=dict,
        meaning="How leaves of the observation are read: a table from the path of a leaf to 'pixels' or 'codes' (integer "
        "grids), the largest number of entities (a Sequence), or the number of bytes to read (a Text). Other leaves are read "
        "as their space says.",
    )
    init_from: str = setting(
        "",
        "A run or agent whose weights training starts from. The settings of its network are used as well; of `network`, only "
        "dropout, `value_weight`, `value_gradient` and `bcq_threshold` can be changed.",
    )
    steps: int = setting(
        200_000, "Total number of environment steps, over all environments.", unit="environment steps", ge=1,
        known_as=("total_timesteps", "timesteps", "max_steps"),
    )  # fmt: skip
    seed: int = setting(0, "Seed of all random numbers of the run.", ge=0, known_as=("random_state",))
    environments: int = setting(
        16, "Number of parallel environments.", unit="environments", ge=1, known_as=("n_envs", "num_envs")
    )
    vectorization: Literal["auto", "sync", "async", "envpool"] = setting(
        "auto",
        "How the environments are stepped: in this process, each in its own process, or by envpool. 'auto': 'sync' or "
        "'async', whichever a short trial finds faster.",
        auto="auto",
    )
    memoryless: bool = setting(
        False, "Train on the current observation alone, without the history, to measure what memory contributes."
    )
    shield: str = setting(
        "",
        "Rules that veto actions, as the text of a TOML file (`seqel train --shield FILE`). Empty: none, or those of the "
        "agent to start from.",
    )
    perturb: tuple[str, ...] = setting(
        (),
        "Perturbations of the observations in half of the episodes, in training and validation, as KIND:LARGEST, for "
        "instance 'typos:0.1'. Each of these episodes draws a kind and a strength. The kinds are those of `seqel evaluate "
        "--perturb` without attacks. Empty: none.",
        known_as=("randomisation", "domain_randomization"),
    )
    device: str = setting("auto", "The device: 'cpu', 'cuda', 'cuda:1'. 'auto': a GPU if there is one.", auto="auto")
    threads: int = setting(
        0,
        "Number of torch's CPU threads. 'auto': one for small networks, otherwise one per core that the process may use.",
        unit="threads",
        ge=1,
        auto=0,
        known_as=("num_threads", "n_jobs"),
    )
    refresh_every: int = setting(
        0,
        "Updates after which the agent's memory of open episodes is recomputed with the current weights. 0: never.",
        unit="updates",
        ge=0,
    )
    checkpoint_every: int = setting(300, "Seconds between checkpoints. 0: only at the end.", unit="seconds", ge=0)
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = setting(
        (),
        "Experiment trackers that receive every record, in addition to metrics.jsonl.",
        known_as=("loggers", "logger"),
    )
    log_every: int = setting(2_000, "Environment steps between records.", unit="environment steps", ge=1)
    text: TextConfig = section(TextConfig, "How texts in observations are encoded.")
    network: NetworkConfig = section(NetworkConfig, "The shape of the Q-network.")
    objective: ObjectiveConfig = section(ObjectiveConfig, "The loss and its terms.")
    exploration: ExplorationConfig = section(ExplorationConfig, "How the agent explores.")
    replay: ReplayConfig = section(ReplayConfig, "What experience is kept, and how much of it one update uses.")
    learner: LearnerConfig = section(LearnerConfig, "The optimiser, its schedule, and the target network.")
    validation: ValidationConfig = section(ValidationConfig, "Validation during training.")
    offline: OfflineConfig = section(OfflineConfig, "Training on recorded sessions.")

    def __post_init__(self) -> None:
        check(self)
        if self.learner.acting_weights == "incumbent" and self.environments < 2:
            raise ConfigError(
                "learner.acting_weights = 'incumbent' needs environments >= 2, one of them for the averaged weights; got 1"
            )


def preset(name: str = "default", /, **settings: Any) -> RunConfig:
    """Return the config of a preset, with `settings` on top (`network__width=128` or `**{"network.width": 128}`).

    Raises:
        ConfigError: unknown or removed preset, or unknown setting.
    """
    return with_settings(RunConfig(), preset_settings(name) | {k.replace("__", "."): v for k, v in settings.items()})


def with_settings(config: RunConfig, settings: dict[str, Any]) -> RunConfig:
    """Return the config with settings replaced by their dotted names ("learner.learning_rate"); strings are read as TOML.

    Raises:
        ConfigError: an unknown name (the message lists the known ones), or a value of the wrong type.
    """
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        head, _, tail = name.partition(".")
        if tail:
            if not isinstance(nested.setdefault(head, {}), dict):
                raise ConfigError(f"{head}: expected a table of settings, got {nested[head]!r}")
            nested[head][tail] = value
        else:
            nested[head] = value
    return replace(config, nested)


def from_dict(data: dict[str, Any]) -> RunConfig:
    """Return a checked config from a nested dict, as TOML gives it. Raises ConfigError as `with_settings` does."""
    return with_settings(RunConfig(), data)
