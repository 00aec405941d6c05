"""`seqel generate`: writes text with an agent that was trained on texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from seqel.cli.arguments import Json

if TYPE_CHECKING:
    from seqel.cli.output import Output

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = (
    "Writes text with an agent that was trained on texts, turned from its base policy towards reward by one number."
)

EXAMPLES = """
--dial 0 writes as the texts of the training do; larger numbers turn towards reward. Large ones follow the values alone, which
is more than they know: read the texts.

examples:
  seqel generate runs/verses/values --prompt "ROMEO:" --dial 2
  seqel generate runs/verses/values --prompt "ROMEO:" --prompt "JULIET:" --n 8 --json
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel generate`."""

    run: Annotated[Positional[Path], arg(metavar="RUN", help="the folder of an agent or of its run")]
    prompt: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="TEXT", help="what the text begins with (repeatable; default: nothing)", help_behavior_hint=""),
    ] = ()
    dial: Annotated[float, arg(metavar="X", help="how far to turn towards reward, in 1 / return scales")] = 1.0
    n: Annotated[int, arg(metavar="N", help="continuations per prompt")] = 1
    length: Annotated[
        int | None, arg(metavar="N", help="most tokens of each (default: as in training)", help_behavior_hint="")
    ] = None
    temperature: Annotated[float, arg(metavar="T", help="0: the most probable token at each step")] = 1.0
    top_k: Annotated[int, arg(metavar="K", help="draw among the K most probable tokens; 0: among all")] = 0
    seed: Annotated[
        int | None, arg(metavar="S", help="seed of the draws (default: different each time)", help_behavior_hint="")
    ] = None
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Show the texts. Returns {"dial": ..., "texts": [{"prompt": ..., "text": ...}, ...]}."""
    from rich.text import Text

    from seqel.language.generation import generate

    prompts = arguments.prompt or ("",)
    found = generate(
        arguments.run, prompts, dial=arguments.dial, n=arguments.n, length=arguments.length,
        temperature=arguments.temperature, top_k=arguments.top_k, seed=arguments.seed,
    )  # fmt: skip
    for number, (prompt, texts) in enumerate(zip(prompts, found, strict=True)):
        for place, text in enumerate(texts):
            if number or place:
                output.show("[dim]---[/]")
            output.show(Text.assemble((prompt, "cyan"), text))
    pairs = [{"prompt": prompt, "text": text} for prompt, texts in zip(prompts, found, strict=True) for text in texts]
    return {"dial": arguments.dial, "texts": pairs}
