"""`seqel generate`: writes text with an agent that was trained on texts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from seqel.cli.arguments import Json

if TYPE_CHECKING:
    from seqel.cli.output import Output

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Write text with an agent that was trained on texts; --dial says how strongly reward counts."

EXAMPLES = """
With --reward, one text per prompt is written with each of several dials, and compared with best-of-8 sampling from the base
policy. --n repeats each prompt.

--dial 0 writes as the base policy does; larger numbers move towards reward. With very large ones, the agent follows the
values where they are least reliable: read what it writes.

examples:
  seqel generate runs/verses --prompt "ROMEO:" --dial 2
  seqel generate runs/verses --prompt "ROMEO:" --prompt "JULIET:" --n 8 --json
  seqel generate runs/verses --prompt "ROMEO:" --block phrases.txt --harmful my_file:is_harmful
  seqel generate runs/verses --prompt "ROMEO:" --n 100 --reward my_file:rhymes --plot dial.png
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel generate`."""

    run: Annotated[Positional[Path], arg(metavar="RUN", help="the folder of a training on texts, or of an agent")]
    prompt: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="TEXT", help="the beginning of the text (repeatable; default: empty)", help_behavior_hint=""),
    ] = ()
    dial: Annotated[float, arg(metavar="X", help="how strongly reward counts, in 1 / return scales")] = 1.0
    n: Annotated[int, arg(metavar="N", help="continuations per prompt")] = 1
    length: Annotated[
        int | None, arg(metavar="N", help="maximum tokens of each (default: as in training)", help_behavior_hint="")
    ] = None
    temperature: Annotated[float, arg(metavar="T", help="of sampling; 0: the most probable token at each step")] = 1.0
    top_k: Annotated[int, arg(metavar="K", help="sample among the K most probable tokens; 0: among all")] = 0
    seed: Annotated[
        int | None, arg(metavar="S", help="seed of the sampling (default: different each time)", help_behavior_hint="")
    ] = None
    reward: Annotated[
        str | None,
        arg(
            metavar="M:F",
            help="measure the reward of this function, for several dials",
            help_behavior_hint="",
            constructor=str,
        ),
    ] = None
    block: Annotated[
        Path | None,
        arg(metavar="FILE", help="phrases that are never written, one per line", help_behavior_hint=""),
    ] = None
    harmful: Annotated[
        str | None,
        arg(
            metavar="M:F",
            help="withhold texts that this function calls harmful, after 8 tries",
            help_behavior_hint="",
            constructor=str,
        ),
    ] = None
    plot: Annotated[
        Path | None, arg(metavar="PNG", help="with --reward: draw reward against divergence", help_behavior_hint="")
    ] = None
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Show the texts, or with --reward what the dial buys. Returns {"dial": ..., "texts": [...],
    "notes": [...]}, or {"points": [...]}."""
    from rich.text import Text

    from seqel.errors import ConfigError

    if arguments.reward is not None:
        return _measure(arguments, output)
    if arguments.plot is not None:
        raise ConfigError("--plot needs --reward module:function")

    from seqel.cli.functions import named_function
    from seqel.language.blocking import read_phrases
    from seqel.language.generation import generate

    prompts = arguments.prompt or ("",)
    harmful = None if arguments.harmful is None else named_function(arguments.harmful, "--harmful")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = generate(
            arguments.run, prompts, dial=arguments.dial, n=arguments.n, length=arguments.length,
            temperature=arguments.temperature, top_k=arguments.top_k, seed=arguments.seed,
            blocked=None if arguments.block is None else read_phrases(arguments.block), harmful=harmful,
        )  # fmt: skip
    for one in said:
        output.show(f"[yellow]note[/] {one.message}")
    for number, (prompt, texts) in enumerate(zip(prompts, found, strict=True)):
        for place, text in enumerate(texts):
            if number or place:
                output.show("[dim]---[/]")
            output.show(Text.assemble((prompt, "cyan"), text))
    pairs = [{"prompt": prompt, "text": text} for prompt, texts in zip(prompts, found, strict=True) for text in texts]
    return {"dial": arguments.dial, "texts": pairs, "notes": [str(one.message) for one in said]}


def _measure(arguments: Arguments, output: Output) -> dict[str, Any]:
    from rich.table import Table

    from seqel.cli.functions import named_function
    from seqel.language.frontier import draw_frontier, frontier
    from seqel.language.generation import load_writer

    reward = named_function(arguments.reward or "", "--reward")
    prompts = [prompt for prompt in arguments.prompt or ("",) for _ in range(arguments.n)]
    points = frontier(load_writer(arguments.run), prompts, reward, length=arguments.length, seed=arguments.seed or 0)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "texts written", "reward", "95 %", "KL, nats", "perplexity", "distinct pairs", "repetition"):
        table.add_column(name, justify="left" if not name else "right")
    for point in points:
        low, high = point.interval
        table.add_row(
            point.name, str(point.texts), f"{point.reward:.3g}", f"{low:.3g} to {high:.3g}", f"{point.kl:.2f}",
            f"{point.perplexity:.2f}", f"{point.distinct:.3f}", f"{point.repetition:.3f}",
        )  # fmt: skip
    output.show(table)
    if arguments.plot is not None:
        draw_frontier(points, arguments.plot)
        output.show("", f"drawn: {arguments.plot}")
    return {"points": [point.to_json() for point in points]}
