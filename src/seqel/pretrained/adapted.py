"""A pretrained model of which some weights are trained: low-rank adapters, prefixes, or all of them.

Networks come in several copies (online, target, average, best), but the pretrained weights that none of them changes are
in memory once per process. A copy holds only its own weights and lends them to the shared model for each forward pass
(`torch.func.functional_call`), so a copy, a checkpoint or a saved agent is as small as what is trained.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqel.errors import ConfigError
from seqel.extras import require
from seqel.pretrained.loading import Part, load_description, load_model, load_skeleton
from seqel.pretrained.location import BaseModel, find

__all__ = ["Adapted", "Tuning", "mean_pooled"]

PREFIX_STD = 0.1  # of a prefix's keys and values at the start: small, so that the model is hardly changed


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is trained of a pretrained model."""

    kind: str  # "lora", "prefix" or "full"; "frozen": nothing
    rank: int = 8
    prefix: int = 16


class _Shared:
    """The weights that all copies share. Not a module, so that no copy's state or deep copy contains it."""

    def __init__(self, base: BaseModel, part: Part, tuning: Tuning) -> None:
        self.base, self.part, self.tuning = base, part, tuning
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
        skeleton = _adapt(load_skeleton(self.path, self.part), self.part, self.tuning)
        return {name: weight.shape for name, weight in skeleton.named_parameters() if weight.requires_grad}

    @cached_property
    def width(self) -> int:
        """The width of the model's states."""
        described = load_description(self.path)
        width = getattr(described, "hidden_size", None) or getattr(described, "n_embd", None)
        if not isinstance(width, int):
            raise ConfigError(f"text.model: {self.base.name!r} does not say how wide its states are (hidden_size)")
        return width

    def model(self, device: torch.device) -> nn.Module:
        """Return the model on a device; the first call loads it."""
        if device not in self._models:
            with torch.inference_mode(mode=False):  # the first caller may act, and tensors made there cannot be trained
                loaded = next(iter(self._models.values()), None)
                if loaded is None:
                    loaded = _adapt(load_model(self.path, self.part), self.part, self.tuning).eval()
                    loaded.requires_grad_(False)  # each copy has weights of its own in place of those that are trained
                self._models = {device: loaded.to(device)}
        return self._models[device]


@cache
def _shared(base: BaseModel, part: Part, tuning: Tuning) -> _Shared:
    return _Shared(base, part, tuning)


def _adapt(model: nn.Module, part: Part, tuning: Tuning) -> nn.Module:
    """Add the places of the adapters to a model. LoRA: Hu et al. 2021, arXiv:2106.09685, on all linear layers.

    Prefixes: Li & Liang 2021, arXiv:2101.00190. Differs: the prefixes are parameters themselves, without an MLP.
    """
    if tuning.kind in ("full", "frozen"):
        return model
    peft = require("peft")
    if tuning.kind == "lora":
        config = peft.LoraConfig(
            r=tuning.rank, lora_alpha=2 * tuning.rank, target_modules="all-linear", exclude_modules=r".*pooler.*",
            bias="none",
        )  # fmt: skip
    else:
        task = "FEATURE_EXTRACTION" if part == "encoder" else "CAUSAL_LM"
        config = peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=tuning.prefix)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between versions of the two libraries
            found: nn.Module = peft.get_peft_model(model, config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"text.tuning = {tuning.kind!r}: not possible with {type(model).__name__} ({reason}); set another tuning"
        ) from error
    return found


class Adapted(nn.Module):
    """A pretrained model with weights of its own, called as the model itself.

    Its parameters are only what is trained. Dropout inside the pretrained model is off, in training as well.
    """

    def __init__(self, base: BaseModel, part: Part, tuning: Tuning) -> None:
        """Raises ConfigError if the model is not on this machine, or cannot be adapted so."""
        super().__init__()
        self.shared = _shared(base, part, tuning)
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

    def forward(self, **inputs: Any) -> Any:
        """Call the model with this copy's weights."""
        device = next(iter(inputs.values())).device
        return torch.func.functional_call(self.shared.model(device), self._weights(), kwargs=inputs)

    def _weights(self) -> dict[str, Tensor]:
        """Return this copy's weights by their names in the pretrained model."""
        return {name: self.own[_key(name)] for name in self.names}

    def base(self, **inputs: Any) -> Any:
        """Call the model as it was before training. Raises ConfigError if all of it is trained, so that no copy is kept."""
        if self.shared.tuning.kind == "full":
            raise ConfigError("the base policy: expected text.tuning = 'lora' or 'prefix', got 'full'")
        model: Any = self.shared.model(next(iter(inputs.values())).device)
        if self.shared.tuning.kind == "frozen":
            return model(**inputs)
        if self.shared.tuning.kind == "prefix":  # the model itself is unchanged below its prefixes
            return model.get_base_model()(**inputs)
        with model.disable_adapter():
            return model(**inputs)

    def sizes(self) -> tuple[int, int]:
        """Return the number of trained weights, and of all weights."""
        trained = sum(weight.numel() for weight in self.own.values())
        skeleton = load_skeleton(self.shared.path, self.shared.part)
        every = sum(weight.numel() for weight in skeleton.parameters())
        return trained, every + (0 if self.shared.tuning.kind == "full" else trained)


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name may not contain dots


def mean_pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average the states of a text's tokens: hidden (R, N, W), mask (R, N) -> (R, W); zeros for an empty text."""
    there = mask[..., None].to(hidden.dtype)
    return (hidden * there).sum(dim=1) / there.sum(dim=1).clamp(min=1.0)
