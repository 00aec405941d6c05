"""`seqel demo` (what `make demo` runs): an agent learns to remember, in parallel with a memoryless agent."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from seqel.cli.arguments import Json
from seqel.cli.paired_runs import Child, Pace, Tell, cores, run_together
from seqel.cli.side_by_side import WITH, WITHOUT, SideBySide, as_message

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.cli.output import Output
    from seqel.evaluation.rollout import Evaluation
    from seqel.training.config import RunConfig

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Watch an agent learn a task that needs memory, in parallel with the same agent without memory."

EXAMPLES = """
The task is the passive T-Maze: a cue at the first step shows which arm holds the reward, and after a corridor the agent must
choose. Without memory, more than 50 % success is impossible. Both agents train at the same time, each on one core, with the
same network, learner and exploration. One sees its history; the other sees only the current observation, and trains at least
as long. At the end, each plays 100 fresh episodes, and a strip shows which past step the choice depended on.
The exit code is 1 if the agent has not learned the task within --steps. On a slow machine, it only takes longer.

examples:
  seqel demo
  seqel demo --length 20 --seed 3 --out runs/demo
"""

SETTINGS: dict[str, Any] = {  # changes to the defaults; the small numbers affect the display, not the training
    "log_every": 500,
    "threads": 1,
    "device": "cpu",
    "validation.every": 2_500,
    "validation.threshold": 0.99,
}
TWIN_STEPS = 50_000  # the twin trains at least this long, enough to learn what is possible without memory
TIMED = 4_000  # steps of the agent after which the expected time is shown; most of them are trained on
LAG = 15.0  # seconds that the twin may run beyond the agent's limit
EPISODES = 100
FRESH = 10_000  # the seed of the first fresh episode, as in the documentation

NEXT = """[bold]Next steps[/]
  [cyan]seqel check CartPole-v1[/]             how Seqel reads any Gymnasium id
  [cyan]seqel check my_file:MyEnv[/]           or your own gymnasium.Env, in my_file.py
  [cyan]seqel train my_file:MyEnv --compare[/] train, and see whether memory helps
In Python, three lines:
  [green]import seqel
  agent = seqel.train(lambda: MyEnv(), steps=200_000, out="runs/mine")
  print(seqel.evaluate(agent, lambda: MyEnv()))[/]
More: docs/getting-started.md"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel demo`."""

    length: Annotated[int, arg(metavar="L", help="steps of corridor between the cue and the choice")] = 50
    seed: Annotated[int, arg(metavar="S", help="seed of both runs")] = 0
    steps: Annotated[int, arg(metavar="N", help="maximum number of environment steps of the agent")] = 150_000
    limit: Annotated[
        float | None,
        arg(metavar="SECONDS", help="maximum time of training (none)", help_behavior_hint="", constructor=float),
    ] = None
    out: Annotated[
        str | None,
        arg(metavar="DIR", help="folder for the agents and the plot", help_behavior_hint="", constructor=str),
    ] = None
    json: Json = False


def run(arguments: Arguments, output: Output) -> tuple[dict[str, Any], int]:
    """Train both, evaluate both, explain one choice. Returns (report, 0 if the agent remembers, else 1)."""
    from seqel.errors import ConfigError
    from seqel.training.config import preset, with_settings

    if arguments.limit is not None and not arguments.limit > 0:
        raise ConfigError(f"--limit: expected more than 0 seconds, got {arguments.limit}")
    if arguments.length < 1:
        raise ConfigError(f"--length: expected at least 1 step, got {arguments.length}")
    config = preset(env="seqel/TMaze-v0", env_args={"length": arguments.length}, seed=arguments.seed)
    config = with_settings(config, SETTINGS | {"steps": arguments.steps})
    folder = Path(arguments.out).absolute() if arguments.out else Path(tempfile.mkdtemp(prefix="seqel-demo-"))
    title = f"T-Maze of length {arguments.length}, seed {arguments.seed}: success of greedy episodes (guessing is 50 %)"
    began = time.time()
    with SideBySide(output.progress, title) as duel:
        announced = False
        deadline = math.inf if arguments.limit is None else began + arguments.limit
        for message in run_together(_children(config, folder, deadline)):
            if message is not None:
                duel.take(message.name, message.what)
                if (
                    not announced
                    and message.name == WITH
                    and message.what is not None
                    and message.what["steps"] >= TIMED
                ):
                    announced = True
                    output.note(
                        _expected(config.steps, message.what["steps"], message.what["seconds"], arguments.limit)
                    )
    return _report(arguments, config, folder, duel, began, output)


def _expected(steps: int, done: int, seconds: float, limit: float | None) -> str:
    """Return the expected maximum time on this machine, as text."""
    from seqel.terminal import duration

    most = min(seconds * steps / done, math.inf if limit is None else limit)
    return f"at most {steps:,} steps, about {duration(most)} minutes here; the demo usually ends earlier"


# -- the two processes -------------------------------------------------------------------------------------------------


def _children(config: RunConfig, folder: Path, deadline: float) -> list[Child]:
    pace = Pace()
    agent = {
        "config": _stopping(config),
        "folder": str(folder / "agent"),
        "pace": pace,
        "deadline": deadline,
        "least": 0,
        "leads": True,
    }
    twin = {
        "config": dataclasses.replace(config, memoryless=True),
        "folder": str(folder / "without-history"),
        "pace": pace,
        "deadline": deadline + LAG,
        "least": TWIN_STEPS,
        "leads": False,
    }
    threads = max(1, min(config.threads, cores() // 2))
    return [Child(WITH, learn, threads, agent), Child(WITHOUT, learn, threads, twin)]


def _stopping(config: RunConfig) -> RunConfig:
    return dataclasses.replace(config, validation=dataclasses.replace(config.validation, stop=True))


def learn(tell: Tell, config: RunConfig, folder: str, pace: Pace, deadline: float, least: int, leads: bool) -> None:
    """Run one of the two trainings. The leader stops when its success is confirmed.

    The twin stops after as many steps as the leader and after at least `least`. If `least` is above 0 and its greedy play
    has not found the junction, that minimum is all of the config's steps. Both stop at their deadline.
    """
    from seqel.environments.resolve import resolve
    from seqel.training.online.loop import records
    from seqel.training.online.trainer import OnlineTrainer

    trainer = OnlineTrainer(config, resolve(config.env, **config.env_args))
    try:
        trainer.collector.begin()
        found_way = False  # whether it found the junction, where it can only guess
        for record in records(trainer):
            tell(as_message(record))
            if leads:
                pace.lead(record.steps)
                if time.time() >= deadline:
                    break
                continue
            found_way |= record.validation is not None and record.validation.mean > 0.0
            if not pace.follow(record.steps, deadline, least if found_way or not least else config.steps):
                break
        trainer.last_agent.save(folder)
    finally:
        if leads:
            pace.lead(trainer.collector.steps, final=True)
        trainer.close()


# -- results ---------------------------------------------------------------------------------------------------------


def _report(
    arguments: Arguments, config: RunConfig, folder: Path, duel: SideBySide, began: float, output: Output
) -> tuple[dict[str, Any], int]:
    from seqel.agents.agent import Agent
    from seqel.cli.evaluate import results_table
    from seqel.environments.resolve import resolve
    from seqel.evaluation.rollout import evaluate

    make = resolve(config.env, **config.env_args)
    agents = {WITH: Agent.load(folder / "agent"), WITHOUT: Agent.load(folder / "without-history")}
    results = {name: evaluate(agent, make, EPISODES, FRESH) for name, agent in agents.items()}
    learned = results[WITH].success == 1.0
    same = _same_way(make)
    output.show("", f"{EPISODES} fresh episodes each:", results_table(results), "")
    output.show(f"[dim]Always turning the same way in these episodes succeeds in {1 - same:.0%} or {same:.0%}.[/]")
    if results[WITHOUT].mean <= 0.0:
        output.show("[dim]Without history, the agent has not found the junction in its time.[/]")
    report: dict[str, Any] = {
        "task": {"env": config.env, "env_args": config.env_args},
        "seed": arguments.seed,
        "learned": learned,
        "same_way": same,
        "runs": {
            name: {"steps": racer.steps, "seconds": racer.seconds, "evaluation": dataclasses.asdict(results[name])}
            for name, racer in duel.racers.items()
        },
    }
    if learned:
        output.show(f"[bold green]The agent remembers[/]: {_verdict(results)}", "")
        report["attention"] = _explain(agents[WITH], make, folder, duel, arguments, output)
    else:
        output.show(
            f"[bold red]Not learned this time[/]: {_verdict(results)} The agent had {duel.racers[WITH].steps:,} steps; try "
            "another --seed, or more --steps.",
            "",
        )
    report |= {"folder": str(folder), "seconds": time.time() - began}
    output.show(f"[dim]Everything is in {folder}; {report['seconds']:.0f} s in all.[/]", "", NEXT)
    return report, 0 if learned else 1


def _same_way(make: Any) -> float:
    """Return the success rate of the better of the two policies that always turn the same way, in these episodes."""
    env = make()
    up = sum(int(env.reset(seed=FRESH + n)[0][1] > 0) for n in range(EPISODES)) / EPISODES
    env.close()
    return max(up, 1 - up)


def _verdict(results: dict[str, Evaluation]) -> str:
    said = []
    for name, result in results.items():
        interval = result.success_interval
        assert result.success is not None and interval is not None  # the T-Maze reports success
        said.append(f"{name} {result.success:.0%} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]")
    return "; ".join(said) + "."


def _explain(
    agent: Agent, make: Any, folder: Path, duel: SideBySide, arguments: Arguments, output: Output
) -> dict[str, Any]:
    """Show which step the choice at the junction depended on, and the choice after the other cue."""
    from seqel.cli import influence_strip as strip
    from seqel.explanation.attention import attention
    from seqel.explanation.counterfactual import counterfactual
    from seqel.explanation.occlusion import occlusion
    from seqel.explanation.trace import decision_scores, record_episode

    episode = record_episode(agent, make, seed=0)
    choice = len(episode) - 1  # the last action is the turn at the junction
    rests = occlusion(agent, episode, choice)
    shares = rests / max(float(rests.sum()), 1e-12)
    step, share = int(shares.argmax()), float(shares.max())
    direct = float(attention(agent, episode)[:, :, choice, step].max())  # of the head with the most attention on it
    leaf = agent.observation_spec.leaves[0].path
    cue = episode.observation[leaf][0]
    names = ("right", "up", "left", "down")
    now = int(decision_scores(agent, episode)[choice].argmax())
    otherwise = int(counterfactual(agent, episode, 0, leaf, cue * (1, -1))[choice].argmax())
    ago = choice - step
    what = "the cue" if step == 0 else "the corridor"
    shown = strip.Strip(
        [*(float(w) for w in shares), 0.0],
        step,
        f"{what}, {ago} steps ago",
        f"the choice: {names[now]}",
    )
    output.show(
        "[bold]What the agent remembered when it chose[/], one block per step: how much the choice depends on each step (the "
        f"change when that step is hidden). The bright step has {share:.0%} of the total.",
        "",
        strip.text(shown, 100 if output.as_json else output.progress.width),
        "",
        _attended(direct, what, agent.network.config.layers),
        "",
        f"Does it use what it saw there? In the same episode with the other cue at the first step, and nothing else "
        f"changed, it would have chosen [bold]{names[otherwise]}[/].",
        "",
    )
    path = folder / "demo.png"
    curves = {name: racer.history for name, racer in duel.racers.items()}
    title = f"Passive T-Maze of length {arguments.length}: greedy success during training"
    strip.picture(path, title, curves, shown, "step of the episode; brightness: how much the choice depends on it")
    output.show(f"[dim]Saved as an image: {path}[/]")
    return {
        "choice": names[now],
        "choice_with_other_cue": names[otherwise],
        "step": step,
        "steps_ago": ago,
        "share": share,
        "attention": direct,
        "weights": shown.weights,
        "picture": str(path),
    }


def _attended(direct: float, what: str, layers: int) -> str:
    """Return what attention shows about the bright step; information can also pass through the corridor steps."""
    if direct >= 0.3 or layers < 2:
        return f"Attention points at it directly: one head puts {direct:.0%} of its weight on {what}."
    return (
        f"Attention barely points at it from the junction (at most {direct:.0%} of a head's weight): information from {what} "
        "can pass through the steps in between, which attend to it in one layer and are attended to in the next."
    )
