"""The shape of a Q-network. No torch here, so that the command line can show it quickly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from seqel.errors import ConfigError

__all__ = ["NetworkConfig", "TrunkName", "ValueName"]

# the names in `trunks/registry.py` and `values/registry.py`, which import torch; a test compares them
TrunkName = Literal["transformer", "gru"]
ValueName = Literal["scalar", "hl-gauss", "c51", "quantile"]
GateName = Literal["residual", "gru"]
ImageName = Literal["cnn", "patches"]
ActionsName = Literal["outputs", "embedded"]
PolicyHeadName = Literal["none", "auxiliary", "greedy", "constraint"]


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Tokens, trunk and head."""

    trunk: TrunkName = "transformer"
    width: int = 64  # D
    layers: int = 2
    heads: int = 4
    feedforward: int = 4  # hidden width of the MLP, in units of `width`
    context: int = 0  # steps each layer's attention reaches back; 0: chosen from the environment's episode length
    dropout: float = 0.0
    gate: GateName = "residual"  # how a block joins the stream: added, or by a gate (GTrXL)
    qk_norm: bool = False  # normalise queries and keys (Henry et al. 2020, arXiv:2010.04245)
    rope_base: float = 10_000.0
    clock: bool = True  # a learnt function of the step number, added to each token
    clock_base: float = 1_000.0
    clock_scale: float = 0.3
    previous_action: bool = True  # part of each step's token
    previous_reward: bool = True
    first_step: bool = True  # a flag on an episode's first step
    image: ImageName = "cnn"  # how a picture becomes part of its step's token
    actions: ActionsName = "outputs"  # an output each, or scored by what they are: MLP(h, e(a))
    action_features: int = 0  # numbers that describe an action, where they are embedded; as the run was given them
    policy_head: PolicyHeadName = "none"  # a head that predicts the recorded action: learnt
    # beside the values, decides instead of them, or says among which actions they decide (see `bcq_threshold`)
    bcq_threshold: float = (
        0.3  # policy = "constraint": an action this many times as likely as the likeliest one may be chosen
    )
    state_value: bool = False  # a head for the value of the state itself (IQL)
    dueling: bool = False  # value + advantage (Wang et al. 2016) instead of all actions at once
    value: ValueName = "scalar"  # the last two need objective.lambda_ = 0
    bins: int = 101  # outputs an action, where the value is not scalar
    value_range: float = 10.0  # hl-gauss, c51: the support reaches this many return scales to either side

    def __post_init__(self) -> None:
        for name, kind in (
            ("trunk", TrunkName),
            ("gate", GateName),
            ("image", ImageName),
            ("actions", ActionsName),
            ("policy_head", PolicyHeadName),
            ("value", ValueName),
        ):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"network.{name}: expected one of {get_args(kind)}, got {getattr(self, name)!r}")
        for name in ("rope_base", "clock_base", "value_range"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"network.{name}: expected a positive number, got {getattr(self, name)}")
        for name, least in (("width", 2), ("layers", 1), ("heads", 1), ("feedforward", 1), ("context", 0), ("bins", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"network.{name}: expected at least {least}, got {getattr(self, name)}")
        if self.trunk == "transformer" and (self.width % self.heads or (self.width // self.heads) % 2):
            raise ConfigError(
                f"network.width: expected a multiple of 2 * heads (rotary embedding turns pairs), got {self.width} "
                f"with {self.heads} heads"
            )
        if self.action_features < 0 or (self.action_features and self.actions != "embedded"):
            raise ConfigError(
                "network.action_features: expected 0 or more, and 0 unless network.actions is 'embedded', got "
                f"{self.action_features}"
            )
        if not 0.0 <= self.bcq_threshold <= 1.0:
            raise ConfigError(f"network.bcq_threshold: expected 0 <= bcq_threshold <= 1, got {self.bcq_threshold}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"network.dropout: expected 0 <= dropout < 1, got {self.dropout}")
