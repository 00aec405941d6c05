"""`seqel export RUN`: one ONNX file that acts without torch, compared with the agent before it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from seqel.cli.arguments import ENV_HELP, EnvArguments, Json, Trust
from seqel.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.cli.output import Output
    from seqel.deployment.parity import Parity

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Export an agent to one ONNX file, which acts without torch, and compare the file with the agent."

EXAMPLES = """
The file contains the acting step, spaces, vocabularies and context, the versions of the libraries that wrote it, and a
checksum. `seqel.deployment.ExportedAgent` acts from it like the agent, and `seqel serve FILE.onnx` serves it.

The agent and the file play the same episodes, and the file is kept only if their scores are equal up to rounding. They play
the run's environment; an agent that was trained on recorded data, or whose environment is not known here, is compared on
random observations.

examples:
  seqel export runs/mine                          writes runs/mine/agent.onnx
  seqel export runs/mine --out maze.onnx --episodes 20
  seqel export downloaded/agent --env CartPole-v1
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel export`."""

    run: Annotated[
        Positional[str], arg(metavar="RUN", help="the folder of a run, or of an agent", help_behavior_hint="")
    ]
    out: Annotated[
        Path | None, arg(metavar="FILE", help="the file to write (default: RUN/agent.onnx)", help_behavior_hint="")
    ] = None
    episodes: Annotated[int, arg(metavar="N", help="episodes that the agent and the file play for comparison")] = 5
    seed: Annotated[int, arg(metavar="S", help="seed of the first episode")] = 0
    env: Annotated[
        str | None, arg(metavar="ENV", help=f"another environment: {ENV_HELP}", help_behavior_hint="", constructor=str)
    ] = None
    env_arg: EnvArguments = ()
    trust: Trust = False
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Export, compare, keep. Returns the file, its size, and how far it is from the agent."""
    from seqel.agents.agent import Agent
    from seqel.deployment.export import export
    from seqel.deployment.parity import compare_export
    from seqel.deployment.runtime import ExportedAgent

    if arguments.episodes < 1:
        raise ConfigError(f"--episodes: expected at least 1, got {arguments.episodes}")
    folder = Path(arguments.run)
    agent = Agent.load(folder)
    target = arguments.out or folder / "agent.onnx"
    if target.suffix != ".onnx":
        raise ConfigError(f"--out: expected a file that ends in .onnx, got {target}")
    env, episodes = _episodes(agent, folder, arguments, output)
    trial = target.with_name(f".{target.name}.trial")
    try:
        with output.progress.status("exporting ..."):
            export(agent, trial)
        found: Parity = compare_export(agent, ExportedAgent(trial), episodes)
        if not found.equal:
            raise CheckpointError(
                f"{target} was not written: expected the scores of the agent, got a difference of {found.difference:.2g} "
                f"(relative) in {found.steps} steps. Please report it, with the agent"
            )
        trial.replace(target)
    finally:
        trial.unlink(missing_ok=True)
    size = target.stat().st_size
    output.show(
        f"written: {target} ({size / 1024:,.0f} KiB). Equal to the agent in {found.steps:,} steps of {found.episodes} "
        f"{'episodes' if env else 'random histories'}{f' of {env}' if env else ''}: largest difference of a score "
        f"{found.difference:.1e}, same action in {found.agreement:.1%}"
    )
    output.note(f"next: seqel serve {target}")
    return {
        "file": str(target), "bytes": size, "env": env or None, "episodes": found.episodes, "steps": found.steps,
        "difference": found.difference, "agreement": found.agreement,
    }  # fmt: skip


def _episodes(agent: Agent, folder: Path, arguments: Arguments, output: Output) -> tuple[str, Any]:
    """Return the environment's name and episodes of it; or "" and random ones."""
    from seqel.cli.run_environment import run_environment
    from seqel.deployment.parity import random_episodes
    from seqel.errors import EnvironmentFault, TrustError
    from seqel.explanation.trace import record_episode

    if arguments.env is None and not agent.info.get("env"):
        return "", random_episodes(agent, arguments.episodes, arguments.seed)
    try:
        env, make = run_environment(folder, agent.info, arguments, output, "export")
    except (EnvironmentFault, TrustError, ConfigError) as error:
        if arguments.env is not None:
            raise
        output.note(f"note: {error}. Compared on random observations instead")
        return "", random_episodes(agent, arguments.episodes, arguments.seed)
    return env, [record_episode(agent, make, arguments.seed + number) for number in range(arguments.episodes)]
