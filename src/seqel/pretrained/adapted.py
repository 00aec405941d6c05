"""A pretrained model of which some weights are trained: low-rank adapters, prefixes, or all of them.

Networks come in several copies (online, target, average, best), but the pretrained weights that none of them changes are
in memory once per process. A copy holds only its own weights and lends them to the shared model for each forward pass
(`torch.func.functional_call`), so a copy, a checkpoint or a saved agent is as small as what is trained.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqel.errors import ConfigError
from seqel.extras import require
from seqel.pretrained.caches import Prefix, PrefixedKeys
from seqel.pretrained.loading import ModelDescription, describe, load_model, load_skeleton
from seqel.pretrained.location import BaseModel, find

__all__ = ["Adapted", "Tuning", "mean_pooled"]

PREFIX = ("prefix.keys", "prefix.values")
PREFIX_STD = 0.1  # of a prefix's keys and values at the start: small, so that the model is hardly changed


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is trained of a pretrained model."""

    kind: str  # "lora", "prefix" or "full"; "frozen": nothing
    rank: int = 8
    prefix: int = 16


class _Shared:
    """The model that all copies share. Not a module, so that no copy's state or deep copy contains it."""

    def __init__(self, base: BaseModel, tuning: Tuning) -> None:
        self.base, self.tuning = base, tuning
        self._models: dict[torch.device, nn.Module] = {}

    def __deepcopy__(self, memo: Any) -> _Shared:
        return self

    @cached_property
    def path(self) -> Path:
        """Where the model lies on this machine."""
        return find(self.base)

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Names and shapes of the trained weights."""
        if self.tuning.kind == "frozen":
            return {}
        if self.tuning.kind == "prefix":
            return dict.fromkeys(PREFIX, torch.Size(self.key_shape(self.tuning.prefix)))
        skeleton = _adapt(load_skeleton(self.path), self.tuning)
        return {name: weight.shape for name, weight in skeleton.named_parameters() if weight.requires_grad}

    @cached_property
    def description(self) -> ModelDescription:
        """The shape of the model."""
        return describe(self.path)

    def key_shape(self, steps: int) -> tuple[int, int, int, int]:
        """Return the shape of the keys of so many steps: (layers, H, steps, d)."""
        found = self.description
        return found.layers, found.key_heads, steps, found.key_width

    @contextmanager
    def showing_attention(self, device: torch.device) -> Iterator[None]:
        """Use the attention that returns its weights, which the fast one does not, for the time of the context."""
        model: Any = self.model(device)
        plain = model.get_base_model() if self.tuning.kind == "lora" else model
        plain.set_attn_implementation("eager")
        try:
            yield
        finally:
            plain.set_attn_implementation("sdpa")

    def model(self, device: torch.device) -> nn.Module:
        """Return the model on a device; the first call loads it."""
        if device not in self._models:
            with torch.inference_mode(mode=False):  # the first caller may act, and tensors made there cannot be trained
                loaded = next(iter(self._models.values()), None)
                if loaded is None:
                    loaded = _adapt(load_model(self.path), self.tuning).eval()
                    loaded.requires_grad_(False)  # each copy has weights of its own in place of those that are trained
                self._models = {device: loaded.to(device)}
        return self._models[device]


@cache
def _shared(base: BaseModel, tuning: Tuning) -> _Shared:
    return _Shared(base, tuning)


def _adapt(model: nn.Module, tuning: Tuning) -> nn.Module:
    """Add the places of low-rank adapters to a model: Hu et al. 2021, arXiv:2106.09685, on all linear layers."""
    if tuning.kind != "lora":
        return model
    peft = require("peft")
    pools = any("pooler" in name for name, _ in model.named_modules())  # the mean of the states is used in its place
    config = peft.LoraConfig(
        r=tuning.rank,
        lora_alpha=2 * tuning.rank,
        target_modules="all-linear",
        exclude_modules=r".*pooler.*" if pools else None,
        bias="none",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between versions of the two libraries
            warnings.filterwarnings("ignore", message="fan_in_fan_out")  # which it corrects itself
            found: nn.Module = peft.get_peft_model(model, config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"text.tuning = {tuning.kind!r}: not possible with {type(model).__name__} ({reason}); set another tuning"
        ) from error
    return found


class Adapted(nn.Module):
    """A pretrained model with weights of its own, called as the model itself.

    Its parameters are only what is trained. Dropout inside the pretrained model is off, in training as well. Prefixes: Li &
    Liang 2021, arXiv:2101.00190. Differs: they are parameters themselves, without an MLP, and take no positions.
    """

    def __init__(self, base: BaseModel, tuning: Tuning) -> None:
        """Raises ConfigError if the model is not on this machine, or cannot be adapted so."""
        super().__init__()
        self.shared = _shared(base, tuning)
        shapes = self.shared.shapes
        self.names = tuple(shapes)
        own = {_key(name): nn.Parameter(torch.empty(shape)) for name, shape in shapes.items()}
        self.own = nn.ParameterDict(own)
        if torch.empty(0).device.type != "meta":
            self._init_weights()

    @torch.no_grad()
    def _init_weights(self) -> None:
        pretrained = {}
        if self.shared.tuning.kind == "full":
            pretrained = dict(self.shared.model(torch.device("cpu")).named_parameters())
        for name, weight in self._weights().items():
            if name in pretrained:
                weight.copy_(pretrained[name])
            elif "lora_A" in name:
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
            elif "lora_B" in name:
                nn.init.zeros_(weight)  # the model starts as it was
            else:
                nn.init.normal_(weight, std=PREFIX_STD)

    def forward(
        self, attention_mask: Tensor, keys: type[PrefixedKeys] | PrefixedKeys = PrefixedKeys, **inputs: Any
    ) -> Any:
        """Call the model with this copy's weights.

        attention_mask: (R, N), 1 where there is a token, or (R, 1, Q, K) of float, added to the scores. keys: a cache made
        with this copy's `prefix`; by default only that prefix.
        """
        prefix = self.prefix
        if prefix is not None or keys is not PrefixedKeys:
            inputs["past_key_values"] = keys(prefix) if isinstance(keys, type) else keys
        if prefix is not None:
            attention_mask = _with_prefix(attention_mask, prefix[0].shape[2], prefix[0].dtype)
        weights = {} if prefix is not None else self._weights()
        model = self.shared.model(attention_mask.device)
        return torch.func.functional_call(model, weights, kwargs={"attention_mask": attention_mask, **inputs})

    @property
    def prefix(self) -> Prefix:
        """The keys and values of the prefix, (layers, H, P, d); None if there is none."""
        if self.shared.tuning.kind != "prefix":
            return None
        weights = self._weights()
        return weights[PREFIX[0]], weights[PREFIX[1]]

    def _weights(self) -> dict[str, Tensor]:
        """Return this copy's weights by their names in the pretrained model."""
        return {name: self.own[_key(name)] for name in self.names}

    def base(self, attention_mask: Tensor, **inputs: Any) -> Any:
        """Call the model as it was before training. Raises ConfigError if all of it is trained, so that no copy is kept."""
        kind = self.shared.tuning.kind
        if kind == "full":
            raise ConfigError("the base policy: expected text.tuning = 'lora' or 'prefix', got 'full'")
        model: Any = self.shared.model(attention_mask.device)
        if kind != "lora":
            return model(attention_mask=attention_mask, **inputs)
        with model.disable_adapter():
            return model(attention_mask=attention_mask, **inputs)

    def sizes(self) -> tuple[int, int]:
        """Return the number of trained weights, and of all weights."""
        trained = sum(weight.numel() for weight in self.own.values())
        every = sum(weight.numel() for weight in load_skeleton(self.shared.path).parameters())
        return trained, every + (0 if self.shared.tuning.kind == "full" else trained)


def _with_prefix(mask: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Return a mask to add to the scores, in which the prefix is always seen.  -> (R, 1, Q or 1, P + K)."""
    if mask.ndim == 2:
        mask = torch.where(mask.bool(), 0.0, torch.finfo(dtype).min).to(dtype)[:, None, None]
    return F.pad(mask, (length, 0))


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name may not contain dots


def mean_pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average the states of a text's tokens: hidden (R, N, W), mask (R, N) -> (R, W); zeros for an empty text."""
    there = mask[..., None].to(hidden.dtype)
    return (hidden * there).sum(dim=1) / there.sum(dim=1).clamp(min=1.0)
