"""`seqel settings`: every setting with its meaning, unit, range and default, and what each preset changes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from seqel.cli.arguments import Json

if TYPE_CHECKING:
    from seqel.cli.output import Output
    from seqel.settings import SettingInfo

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "List every setting with its meaning, unit, range and default, and what each preset changes."

EXAMPLES = """
To change a setting, use --set NAME=VALUE of `seqel train`, settings={"NAME": VALUE} of `seqel.train`, or a TOML file with
--config.

examples:
  seqel settings                                    all of them
  seqel settings learner                            one section
  seqel settings learner.learning_rate              one setting
  seqel settings gamma                              find it by its name in another library
  seqel settings --presets                          what each preset is for, and what it changes
  seqel settings --preset offline-cql               one of them
  seqel settings learner --preset offline-online    a section under a preset
  seqel settings --json | jq -r '.settings[].name'
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel settings`."""

    name: Annotated[
        str | None,
        Positional,
        arg(
            metavar="NAME", help="a section (learner) or a setting (learner.learning_rate)", help_behavior_hint="",
            constructor=str,
        ),
    ] = None  # fmt: skip
    preset: Annotated[
        str | None, arg(metavar="P", help="show what this preset changes", help_behavior_hint="", constructor=str)
    ] = None
    presets: Annotated[
        bool, FlagCreatePairsOff, arg(help="show what each preset is for, and what it changes", help_behavior_hint="")
    ] = False
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Show settings or presets.  -> {"settings": [...]}, {"presets": [...]}, or both.

    Raises:
        ConfigError: there is no such preset, or nothing like the name.
    """
    from seqel.errors import ConfigError
    from seqel.settings import list_sections, list_settings
    from seqel.training.config import RunConfig
    from seqel.training.presets import PRESETS

    if arguments.presets:
        if arguments.name is not None or arguments.preset is not None:
            raise ConfigError("--presets shows all of them: leave out NAME and --preset, or leave out --presets")
        return {"presets": [_show_preset(name, output) for name in PRESETS]}
    if arguments.preset is not None and arguments.name is None:
        return {"presets": [_show_preset(arguments.preset, output)]}
    infos = list(list_settings(RunConfig))
    if arguments.name is None:
        _show_all(infos, list_sections(RunConfig), output)
        return {"settings": [dataclasses.asdict(info) for info in infos]}
    infos = _named(arguments.name, infos, output)
    changed = _changes(arguments.preset) if arguments.preset is not None else {}
    if len(infos) == 1:
        _show_one(infos[0], changed, output)
    else:
        output.show(_table(infos, changed))
    found = [
        dataclasses.asdict(info) | ({} if arguments.preset is None else {"value": changed.get(info.name, info.default)})
        for info in infos
    ]
    return {"settings": found}


def _named(name: str, infos: list[SettingInfo], output: Output) -> list[SettingInfo]:
    """The settings of a section, or the setting that was named or, with a note, probably meant."""
    from seqel.errors import ConfigError
    from seqel.settings import list_sections, suggest
    from seqel.training.config import RunConfig

    sections = list_sections(RunConfig)
    wanted = name.strip().strip(".").lower()
    found = [info for info in infos if info.name.lower() == wanted] or [
        info for info in infos if info.name.startswith(f"{wanted}.")
    ]
    if found:
        return found
    near = suggest(wanted, RunConfig)
    if near is None:
        raise ConfigError(f"no setting {name!r:.120}. Sections: {', '.join(sections)}; all settings: seqel settings")
    output.note(f"no setting {name!r:.120}; did you mean {near}?")
    return [info for info in infos if info.name == near]


def _changes(preset: str) -> dict[str, Any]:
    from seqel.training.preset_changes import preset_changes

    return {change.name: change.new for change in preset_changes(preset)}


def _show_all(infos: list[SettingInfo], sections: dict[str, str], output: Output) -> None:
    for section in dict.fromkeys(info.name.rpartition(".")[0] for info in infos):
        title = section or "the run"
        output.show(
            f"[bold]{title}[/]  {sections.get(section, 'The environment, the length of the run, and where it runs.')}"
        )
        output.show(_table([info for info in infos if info.name.rpartition(".")[0] == section], {}), "")


def _table(infos: list[SettingInfo], changed: dict[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("setting", style="cyan", no_wrap=True)
    table.add_column("default", max_width=24)
    table.add_column("meaning")
    for info in infos:
        meaning = info.meaning + (f" Unit: {info.unit}." if info.unit else "")
        table.add_row(
            info.name, escape(_value(info, changed)), f"{escape(meaning)} [dim]{escape(_sentence(info.expected))}[/]"
        )
    return table


def _show_one(info: SettingInfo, changed: dict[str, Any], output: Output) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for title, text in (
        ("default", _value(info, changed)),
        ("expected", info.expected),
        ("unit", info.unit),
        ("other names", ", ".join(info.known_as)),
    ):
        if text:
            table.add_row(title, escape(text))
    output.show(f"[bold cyan]{info.name}[/]", escape(info.meaning), table)


def _show_preset(preset: str, output: Output) -> dict[str, Any]:
    """Show what a preset is for and changes.  -> the same as values."""
    from rich.markup import escape
    from rich.table import Table

    from seqel.settings import as_toml
    from seqel.training.preset_changes import preset_changes
    from seqel.training.presets import PRESETS

    changes, use = preset_changes(preset), PRESETS[preset][0]
    output.show(f"[bold]{preset}[/]  {escape(use)}")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for change in changes:
        table.add_row(change.name, escape(f"{as_toml(change.old)} -> {as_toml(change.new)}"), escape(change.meaning))
    output.show(table if changes else "  [dim]the defaults[/]", "")
    rows = [{"name": change.name, "old": change.old, "new": change.new} for change in changes]
    return {"name": preset, "use": use, "changes": rows}


def _value(info: SettingInfo, changed: dict[str, Any]) -> str:
    """The default, and what a preset makes of it."""
    from seqel.settings import as_toml

    default = as_toml(info.default)
    return f"{default} -> {as_toml(changed[info.name])}" if info.name in changed else default


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
