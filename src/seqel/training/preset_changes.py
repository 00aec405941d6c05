"""Presets as what they change: for `seqel settings --presets` and the reference page. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seqel.errors import ConfigError
from seqel.settings import as_toml, list_settings
from seqel.training.config import RunConfig
from seqel.training.presets import PRESETS

__all__ = ["Change", "preset_changes"]


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that a preset changes."""

    name: str  # dotted: "learner.learning_rate"
    old: Any  # the default
    new: Any
    meaning: str


def preset_changes(preset: str) -> list[Change]:
    """The settings in which a preset differs from the defaults, in the order of declaration.

    Raises:
        ConfigError: there is no such preset.
    """
    if preset not in PRESETS:
        from difflib import get_close_matches

        near = get_close_matches(preset, PRESETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(f"no preset {preset!r}{hint} Known: {', '.join(PRESETS)}")
    changed = PRESETS[preset][1]
    return [
        Change(info.name, info.default, changed[info.name], info.meaning)
        for info in list_settings(RunConfig)
        if info.name in changed and as_toml(changed[info.name]) != as_toml(info.default)
    ]
