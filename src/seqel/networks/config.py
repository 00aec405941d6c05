"""Settings of a Q-network. Does not import torch, so that the command line starts fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqel.errors import ConfigError
from seqel.settings import check, setting
from seqel.texts.config import TuningName

__all__ = ["NetworkConfig", "TrunkName", "ValueName"]

# the names in `trunks/registry.py` and `values/registry.py`, which import torch; a test compares them
TrunkName = Literal["transformer", "gru", "pretrained"]
ValueName = Literal["scalar", "hl-gauss", "c51", "quantile"]
GateName = Literal["residual", "gru"]
ImageName = Literal["cnn", "patches"]
ActionsName = Literal["outputs", "embedded", "items", "tokens"]
PolicyHeadName = Literal["none", "auxiliary", "greedy", "constraint"]


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Settings of the tokens, the trunk and the heads.

    Raises ConfigError if a value is out of range, or if two settings contradict each other.
    """

    trunk: TrunkName = setting(
        "transformer",
        "What summarises the history: a causal Transformer, a gated recurrent unit, or a pretrained causal language model "
        "(`model`).",
    )
    model: str = setting(
        "",
        "The pretrained causal language model, if `trunk` is 'pretrained': a folder, a GGUF file, or an id of the Hugging "
        "Face hub. Width and layers are set from it.",
        known_as=("pretrained", "base_model", "model_name_or_path"),
    )
    model_checksum: str = setting("", "SHA-256 of the pretrained model. Set at the start of the run.")
    tuning: TuningName = setting(
        "lora",
        "Which weights of the pretrained model are trained: low-rank adapters (LoRA), prefixes of keys and values, all, or "
        "none.",
        known_as=("peft", "finetune", "fine_tuning"),
    )
    rank: int = setting(8, "Rank of the low-rank adapters.", ge=1, known_as=("lora_r", "r"))
    prefix: int = setting(
        16, "Number of prefix positions per layer.", unit="positions", ge=1, known_as=("num_virtual_tokens",)
    )
    width: int = setting(
        64,
        "Width D of tokens and layers; for a Transformer a multiple of 2 * `heads`, unless `head_dim` is set.",
        ge=2,
        known_as=("d_model", "hidden_size", "hidden_dim", "embed_dim"),
    )
    layers: int = setting(2, "Number of Transformer blocks, or of GRU layers.", ge=1, known_as=("depth", "num_layers"))
    heads: int = setting(4, "Attention heads per block.", ge=1, known_as=("num_heads", "n_heads"))
    head_dim: int = setting(
        0,
        "Width of each attention head, an even number. 0: `width` / `heads`. Set when an agent is compressed.",
        ge=0,
    )
    feedforward: int = setting(4, "Hidden width of each block's MLP.", unit="multiples of `width`", ge=1)
    hidden: int = setting(
        0,
        "Hidden units of each block's MLP. 0: `feedforward` times `width`. Set when an agent is compressed.",
        unit="units",
        ge=0,
    )
    context: int = setting(
        0,
        "Number of steps, including the current one, that each layer's attention covers. 'auto': chosen from the length of "
        "the environment's or the table's episodes.",
        unit="steps",
        ge=1,
        auto=0,
        known_as=("context_length", "history", "seq_len", "memory"),
    )
    dropout: float = setting(
        0.0,
        "Dropout probability during training; there is no dropout while acting.",
        unit="probability",
        ge=0.0,
        lt=1.0,
    )
    step_dropout: float = setting(
        0.0,
        "Probability during training that a whole step's observation is hidden from the network, which then acts on what it "
        "remembers; previous action and reward stay. Nothing is hidden while acting.",
        unit="probability",
        ge=0.0,
        lt=1.0,
        known_as=("observation_dropout", "token_dropout"),
    )
    gate: GateName = setting(
        "residual", "How a block's output joins the residual stream: added, or through a GRU gate (GTrXL)."
    )
    qk_norm: bool = setting(
        False, "Normalise queries and keys before their product (Henry et al. 2020, arXiv:2010.04245)."
    )
    rope_base: float = setting(
        10_000.0, "Base of the rotary position embedding's wavelengths.", gt=0.0, known_as=("rope_theta",)
    )
    clock: bool = setting(True, "Add a learned function of the step number within the episode to each token.")
    clock_base: float = setting(1_000.0, "Base of the wavelengths that encode the step number.", gt=0.0)
    clock_scale: float = setting(0.3, "Scale of the encoded step number at the start of training.", ge=0.0)
    previous_action: bool = setting(True, "Make the previous action part of each step's token.")
    previous_reward: bool = setting(True, "Make the previous reward part of each step's token, as its symlog.")
    first_step: bool = setting(True, "Mark an episode's first step in its token.")
    image_encoder: ImageName = setting(
        "cnn",
        "How an image becomes part of its step's token: by a small convolutional network, or from patches.",
        renamed_from=("image",),
    )
    actions: ActionsName = setting(
        "outputs",
        "'outputs': one output per action. 'embedded': one scorer MLP(h, e(a)) of the trunk's output and an embedding of the "
        "action. 'items': the product of the trunk's output and the embedding with which the history reads the action, for "
        "large catalogues. 'tokens': actions are the tokens of the pretrained language model that is the trunk.",
    )
    action_features: int = setting(
        0,
        "Number of features that describe each action, if `actions` is 'embedded' or 'items'. Set from the features that are "
        "given.",
        ge=0,
    )
    item_dropout: float = setting(
        0.0,
        "With `actions` = 'items' and features, the probability in training that an item is represented by its features "
        "alone, without its own embedding. New items can then be scored.",
        unit="probability",
        ge=0.0,
        lt=1.0,
        renamed_from=("forget_items",),
    )
    policy_head: PolicyHeadName = setting(
        "none",
        "A head that predicts the recorded action: none; trained in addition to the values; choosing the action in place of "
        "the values; or limiting them to likely actions (see `bcq_threshold`).",
    )
    value_weight: float = setting(
        0.0,
        "With `policy_head` = 'greedy', the score of an action is its log-probability plus this many times its value, as in "
        "a policy that maximises the value under a KL penalty towards the recorded one. Above 0 in training, targets "
        "bootstrap from the action with the largest score. It can be changed after training (`Agent.set_value_weight`).",
        unit="per return scale",
        ge=0.0,
        known_as=("beta", "inverse_temperature"),
    )
    value_gradient: bool = setting(
        True,
        "Whether the gradient of the values changes the trunk and the item embeddings. False: only the policy head trains "
        "them, and learning values does not change its predictions.",
    )
    bcq_threshold: float = setting(
        0.3,
        "With `policy_head` = 'constraint', an action may be chosen if it is at least this many times as probable as the "
        "most probable one.",
        unit="ratio",
        ge=0.0,
        le=1.0,
    )
    state_value: bool = setting(False, "Add a head for the value of the state itself, which implicit Q-learning needs.")
    novelty: bool = setting(
        False, "Add a head for the novelty that each action leads to. Set from `objective.novelty_weight`."
    )
    cost: bool = setting(False, "Add a head for the cost that each action leads to. Set from `objective.cost_limit`.")
    dueling: bool = setting(
        False, "Split values into a state's value and each action's advantage (Wang et al. 2016, arXiv:1511.06581)."
    )
    critics: int = setting(
        1,
        "Number of independently trained Q heads; the value of an action is the smallest of theirs (clipped double "
        "Q-learning, Fujimoto et al. 2018, arXiv:1802.09477).",
        ge=1,
    )
    value: ValueName = setting(
        "scalar",
        "How a value is represented: one number, or a distribution. 'c51' and 'quantile' need objective.lambda_ = 0.",
    )
    bins: int = setting(
        101, "Outputs per action, if `value` is a distribution.", ge=2, known_as=("atoms", "num_atoms", "quantiles")
    )
    value_range: float = setting(
        10.0,
        "'hl-gauss' and 'c51' represent values between minus and plus this number.",
        unit="return scales",
        gt=0.0,
        known_as=("v_max", "v_min"),
    )

    def __post_init__(self) -> None:
        check(self, "network")
        if self.trunk == "transformer":
            self._check_heads()
        if self.critics > 1 and (self.value in ("c51", "quantile") or self.actions in ("tokens", "items")):
            raise ConfigError(
                f"network.critics: expected 1 with network.value = {self.value!r} and network.actions = {self.actions!r}, "
                f"got {self.critics}"
            )
        if (self.trunk == "pretrained") != bool(self.model):
            raise ConfigError(
                "network.trunk = 'pretrained' and network.model need each other, got "
                f"{self.trunk!r} and {self.model or 'no model'}"
            )
        if self.actions == "tokens" and self.trunk != "pretrained":
            raise ConfigError(f"network.actions = 'tokens' needs network.trunk = 'pretrained', got {self.trunk!r}")
        if self.action_features and self.actions not in ("embedded", "items"):
            raise ConfigError(
                "network.action_features: expected 0 unless network.actions is 'embedded' or 'items', got "
                f"{self.action_features}"
            )
        if self.actions == "items" and not self.previous_action:
            raise ConfigError(
                "network.actions = 'items' reads the items of the history: network.previous_action is false"
            )

    def _check_heads(self) -> None:
        if self.head_dim:
            if self.head_dim % 2 or self.width % 2:
                raise ConfigError(
                    "network.head_dim, network.width: expected even numbers (rotary embeddings rotate pairs), got "
                    f"{self.head_dim} and {self.width}"
                )
        elif self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError(
                f"network.width: expected a multiple of 2 * heads (rotary embeddings rotate pairs), got {self.width} "
                f"with {self.heads} heads"
            )

    @property
    def attention_dim(self) -> int:
        """Width of each attention head of a Transformer: `head_dim`, or `width` / `heads`."""
        return self.head_dim or self.width // self.heads

    @property
    def units(self) -> int:
        """Hidden units of each block's MLP: `hidden`, or `feedforward` times `width`."""
        return self.hidden or self.feedforward * self.width

    def require_policy(self) -> None:
        """Raise ConfigError if a setting needs a policy head that is missing.

        Networks call it when they are built: the objective adds the head that it needs before that.
        """
        if self.value_weight and self.policy_head != "greedy":
            raise ConfigError(
                f"network.value_weight = {self.value_weight} needs network.policy_head = 'greedy', got {self.policy_head!r}"
            )
        if not self.value_gradient and self.policy_head in ("none", "constraint"):
            raise ConfigError(
                "network.value_gradient = False needs a policy head that trains the trunk (network.policy_head = 'greedy' or "
                f"'auxiliary'), got {self.policy_head!r}"
            )
