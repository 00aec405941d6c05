"""`seqel check ENV`, a newcomer's first command: what Seqel understands of an environment, and what to expect."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from seqel.cli.arguments import EnvArguments, Json, RequiredEnv, values

if TYPE_CHECKING:
    from seqel.cli.output import Output
    from seqel.environments.probe import Probe
    from seqel.training.config import RunConfig
    from seqel.training.session import Session

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = (
    "What Seqel understands of an environment: spaces, tokens, episodes, rewards, and the time training would take."
)

EXAMPLES = """
Plays a few random episodes, builds the network the default run would use, and times a handful of updates.

examples:
  seqel check CartPole-v1
  seqel check my_file:MyEnv --env-arg size=9
  seqel check MiniGrid-MemoryS7-v0 --json
"""

READ_AS = {
    "vector": "numbers, scaled by their bounds or by statistics of the warm-up",
    "image": "a picture, read by a small convolutional network",
    "grid": "a grid of category codes, an embedding each",
    "categories": "category codes, an embedding each",
    "text": "text, as hashed byte trigrams",
}
UPDATES, CALLS = 3, 20  # timed


@dataclass(frozen=True)
class Arguments:
    """What `seqel check` takes."""

    env: RequiredEnv
    env_arg: EnvArguments = ()
    steps: Annotated[int, arg(metavar="N", help="random steps to play, at most")] = 1_000
    seed: Annotated[int, arg(metavar="S", help="of the random episodes")] = 0
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Probe, build, time.  -> everything that the table says, as JSON."""
    from seqel.environments.probe import probe
    from seqel.environments.resolve import resolve
    from seqel.errors import ConfigError
    from seqel.training.config import preset
    from seqel.training.session import Session

    if arguments.steps < 1:
        raise ConfigError(f"--steps: expected at least 1, got {arguments.steps}")
    make = resolve(arguments.env, **values(arguments.env_arg))
    output.note(f"playing up to {arguments.steps:,} random steps of {arguments.env} ...")
    found = probe(make, seed=arguments.seed, steps=arguments.steps)
    output.note("building the default network and timing it ...")
    session = Session(preset(env=arguments.env), make, found)
    try:
        times = _timed(session)
    finally:
        session.close()
    report = _report(arguments.env, found, session, times)
    _show(report, session.config, output)
    return report


def _timed(session: Session) -> dict[str, float]:
    """Seconds of one acting step of all environments, and of one update, measured here."""
    session.collector.begin()
    session.collect()
    began = time.perf_counter()
    calls = 0
    while calls < CALLS or (session.replay.episodes == 0 and calls < 2_000):
        session.collect()
        calls += 1
    found = {"collect": (time.perf_counter() - began) / calls}
    if session.replay.episodes:
        session.update()
        began, learned = time.perf_counter(), session.learned
        for _ in range(UPDATES):
            session.update()
        found["update"] = (time.perf_counter() - began) / UPDATES
        found["transitions"] = (session.learned - learned) / UPDATES
    return found


def _report(name: str, found: Probe, session: Session, times: dict[str, float]) -> dict[str, Any]:
    config = session.config
    seconds = config.steps / config.environments * times["collect"]
    if "update" in times:
        seconds += config.steps * config.replay.replay_ratio / times["transitions"] * times["update"]
    return {
        "env": name,
        "observation": [
            {"path": leaf.path, "kind": leaf.kind, "shape": leaf.shape, "dtype": leaf.dtype}
            for leaf in found.observation.leaves
        ],
        "actions": found.action.actions,
        "action_mask": found.masked,
        "reports_success": found.reports_success,
        "episode_limit": found.episode_limit,
        "random_episodes": {"lengths": found.lengths, "returns": found.returns},
        "reward_range": found.reward_range,
        "context": config.network.context,
        "window": config.replay.window,
        "discount": config.objective.discount,
        "parameters": sum(p.numel() for p in session.agent.network.parameters()),
        "environment_steps_per_second": found.steps_per_second,
        "acting_steps_per_second": config.environments / times["collect"],
        "update_ms": 1e3 * times["update"] if "update" in times else None,
        "default_run": {"steps": config.steps, "seconds": seconds},
        "warnings": found.warnings,
    }


def _show(report: dict[str, Any], config: RunConfig, output: Output) -> None:
    from rich.table import Table

    from seqel.training.progress import clock

    table = Table(
        box=None, show_header=False, padding=(0, 2, 0, 0), title=report["env"], title_justify="left", title_style="bold"
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for leaf in report["observation"]:
        shape = "x".join(map(str, leaf["shape"]))
        table.add_row(
            "observes", f"[cyan]{leaf['path']}[/] {leaf['kind']} {shape} {leaf['dtype']}: {READ_AS[leaf['kind']]}"
        )
    table.add_row("token", "one a step: the observation, the previous action and reward, a first-step flag, a clock")
    mask = ", masked by info\\['action_mask']" if report["action_mask"] else ""
    table.add_row("actions", f"{report['actions']}{mask}")
    table.add_row("episodes", _episodes(report))
    low, high = report["reward_range"]
    table.add_row("rewards", f"{low:g} to {high:g} a step in random play")
    if report["random_episodes"]["returns"]:
        returns = report["random_episodes"]["returns"]
        table.add_row("random return", f"{sum(returns) / len(returns):.3f} (what learning has to beat)")
    success = "reported as info\\['is_success']" if report["reports_success"] else "not reported: returns only"
    table.add_row("success", success)
    table.add_row(
        "context",
        f"{report['context']} steps of attention a layer; training windows of {report['window']}; "
        f"discount {report['discount']:g}",
    )
    table.add_row(
        "network",
        f"{config.network.trunk}, {config.network.layers} layers of width {config.network.width}, "
        f"{report['parameters']:,} parameters",
    )
    update = "not measured: no episode ended" if report["update_ms"] is None else f"{report['update_ms']:.0f} ms"
    table.add_row(
        "speed here",
        f"environment {report['environment_steps_per_second']:,.0f} steps/s; with the agent acting "
        f"{report['acting_steps_per_second']:,.0f}; an update {update}",
    )
    run = report["default_run"]
    table.add_row(
        "time to expect",
        f"about {clock(run['seconds'])} for {run['steps']:,} steps, the default; --stop-at ends a run that is good enough",
    )
    output.show(table)
    for warning in report["warnings"]:
        output.show(f"[yellow]note[/] {warning}")
    output.show(
        "",
        f"next: [cyan]seqel train {report['env']}[/]            rewards that come late: the default preset",
        f"      [cyan]seqel train {report['env']} --preset immediate[/]   every action is answered at once",
        f"      [cyan]seqel train {report['env']} --compare[/]  find out whether memory pays",
    )


def _episodes(report: dict[str, Any]) -> str:
    lengths = report["random_episodes"]["lengths"]
    limit = f"; limit {report['episode_limit']:,}" if report["episode_limit"] else "; no declared limit"
    if not lengths:
        return f"none ended in random play{limit}"
    shortest, longest = min(lengths), max(lengths)
    span = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    return f"{span} steps in random play ({len(lengths)} episodes){limit}"
