"""`seqel chat RUN`: talk to an agent of customer service."""

from __future__ import annotations

import json
import math
import os
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from seqel.cli.arguments import ENV_HELP, EnvArguments, Json, Trust
from seqel.cli.run_environment import run_environment
from seqel.errors import ConfigError

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.cli.output import Output
    from seqel.deployment.turns import Answer, Turns
    from seqel.safety.abstention import Abstention

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Talk to an agent of customer service, and see what it believes and which other actions it considered."

EXAMPLES = """
Type what a customer would say; an empty line ends the conversation. With --log, you are then asked for its outcome, and the
conversation is appended to the file in the form that `seqel data dialogues` reads. --replies is a TOML file with the text of
each action:

  greet = "Hello! How can I help?"
  "answer: card lost" = "I have blocked your card."

An agent with a classifier in front (seqel/CustomerShortlist-v0) also shows what it believes the customer wants. Its actions
are "answer: INTENT", "ask", "did you mean" and "hand over"; an answer ends the conversation. After "did you mean A or B?",
type 1, 2, neither, or another sentence.

examples:
  seqel chat runs/support
  seqel chat runs/service --env seqel/CustomerShortlist-v0 --env-arg utterances=said.csv --env-arg model=MODEL
  seqel chat runs/support --hand-over abstain               after: seqel calibrate runs/support --error 0.05 --data FILE
  seqel chat runs/support --replies replies.toml --hand-over escalate --log today.jsonl
  printf 'I lost my card\\n' | seqel chat runs/support --json
"""

BEST = 3  # actions that are shown
ABSTAIN = "abstain"  # of --hand-over: not an action


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel chat`."""

    run: Annotated[
        Positional[Path],
        arg(
            metavar="RUN",
            help="the folder of a run on a table of dialogues or on seqel/CustomerShortlist-v0, or of its agent",
        ),
    ]
    replies: Annotated[Path | None, arg(metavar="TOML", help="the text of each action", help_behavior_hint="")] = None
    hand_over: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="ACTION",
            help="an action that hands over to a person, with a summary; abstain: also when a calibrated agent abstains",
            help_behavior_hint="(repeatable)",
        ),
    ] = ()
    log: Annotated[
        Path | None,
        arg(metavar="FILE", help="append the conversation to this file (JSON lines)", help_behavior_hint=""),
    ] = None
    env: Annotated[str | None, arg(metavar="ENV", help=ENV_HELP, help_behavior_hint="")] = None
    env_arg: EnvArguments = ()
    trust: Trust = False
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Read messages from standard input until an empty line. Returns the conversation, with all answers."""
    from rich.text import Text

    from seqel.agents.agent import Agent
    from seqel.storage import append_line

    conversation = _conversation(arguments, Agent.load(arguments.run), output)
    replies = _replies(arguments.replies, conversation)
    if ABSTAIN in arguments.hand_over and conversation.agent.abstention is None:
        raise ConfigError("--hand-over abstain: expected a calibrated agent: run seqel calibrate first")
    for action in arguments.hand_over:
        if action not in conversation.actions and action != ABSTAIN:
            raise ConfigError(
                f"--hand-over: expected an action of this agent ({_some(conversation)}), {_got(action, conversation)}"
            )
    hand_overs = (*arguments.hand_over, *conversation.hand_overs)
    if sys.stdin.isatty():
        output.note("type what a customer would say; an empty line ends the conversation")
    answers: list[dict[str, Any]] = []
    handed_over = interrupted = False
    try:
        while not (handed_over or conversation.over) and (text := _ask("you> ")):
            answer = conversation.respond(text)
            left_to_others = answer.abstain and ABSTAIN in arguments.hand_over
            if left_to_others:
                conversation.withdraw()  # it was not done
            elif answer.action in replies:
                conversation.add_reply(replies[answer.action])
            _show(answer, conversation, replies, output)
            answers.append(answer.to_json(BEST))
            handed_over = left_to_others or answer.action in hand_overs
    except KeyboardInterrupt:  # the conversation is over, and what was said is not lost
        interrupted = True
    if handed_over:
        output.show("", "[bold]for the person who takes over[/]")
        output.show(Text(conversation.summary()))
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}"
    found = conversation.record(name)
    if arguments.log is not None and conversation.turns:
        if not interrupted:
            question = "how did it end? (a name or a number; empty: not known) "
            found = conversation.record(name, _outcome(_ask(question)))
        append_line(arguments.log, json.dumps(found, ensure_ascii=False))
        output.show(f"added to {arguments.log}")
    return {"conversation": found, "answers": answers, "handed_over": handed_over}


def _conversation(arguments: Arguments, agent: Agent, output: Output) -> Turns:
    """Return a conversation with an agent of a table of dialogues, or of the shortlist that it was trained on."""
    from seqel.deployment.conversation import Conversation

    if agent.info.get("encoding"):
        return Conversation(agent)
    if not (arguments.env or agent.info.get("env")):
        raise ConfigError(
            "chat: expected an agent of a table of dialogues, or for an agent with a classifier in front its environment: "
            f"--env seqel/CustomerShortlist-v0 --env-arg utterances=FILE --env-arg model=MODEL; got {agent!r:.200}"
        )
    from seqel.deployment.service_conversation import ServiceConversation

    _, make = run_environment(arguments.run, agent.info, arguments, output, "chat")
    return ServiceConversation(agent, make())


def _replies(path: Path | None, conversation: Turns) -> dict[str, str]:
    if path is None:
        return {}
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"--replies: expected a TOML file, but {path}: {error}") from error
    for action, words in found.items():
        if action not in conversation.actions:
            raise ConfigError(
                f"{path}: expected actions of this agent ({_some(conversation)}), {_got(action, conversation)}"
            )
        if not isinstance(words, str):
            raise ConfigError(f"{path}: {action}: expected a text, got {words!r:.80}")
    return found


def _some(conversation: Turns) -> str:
    names = conversation.actions
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _got(action: str, conversation: Turns) -> str:
    from seqel.datasets.schema import nearest

    return f"got {action!r}{nearest(action, conversation.actions)}"


def _ask(question: str) -> str:
    """Ask on standard error and return the line that was typed, without spaces around it; "" at the end of the input."""
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not sys.stdin.isatty():
        print(file=sys.stderr)
    # bytes that are no UTF-8 are read as lone surrogates in some locales, which no file can hold
    return line.encode("utf-8", "replace").decode().strip()


def _show(answer: Answer, conversation: Turns, replies: dict[str, str], output: Output) -> None:
    from rich.table import Table
    from rich.text import Text

    last = conversation.turns[-1]  # the customer's, if the agent's turn was withdrawn
    reply = replies.get(answer.action) or (last.get("text", "") if last["role"] == "agent" else "")
    words = f"[{answer.action}] {reply}".rstrip()
    if answer.abstain:
        words = f"abstains; it would have said {words}"
    output.show(Text.assemble(("agent> ", "bold"), words))
    if answer.beliefs:
        output.show(Text(f"      believes: {', '.join(f'{name} {chance:.0%}' for name, chance in answer.beliefs)}"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, score in answer.ranking[:BEST]:
        table.add_row(
            "      ",
            Text(name),
            f"{answer.scores} {score:.1%}" if answer.scores == "probability" else f"{answer.scores} {score:.3g}",
        )
    output.show(table)
    limits = conversation.agent.abstention
    if answer.uncertainty is not None and limits is not None:
        output.show(Text(f"      {_certainty(answer.uncertainty, limits)}", "dim"))


def _certainty(uncertainty: float, limits: Abstention) -> str:
    if limits.measure == "gap":  # minus the difference between the two best scores
        limit = "" if limits.threshold is None else f"; abstains at {-limits.threshold:.3g} or less"
        return f"ahead of the second by {-uncertainty:.3g}{limit}"
    limit = "" if limits.threshold is None else f"; abstains from {limits.threshold:.3g}"
    return f"uncertainty ({limits.measure}) {uncertainty:.3g}{limit}"


def _outcome(text: str) -> str | float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return text
    return text if number is not None and not math.isfinite(number) else number
