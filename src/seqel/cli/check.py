"""`seqel check ENV`, the first command to run: how Seqel sees an environment, and what to expect of training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import UseAppendAction, arg

from seqel.cli.arguments import EnvArguments, Json, RequiredEnv, settings, values

if TYPE_CHECKING:
    from seqel.cli.output import Output
    from seqel.environments.probe import Probe
    from seqel.spaces import Leaf
    from seqel.training.config import RunConfig
    from seqel.training.online.trainer import OnlineTrainer
    from seqel.types import Episode

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Show how Seqel reads an environment: spaces, tokens, episodes, rewards, and the expected time of training."

EXAMPLES = """
Plays a few random episodes, builds the network of a run with the default settings (and --set), and times a few updates.

examples:
  seqel check CartPole-v1
  seqel check my_file:MyEnv --env-arg size=9
  seqel check my_file:MyEnv --set observation.screen=pixels --set network.width=128
  seqel check MiniGrid-MemoryS7-v0 --json
"""

SETS = 1.5  # of episodes per validation, second ones included, on average (docs/experiments.md)
UPDATES, CALLS = 3, 20  # timed updates, and timed acting steps
SMALL = 10_000  # slots of the replay, if the default ones do not fit
PATIENCE = 5.0  # seconds for each of the two, at most; one call is timed even if it takes longer


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel check`."""

    env: RequiredEnv
    env_arg: EnvArguments = ()
    set: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME=VALUE", help="any setting of the run to check", help_behavior_hint="(repeatable)"),
    ] = ()
    steps: Annotated[int, arg(metavar="N", help="maximum number of random steps to play")] = 1_000
    seed: Annotated[int, arg(metavar="S", help="seed of the random episodes")] = 0
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Probe the environment, build the network, time it. Returns what the table shows, as JSON."""
    from seqel.environments.probe import probe
    from seqel.environments.resolve import resolve
    from seqel.errors import ConfigError
    from seqel.training.config import preset, with_settings
    from seqel.training.hardware.memory import missing_memory
    from seqel.training.hardware.processor import busy, describe_processor
    from seqel.training.hardware.threads import choose_threads
    from seqel.training.online.trainer import OnlineTrainer
    from seqel.training.resolve import for_environment, slow_precision

    if arguments.steps < 1:
        raise ConfigError(f"--steps: expected at least 1, got {arguments.steps}")
    config = with_settings(preset(env=arguments.env), settings(arguments.set))
    make = resolve(arguments.env, **values(arguments.env_arg))
    warning = busy(config.threads or choose_threads(config.network.width))
    output.note(f"playing up to {arguments.steps:,} random steps of {arguments.env} ...")
    found = probe(make, seed=arguments.seed, steps=arguments.steps, read_as=config.observation)
    output.note("building the network and timing it ...")
    problem = missing_memory(for_environment(config, found), found.observation, found.action, masked=found.masked)
    if problem is not None:  # a run would be refused, but timing needs only a few episodes
        config = with_settings(config, {"replay.capacity": SMALL})
    trainer = OnlineTrainer(config, make, found)
    try:
        times = _timed(trainer)
    finally:
        trainer.close()
    found = trainer.probe  # which knows how texts are read
    report = _report(arguments.env, found, trainer, times) | {"processor": describe_processor(trainer.device)}
    report["warnings"] += [said for said in (problem, slow_precision(trainer.config), warning) if said is not None]
    _show(report, trainer.config, arguments, output)
    return report


def _timed(trainer: OnlineTrainer) -> dict[str, float]:
    """Return the seconds of one acting step of all environments, and of one update, measured here."""
    trainer.collector.begin()
    trainer.collect()
    began, calls = time.perf_counter(), 0
    while calls < CALLS and (calls == 0 or time.perf_counter() - began < PATIENCE):
        trainer.collect()
        calls += 1
    collect = (time.perf_counter() - began) / calls
    trainer.replay.add(_blank(trainer))  # few episodes have ended by now, and the update should have its usual size
    trainer.update()
    began, learned, updates = time.perf_counter(), trainer.num_learned, 0
    while updates < UPDATES and (updates == 0 or time.perf_counter() - began < PATIENCE):
        trainer.update()
        updates += 1
    seconds = time.perf_counter() - began
    return {"collect": collect, "update": seconds / updates, "transitions": (trainer.num_learned - learned) / updates}


def _blank(trainer: OnlineTrainer) -> Episode:
    """Return an episode of zeros, as long as a window, only for timing."""
    import numpy as np

    from seqel.types import Episode

    found, steps = trainer.probe, trainer.config.replay.window
    return Episode(
        observation={
            path: np.zeros((steps + 1, *shape), dtype) for path, (shape, dtype) in found.observation.storage.items()
        },
        action=np.zeros((steps, found.action.dims), np.int64),
        reward=np.zeros(steps, np.float32),
        truncated=True,
        action_mask=np.repeat(found.action.unmasked[None], steps + 1, axis=0) if found.masked else None,
    )


def _report(name: str, found: Probe, trainer: OnlineTrainer, times: dict[str, float]) -> dict[str, Any]:
    from seqel.environments.envpool import has_pool
    from seqel.environments.resolve import registered
    from seqel.evaluation.statistics import bootstrap_interval

    config = trainer.config
    validations, longest = validation_steps(config, found, trainer.greedy.limit)
    validation = SETS * validations * longest / min(config.validation.episodes, config.environments) * times["collect"]
    learning = learning_seconds(config, times)
    seconds = learning + validation
    returns = found.returns
    return {
        "env": name,
        "observation": [
            {"path": leaf.path, "kind": leaf.kind, "shape": leaf.shape, "dtype": leaf.dtype, "reads": _reads(leaf)}
            for leaf in found.observation.leaves
        ],
        "pretrained": _pretrained(trainer),
        "actions": found.action.actions if found.action.dims == 1 else list(found.action.sizes),
        "action_mask": found.masked,
        "mask_in_observation": found.mask_in_observation,
        "reports_success": found.reports_success,
        "episode_limit": found.episode_limit,
        "random_episodes": {
            "lengths": found.lengths,
            "returns": returns,
            "mean": sum(returns) / len(returns) if returns else None,
            "interval": bootstrap_interval(returns) if len(returns) > 1 else None,
        },
        "reward_range": found.reward_range,
        "rewarded_steps": found.rewarded,
        "context": config.network.context,
        "window": config.replay.window,
        "discount": config.objective.discount,
        "parameters": sum(p.numel() for p in trainer.agent.network.parameters()),
        "vectorization": config.vectorization,
        "envpool": has_pool(registered(trainer.make)[0]),
        "environment_steps_per_second": found.steps_per_second,
        "acting_steps_per_second": config.environments / times["collect"],
        "update_ms": 1e3 * times["update"],
        "run": {
            "steps": config.steps,
            "replay_ratio": config.replay.replay_ratio,
            "seconds": seconds,
            "validation_seconds": validation,
            "replay_bytes": trainer.replay.nbytes,
        },
        "warnings": [*found.all_warnings, *_heavy(trainer.replay.nbytes), *_long(validation, learning, longest)],
    }


def _reads(leaf: Leaf) -> str:
    """Return how a leaf is read, in words."""
    from seqel.spaces.kinds.registry import KINDS
    from seqel.spaces.text_readers import reader_of

    return reader_of(leaf).reads if leaf.kind == "text" else KINDS[leaf.kind].reads


def _pretrained(trainer: OnlineTrainer) -> list[dict[str, Any]]:
    """Return name and numbers of weights of each pretrained model that is trained."""
    from seqel.pretrained.adapted import Adapted

    parts = [part for part in trainer.agent.network.modules() if isinstance(part, Adapted)]
    return [
        {"model": part.shared.base.name, "trained": trained, "weights": every}
        for part in parts
        for trained, every in [part.sizes()]
    ]


def learning_seconds(config: RunConfig, times: dict[str, float]) -> float:
    """Return the seconds of acting and updating in the whole run, without validation.

    `config`: resolved. `times`: "collect", seconds of one acting step of all environments; "update", seconds of one update;
    "transitions" that it trains on.
    """
    updates = config.steps * config.replay.replay_ratio / max(1.0, times["transitions"])
    return config.steps / config.environments * times["collect"] + updates * times["update"]


def validation_steps(config: RunConfig, probed: Probe, patience: int) -> tuple[int, int]:
    """Return (number of validation episodes in the whole run, maximum steps of each).

    The maximum is the longest known episode; if none has ended yet and no limit is declared, it is the number of steps
    after which validation cuts an episode off.
    """
    validations = -(-config.steps // config.validation.every)
    longest = probed.episode_limit or (max(probed.lengths) if probed.lengths else patience)
    return validations * config.validation.episodes, min(longest, patience)


def _long(validation: float, learning: float, longest: int) -> list[str]:
    """Return a warning if validation takes longer than training."""
    if validation <= learning:
        return []
    text = (
        f"validation may take {validation:.0f} s, longer than training ({learning:.0f} s), if its episodes last {longest:,} "
        "steps: a shorter time limit, fewer validation.episodes, or a larger validation.every shortens it"
    )
    return [text]


def _heavy(size: int) -> list[str]:
    """Return a warning if the full replay takes a large part of this machine's memory."""
    from seqel.training.hardware.memory import memory_present

    memory = memory_present()
    if memory is None or size < memory / 2:
        return []
    sizes = f"{size / 1e9:.1f} GB once it is full, of {memory / 1e9:.1f} GB of memory"
    return [f"the replay takes {sizes}: reduce replay.capacity (--set replay.capacity=...)"]


def _show(report: dict[str, Any], config: RunConfig, arguments: Arguments, output: Output) -> None:
    from rich.markup import escape
    from rich.table import Table

    from seqel.terminal import duration

    table = Table(
        box=None, show_header=False, padding=(0, 2, 0, 0), title=report["env"], title_justify="left", title_style="bold"
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for leaf in report["observation"]:
        shape = "x".join(map(str, leaf["shape"]))
        table.add_row("observes", f"[cyan]{leaf['path']}[/] {leaf['kind']} {shape} {leaf['dtype']}: {leaf['reads']}")
    for part in report["pretrained"]:
        share = part["trained"] / part["weights"]
        table.add_row(
            "trains", f"{part['trained']:,} of the {part['weights']:,} weights of {part['model']} ({share:.1%})"
        )
    table.add_row("token", "one per step: the observation, the previous action and reward, a first-step flag, a clock")
    source = "observation" if report["mask_in_observation"] else "info"
    mask = f", masked by {source}\\['action_mask']" if report["action_mask"] else ""
    actions = report["actions"]
    several = f"{len(actions)} at once, of {', '.join(map(str, actions))}" if isinstance(actions, list) else actions
    table.add_row("actions", f"{several}{mask}")
    table.add_row("episodes", _episodes(report))
    low, high = report["reward_range"]
    share = f"{report['rewarded_steps']:.0%} of the steps had a reward other than 0"
    table.add_row("rewards", f"{low:g} to {high:g} per step in random play; {share}")
    random = report["random_episodes"]
    if random["mean"] is not None:
        within = "" if random["interval"] is None else ", 95 % {:.3f} to {:.3f}".format(*random["interval"])
        table.add_row("random return", f"{random['mean']:.3f}{within}: training has to beat it")
    success = "reported as info\\['is_success']" if report["reports_success"] else "not reported: returns only"
    table.add_row("success", success)
    table.add_row(
        "context",
        f"{report['context']} steps of attention per layer; training windows of {report['window']}; "
        f"discount {report['discount']:g}",
    )
    table.add_row(
        "network",
        f"{config.network.trunk}, {config.network.layers} layers of width {config.network.width}, "
        f"{report['parameters']:,} parameters",
    )
    table.add_row(
        "speed here",
        f"environment {report['environment_steps_per_second']:,.0f} steps/s; with the agent acting "
        f"{report['acting_steps_per_second']:,.0f}; an update {report['update_ms']:.0f} ms",
    )
    table.add_row("processor", report["processor"]["says"])
    where = "one process" if report["vectorization"] == "sync" else "one process each"
    faster = "; envpool knows this id: --set vectorization=envpool" if report["envpool"] else ""
    table.add_row("parallel", f"{config.environments} environments in {where}{faster}")
    run = report["run"]
    default = ", the default" if run["steps"] == type(config)().steps else ""
    table.add_row(
        "expected time",
        f"about {duration(run['seconds'])} for {run['steps']:,} steps{default}; at most "
        f"{duration(run['validation_seconds'])} of it for validation; --stop-at ends a run early",
    )
    output.show(table)
    for warning in report["warnings"]:
        output.show(f"[yellow]note[/] {escape(warning)}")
    parts = ["seqel train", report["env"], *(f"--env-arg {text}" for text in arguments.env_arg)]
    parts += [f"--set {text}" for text in arguments.set]
    output.show("", f"next: [cyan]{escape(' '.join(parts))}[/]", "      (--compare shows whether memory helps)")


def _episodes(report: dict[str, Any]) -> str:
    lengths = report["random_episodes"]["lengths"]
    limit = f"; limit {report['episode_limit']:,}" if report["episode_limit"] else "; no declared limit"
    if not lengths:
        return f"no episode ended in random play{limit}"
    shortest, longest = min(lengths), max(lengths)
    span = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    return f"{span} steps in random play ({len(lengths)} episodes){limit}"
