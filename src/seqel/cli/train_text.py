"""`seqel train --text FILE --reward module:function`: trains an agent that writes text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import UseAppendAction, arg

from seqel.cli.arguments import Flag
from seqel.errors import ConfigError

if TYPE_CHECKING:
    from seqel.cli.output import Output

__all__ = ["TextArguments", "train_on_text"]

PROMPT = 16  # characters of a text that are given, unless another number is asked for


@dataclass(frozen=True)
class TextArguments:
    """Training an agent that writes text."""

    text: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="FILE",
            help="texts to learn from, in paragraphs; or *.jsonl with a prompt and a text per line",
            help_behavior_hint="(repeatable)",
        ),
    ] = ()
    reward: Annotated[
        str | None,
        arg(
            metavar="M:F",
            help="with --text: a function from a text, or from prompt and text, to a number",
            help_behavior_hint="",
            constructor=str,
        ),
    ] = None
    prompt_length: Annotated[
        int | None,
        arg(
            metavar="N",
            help="with --text: characters of each text used as its prompt (16)",
            help_behavior_hint="",
            constructor=int,
        ),
    ] = None
    text_length: Annotated[
        int | None,
        arg(metavar="N", help="with --text: maximum tokens of a text (200)", help_behavior_hint="", constructor=int),
    ] = None
    vocabulary: Annotated[
        int | None,
        arg(
            metavar="N",
            help="with --text: number of byte-pair tokens (default: characters)",
            help_behavior_hint="",
            constructor=int,
        ),
    ] = None
    samples: Annotated[
        int | None,
        arg(
            metavar="N",
            help="with --text: texts that are written to learn values from (2,000)",
            help_behavior_hint="",
            constructor=int,
        ),
    ] = None
    partial: Annotated[
        Flag,
        arg(
            help="with --text: compute the reward after every token, because that of an unfinished text is meaningful",
            help_behavior_hint="",
        ),
    ] = False
    temperature: Annotated[
        float | None,
        arg(
            metavar="X",
            help="with --text: temperature of the texts that are written to learn values from (1)",
            help_behavior_hint="",
            constructor=float,
        ),
    ] = None
    method: Annotated[
        Literal["q-sharp", "ilql"] | None,
        arg(metavar="NAME", help="with --text: q-sharp, or ilql (from the given texts alone)", help_behavior_hint=""),
    ] = None
    rounds: Annotated[
        int | None,
        arg(
            metavar="N", help="with --text: rounds of writing and learning (1)", help_behavior_hint="", constructor=int
        ),
    ] = None


def train_on_text(
    given: TextArguments,
    output: Output,
    out: str | None,
    chosen: dict[str, Any],
    updates: int | None,
    seed: int | None,
) -> dict[str, Any]:
    """Train on texts, or on pairs in JSON lines, and show a text for some positions of the dial.

    chosen: settings by dotted name. Returns the folder, the agent and these texts.
    """
    from rich.text import Text

    from seqel.cli.functions import named_function
    from seqel.language.episodes import reward_of
    from seqel.language.generation import generate
    from seqel.language.reading import read_pairs, read_texts
    from seqel.language.training import train_text
    from seqel.runs.api import free_folder

    if given.reward is None:
        raise ConfigError("--text needs --reward module:function, a function from a text to a number")
    reward = named_function(given.reward, "--reward")
    files = given.text
    kinds = {Path(file).suffix == ".jsonl" for file in files}
    if len(kinds) > 1:
        raise ConfigError("--text: expected texts, or pairs in *.jsonl files, got both")
    (pairs,) = kinds
    if given.method == "ilql" and not {given.samples, given.rounds, given.temperature} <= {None}:
        raise ConfigError(
            "--method ilql learns from the given texts alone: leave out --samples and --rounds, and also --temperature"
        )
    texts = read_pairs(files) if pairs else read_texts(files)
    count = sum(len("".join(text)) for text in texts)
    output.note(f"{len(texts):,} {'pairs of prompt and text' if pairs else 'texts'} of {count:,} characters")
    folder = Path(out) if out else free_folder(Path(files[0]).stem)
    options: dict[str, Any] = {
        "prompt": PROMPT if given.prompt_length is None else given.prompt_length, "length": given.text_length,
        "tokens": given.vocabulary, "samples": given.samples, "rounds": given.rounds, "method": given.method, "seed": seed,
        "temperature": given.temperature,
        "partial": given.partial or None,
        "updates": None if updates is None else (updates, updates // 2),
    }  # fmt: skip
    options = {name: value for name, value in options.items() if value is not None}
    agent = train_text(texts, reward, out=folder, settings={"threads": 1, **chosen}, **options)
    first = texts[0]
    start = first[: options["prompt"]] if isinstance(first, str) else first[0]
    shown = []
    for dial in (0.0, 1.0, 4.0):
        written = generate(agent, [start], dial=dial, seed=0)[0][0]
        worth = reward_of(reward, start, written, pairs)
        output.show(f"[dim]dial {dial:g}, reward {worth:.3g}[/]")
        output.show(Text.assemble((start, "cyan"), written))
        shown.append({"dial": dial, "prompt": start, "text": written, "reward": worth})
    output.show("", f"the agent: {folder}", f'next: seqel generate {folder} --prompt "..." --dial 2')
    return {"folder": str(folder), "agent": str(folder / "values"), "texts": shown}
