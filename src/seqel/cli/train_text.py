"""`seqel train --text FILE --reward module:function`: trains an agent that writes text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.errors import ConfigError

if TYPE_CHECKING:
    from seqel.cli.output import Output

__all__ = ["train_on_text"]

PROMPT = 16  # characters of a text that are given, unless another number is asked for


def train_on_text(
    files: Sequence[str],
    reward_name: str | None,
    output: Output,
    *,
    out: str | None,
    chosen: dict[str, Any],
    updates: int | None,
    **options: Any,
) -> dict[str, Any]:
    """Train, and show a text for some positions of the dial. Returns the folder, the agent and these texts.

    chosen: settings by dotted name; options: those of `train_text`.
    """
    from rich.text import Text

    from seqel.cli.functions import named_function
    from seqel.language.generation import generate
    from seqel.language.training import read_texts, train_text
    from seqel.runs.api import free_folder

    if reward_name is None:
        raise ConfigError("--text needs --reward module:function, a function from a text to a number")
    reward = named_function(reward_name, "--reward")
    texts = read_texts(files)
    output.note(f"{len(texts):,} texts of {sum(map(len, texts)):,} characters")
    folder = Path(out) if out else free_folder(Path(files[0]).stem)
    options = {"prompt": PROMPT} | options
    if updates is not None:
        options["updates"] = (updates, updates // 2)
    agent = train_text(texts, reward, out=folder, settings={"threads": 1, **chosen}, **options)
    start = texts[0][: options["prompt"]]
    shown = []
    for dial in (0.0, 1.0, 4.0):
        written = generate(agent, [start], dial=dial, seed=0)[0][0]
        worth = float(reward(start + written))
        output.show(f"[dim]dial {dial:g}, reward {worth:.3g}[/]")
        output.show(Text.assemble((start, "cyan"), written))
        shown.append({"dial": dial, "prompt": start, "text": written, "reward": worth})
    place = folder / "values"
    output.show("", f"the agent: {place}", f'next: seqel generate {place} --prompt "..." --dial 2')
    return {"folder": str(folder), "agent": str(place), "texts": shown}
