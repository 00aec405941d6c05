"""Settings of text observations. Does not import torch, so that the command line starts fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqel.errors import ConfigError
from seqel.settings import check, setting

__all__ = ["EncoderName", "TextConfig", "TuningName"]

EncoderName = Literal["hashed", "tokens", "pretrained", "callable"]
TuningName = Literal["frozen", "lora", "prefix", "full"]


@dataclass(frozen=True, slots=True)
class TextConfig:
    """How texts in observations are encoded; each becomes one vector, a part of its step's token.

    Raises ConfigError if a value is out of range, or if two settings contradict each other.
    """

    encoder: EncoderName = setting(
        "hashed",
        "What encodes a text: the mean of hashed byte trigrams (needs no library); a small Transformer over the tokens of a "
        "vocabulary that is learned from the run's own texts; a pretrained Transformer (`text.model`); or a function that "
        "was passed in Python.",
        known_as=("text_encoder", "tokenizer"),
    )
    model: str = setting(
        "",
        "The pretrained Transformer: a folder, or an id of the Hugging Face hub. Needs `encoder` = 'pretrained'.",
        known_as=("pretrained", "model_name", "model_name_or_path"),
    )
    tuning: TuningName = setting(
        "frozen",
        "Which weights of a pretrained Transformer are trained: none (each text is encoded once, and its vector is cached on "
        "disk); low-rank adapters (LoRA); prefixes of keys and values; or all.",
        known_as=("peft", "finetune", "fine_tuning"),
    )
    length: int = setting(
        0,
        "Number of tokens of a text that are read; a pretrained Transformer may be able to read fewer. 'auto': 64 for "
        "`encoder` = 'tokens', otherwise 256.",
        unit="tokens",
        ge=1,
        le=8_192,
        auto=0,
        known_as=("max_length", "max_seq_length"),
    )
    vocabulary: int = setting(
        4_096, "Largest number of tokens that `encoder` = 'tokens' learns.", unit="tokens", ge=260, le=65_536,
        known_as=("vocab_size",),
    )  # fmt: skip
    classes: bool = setting(
        False,
        "Whether the network observes the log-probabilities of the classes of each text, from a logistic regression on the "
        "vector of a frozen encoder. The regression is fitted before training, on texts whose classes the environment knows, "
        "such as the intents of customers or the sentiments of opinions (`labelled_texts`).",
        known_as=("labels",),
    )
    rank: int = setting(8, "Rank of the low-rank adapters.", ge=1, known_as=("lora_r", "r"))
    prefix: int = setting(
        16, "Number of prefix positions per layer.", unit="positions", ge=1, known_as=("num_virtual_tokens",)
    )

    @property
    def tokens(self) -> int:
        """The number of tokens of a text that are read."""
        return self.length or (64 if self.encoder == "tokens" else 256)

    def __post_init__(self) -> None:
        check(self, "text")
        if self.encoder == "pretrained" and not self.model:
            raise ConfigError(
                "text.encoder = 'pretrained' needs text.model: a folder, or an id of the Hugging Face hub"
            )
        if self.classes and (self.tuning != "frozen" or self.encoder not in ("pretrained", "callable")):
            raise ConfigError(
                "text.classes needs a frozen encoder: text.encoder = 'pretrained' with text.tuning = 'frozen', or a "
                f"function; got {self.encoder!r}, {self.tuning!r}"
            )
        if self.encoder != "pretrained" and (self.model or self.tuning != "frozen"):
            name = "model" if self.model else "tuning"
            raise ConfigError(
                f"text.{name} = {getattr(self, name)!r} needs text.encoder = 'pretrained', got {self.encoder!r}"
            )
