"""Presets as what they change: for `seqel settings --presets` and the reference page. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seqel.settings import as_toml, list_settings
from seqel.training.config import RunConfig
from seqel.training.presets import preset_settings

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
    changed = preset_settings(preset)
    return [
        Change(info.name, info.default, changed[info.name], info.meaning)
        for info in list_settings(RunConfig)
        if info.name in changed and as_toml(changed[info.name]) != as_toml(info.default)
    ]
