"""The environments of a run: with perturbed observations, if `perturb` asks for it.

Validation plays them too: clean episodes alone cannot tell the weights of a solved task apart.
"""

from __future__ import annotations

from seqel.environments.resolve import EnvMaker
from seqel.errors import ConfigError
from seqel.networks.qnetwork import QNetwork
from seqel.robustness.leaves import leaf_scales
from seqel.robustness.randomised import parse_strongest, randomly_perturbed
from seqel.training.config import RunConfig

__all__ = ["training_envs"]


def training_envs(make: EnvMaker, config: RunConfig, network: QNetwork) -> EnvMaker:
    """Return what makes the environments of training and validation; `make` itself without `perturb`.

    Raises ConfigError: as `parse_strongest` and `randomly_perturbed`, or if envpool makes the environments.
    """
    if not config.perturb:
        return make
    if config.vectorization == "envpool":
        raise ConfigError(
            "perturb: envpool's environments cannot be wrapped: set vectorization to 'sync' or 'async', or leave out perturb"
        )
    scales = list(leaf_scales(network).values())
    return randomly_perturbed(make, parse_strongest(config.perturb), scales, config.seed)
