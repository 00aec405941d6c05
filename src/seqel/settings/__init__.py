"""Declaration of settings: meaning, unit and range, declared once next to the default, and checked from there.

A config section is a frozen dataclass whose fields are made by `setting` and whose `__post_init__` calls `check`:

    @dataclass(frozen=True, slots=True)
    class LearnerConfig:
        learning_rate: float = setting(1e-3, "Largest step size of the optimiser.", ge=0.0, known_as=("lr",))

        def __post_init__(self) -> None:
            check(self, "learner")

The type comes from the annotation (int, float, bool, str, Literal, tuple, dict[str, Any], or another section), so
the program, its error messages and the reference page cannot disagree. Checks that involve several settings stay in the
section's `__post_init__`. Does not import torch.
"""

from __future__ import annotations

from seqel.settings.changes import as_dict, parse, replace, under_present_names, unresolved
from seqel.settings.checks import check
from seqel.settings.declaration import Setting, section, setting
from seqel.settings.listing import SettingInfo, as_toml, list_sections, list_settings, suggest

__all__ = [
    "Setting", "SettingInfo", "as_dict", "as_toml", "check", "list_sections", "list_settings", "parse", "replace",
    "section", "setting", "suggest", "under_present_names", "unresolved",
]  # fmt: skip
