"""Write docs/settings.md from the declared settings, so that the page never differs from the program.

`make docs` runs it before the pages are built. It needs nothing but the installed package.
"""

from __future__ import annotations

from pathlib import Path

from seqel.settings import SettingInfo, as_toml, list_settings
from seqel.training.config import RunConfig
from seqel.training.preset_changes import preset_changes
from seqel.training.presets import PRESETS

PAGE = Path(__file__).with_name("settings.md")
HEAD = """# Settings

<!-- Written by docs/generate_settings.py from the declarations in the code: change those, then run `make docs`. -->

Every setting has a dotted name, which is the same on the command line (`--set learner.learning_rate=3e-4`), in Python
(`settings={"learner.learning_rate": 3e-4}`) and in TOML:

```toml
[learner]
learning_rate = 3e-4
```

"Other names" are names of the same setting in other libraries and papers. The names of earlier versions are still read in
files and on the command line. `config.toml` in a run folder contains the values
of that run. A value outside its range raises a `ConfigError`.
"""
PRESETS_HEAD = """## Presets

To use a preset, pass `seqel train --preset NAME` or `seqel.train(preset="NAME")`, or write `preset = "NAME"` into a TOML
file. The tables list everything that each preset changes; `seqel settings --presets` shows the same.
"""
SECTIONS = {
    "": "The run",
    "network": "The network",
    "objective": "The objective",
    "exploration": "Exploration",
    "replay": "Replay",
    "learner": "The learner",
    "validation": "Validation",
    "offline": "Recorded data",
}


def row(info: SettingInfo) -> str:
    """One line of a table."""
    meaning = info.meaning + (f" Unit: {info.unit}." if info.unit else "")
    if info.known_as:
        meaning += f" Other names: {', '.join(f'`{name}`' for name in info.known_as)}."
    cells = (f"`{info.name}`", f"`{as_toml(info.default)}`", info.expected, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def preset_table(name: str, use: str) -> str:
    """What a preset is for, and a line per setting that it changes."""
    changes = preset_changes(name)
    if not changes:
        return f"### {name}\n\n{use}. No setting differs from its default.\n"
    lines = ["| setting | default | here |", "|---|---|---|"]
    lines += [f"| `{change.name}` | `{as_toml(change.old)}` | `{as_toml(change.new)}` |" for change in changes]
    return f"### {name}\n\n{use}.\n\n" + "\n".join(lines) + "\n"


def page() -> str:
    """The whole page: a table per section, then what each preset changes."""
    parts = [HEAD]
    infos = list(list_settings(RunConfig))
    for section in dict.fromkeys(info.name.rpartition(".")[0] for info in infos):
        lines = ["| setting | default | expected | meaning |", "|---|---|---|---|"]
        lines += [row(info) for info in infos if info.name.rpartition(".")[0] == section]
        parts.append(f"## {SECTIONS.get(section, section)}\n\n" + "\n".join(lines) + "\n")
    parts.append(PRESETS_HEAD)
    parts += [preset_table(name, use) for name, (use, _) in PRESETS.items()]
    return "\n".join(parts)


def main() -> None:
    text = page()
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        PAGE.write_text(text, encoding="utf-8")
        print(f"docs    {PAGE.name} updated")


if __name__ == "__main__":
    main()
