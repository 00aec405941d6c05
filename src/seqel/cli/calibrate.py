"""`seqel calibrate RUN`: choose when an agent abstains, so that its mean error per session stays below a bound."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from seqel.cli.arguments import ENV_HELP, EnvArguments, Json, OwnSchema, Trust
from seqel.errors import ConfigError

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.cli.output import Output
    from seqel.safety.conformal import SessionDecisions

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = (
    "Choose when an agent abstains, so that its mean error per session stays below a bound (conformal risk control)."
)

EXAMPLES = """
The threshold is saved with the agent: `seqel chat`, `seqel serve`, `seqel evaluate` and Agent.act then say when it abstains.
The bound holds on average for sessions like the calibration sessions, so use sessions that the agent was not trained on. At
least 1 / error - 1 sessions are needed. The loss of a session is

  --loss share    the share of its steps at which the agent decides, and differs from the record (the default with --data)
  --loss any      1 if there is at least one such step
  --loss return   1 if its return is below --level and the agent never abstained (with --episodes)

examples:
  seqel calibrate runs/support --error 0.05 --data chats.jsonl --held-out
  seqel calibrate runs/maze --error 0.05 --episodes 500 --level 1.0
  seqel evaluate runs/maze --seed 1000          reports the realised error and coverage on other episodes
  seqel calibrate runs/maze --remove
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel calibrate`."""

    run: Annotated[
        Path, Positional, arg(metavar="RUN", help="the folder of a run, or of an agent", help_behavior_hint="")
    ]
    error: Annotated[float, arg(metavar="E", help="bound on the mean loss of a session, between 0 and 1")] = 0.05
    data: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="FILE", help="recorded sessions to calibrate on", help_behavior_hint="(repeatable)"),
    ] = ()
    schema: OwnSchema = None
    held_out: Annotated[bool, arg(help="with --data: only sessions that the agent was not trained on")] = False
    episodes: Annotated[
        int | None, arg(metavar="N", help="episodes to play instead of --data", help_behavior_hint="", constructor=int)
    ] = None
    seed: Annotated[int, arg(metavar="S", help="seed of the first episode")] = 500_000_000
    loss: Annotated[
        Literal["share", "any", "return"] | None,
        arg(
            metavar="L",
            help="the loss of a session: share, any or return (see below)",
            help_behavior_hint="",
            constructor=str,
        ),
    ] = None
    level: Annotated[
        float | None,
        arg(
            metavar="R",
            help="with --loss return: a lower return has a loss of 1",
            help_behavior_hint="",
            constructor=float,
        ),
    ] = None
    measure: Annotated[
        Literal["auto", "gap", "entropy", "overlap"],
        arg(help="how uncertainty is measured; overlap works neither in exports nor in services"),
    ] = "auto"
    env: Annotated[
        str | None,
        arg(metavar="ENV", help=f"another environment: {ENV_HELP}", help_behavior_hint="", constructor=str),
    ] = None
    env_arg: EnvArguments = ()
    trust: Trust = False
    remove: Annotated[bool, arg(help="remove the threshold: the agent never abstains")] = False
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Calibrate and save. Returns the threshold with what is known about it."""
    from seqel.agents.agent import Agent

    if arguments.run.suffix == ".onnx":
        raise ConfigError("expected the folder of a run or of an agent: calibrate the agent, then export it")
    agent = Agent.load(arguments.run)
    inner = arguments.run / "agent"
    place = inner if not (arguments.run / "config.json").exists() and inner.is_dir() else arguments.run
    if arguments.remove:
        agent.set_abstention(None)
        agent.save(place)
        output.show("removed: the agent does not abstain any more")
        return {"threshold": None}
    if bool(arguments.data) == (arguments.episodes is not None):
        raise ConfigError("expected either --data FILE or --episodes N")
    loss = arguments.loss or ("share" if arguments.data else "return")
    if (loss == "return") != (arguments.level is not None):
        raise ConfigError("expected --level together with --loss return: the return below which a session is an error")

    from seqel.evaluation.abstaining import calibrate_agent

    found = calibrate_agent(
        agent, lambda: _sessions(agent, arguments, output), arguments.error, loss=loss, level=arguments.level,
        measure=arguments.measure,
    )  # fmt: skip
    agent.save(place)
    when = (
        "never abstains"
        if found.threshold is None
        else f"abstains where its {found.measure} is at least {found.threshold:.6g}"
    )
    output.show(
        f"the agent {when}: it decides {found.coverage:.1%} of the steps of these {found.sessions:,} sessions, with a mean "
        f"loss per session of {found.risk:.4f}. Expected for further sessions like these: at most {found.error:g}"
    )
    if arguments.data and not arguments.held_out:
        from seqel.cli.estimate import trained_on

        if trained_on(agent, arguments.data):
            output.note(
                "note: the agent was trained on these sessions and errs less there than on others: the bound may not hold; "
                "give other sessions, or --held-out"
            )
    output.note(f"saved in {place}")
    return asdict(found)


def _sessions(agent: Agent, arguments: Arguments, output: Output) -> SessionDecisions:
    from seqel.evaluation.abstaining import played_sessions, recorded_sessions

    if arguments.data:
        from seqel.cli.estimate import recorded_sessions as open_sessions

        source, _ = open_sessions(agent, arguments.data, arguments.schema, arguments.held_out)
        with output.progress.status("reading the sessions ..."):
            return recorded_sessions(agent, source.buffer)
    from seqel.cli.run_environment import run_environment

    assert arguments.episodes is not None
    _, make = run_environment(arguments.run, agent.info, arguments, output, "calibrate")
    with output.progress.status("playing ..."):
        return played_sessions(agent, make, arguments.episodes, arguments.seed)
