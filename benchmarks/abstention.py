"""Does abstention keep its bound? Realised error on fresh sessions over random splits, and under stated shifts.

    SEQEL_DATA=/folder/of/data python benchmarks/abstention.py [--task films genres tmaze] [--splits 300] [--table]

films    MovieLens-100k, preset next-item: the next film, of 1,682; trained on half of the users
genres   MovieLens-100k, behaviour cloning: the first genre of the next film, of 18; trained on half of the users
tmaze    T-Maze of length 5 whose observations have Gaussian noise, so that no agent can always be right

films and genres: the sessions are the users who were not trained on, and the loss is the share of a user's choices that the
agent decides and decides otherwise. tmaze: 2,000 episodes, and the loss is 1 if the agent neither succeeds nor abstains.
In each split, n random sessions calibrate and the others are fresh. `steps counted` calibrates on the steps of the same
sessions as if they were exchangeable. Under a shift, n sessions of one kind calibrate and all sessions of another kind are
fresh; for comparison, the others of the first kind. Standard errors: jackknife over 20 groups of sessions, with the same
splits, so they include the choice of the sessions that exist. One JSON file per task in benchmarks/results/abstention/; runs
are kept in runs/abstention.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from measured import commit, measured, train_or_resume
from movielens import BANDS, train_agent, write_tables
from seqel.agents.agent import Agent
from seqel.agents.uncertainty import choose_measure
from seqel.cli.estimate import recorded_sessions as open_sessions
from seqel.datasets.dataset import Dataset
from seqel.datasets.inspection.groups import column_of_sessions
from seqel.evaluation.abstaining import played_sessions, recorded_sessions
from seqel.safety.abstention import Abstention
from seqel.safety.conformal import Jumps, SessionDecisions, calibrate, jumps_of
from seqel.tasks.registry import register

HERE = Path(__file__).parent
RESULTS, RUNS = HERE / "results" / "abstention", HERE.parent / "runs" / "abstention"
ERRORS, CALIBRATING = (0.05, 0.1), (50, 200)
SHIFTED = 100  # sessions that calibrate under a shift
GROUPS, FEWER = 20, 10  # of sessions, for the jackknife, and how many times fewer splits it has
EPISODES, LEVEL = 2_000, 0.5  # a return below LEVEL: the wrong arm
LENGTH, NOISE, NOISIER = 5, 1.0, 1.5

Rows = NDArray[np.bool_]


class NoisyTMaze(gymnasium.ObservationWrapper[Any, Any, Any]):
    """T-Maze with independent Gaussian noise on both numbers that are observed."""

    def __init__(self, noise: float) -> None:
        register()
        super().__init__(gymnasium.make("seqel/TMaze-v0", length=LENGTH))
        self.noise = noise
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def observation(self, observation: Any) -> Any:
        drawn = self.unwrapped.np_random.standard_normal(2)
        return (observation + self.noise * drawn).astype(np.float32)


@dataclass(frozen=True)
class Pool:
    """Decisions of sessions that the agent was not trained on, their losses, and which of them a shift is about."""

    decided: SessionDecisions
    jumps: Jumps
    step_jumps: Jumps  # the same losses, if each step is taken for a session
    shifts: dict[str, tuple[Rows, Rows]]  # name -> which sessions may calibrate, and which are fresh

    @classmethod
    def of(
        cls, decided: SessionDecisions, loss: str, level: float | None, shifts: dict[str, tuple[Rows, Rows]]
    ) -> Pool:
        lengths = [len(one) for one in decided.uncertainty]
        if decided.wrong is not None:
            wrong = np.concatenate(list(decided.wrong))
        else:
            assert decided.returns is not None and level is not None
            wrong = np.repeat(decided.returns < level, lengths)
        session = np.repeat(np.arange(len(lengths)), lengths)[wrong]
        steps = Jumps(
            np.concatenate(list(decided.uncertainty))[wrong], np.ones(int(wrong.sum())), session, len(lengths)
        )
        return cls(decided, jumps_of(decided, loss, level), steps, shifts)


def films(seed: int, updates: int) -> tuple[Agent, Pool]:
    return _movielens("films", seed, updates)


def genres(seed: int, updates: int) -> tuple[Agent, Pool]:
    return _movielens("genres", seed, updates)


def _movielens(name: str, seed: int, updates: int) -> tuple[Agent, Pool]:
    agent, _ = train_agent(name, RUNS, seed, updates)
    table = write_tables(RUNS / "movielens")
    data, _ = open_sessions(agent, (str(table),), None, held_out=True)
    assert isinstance(data, Dataset)
    _set_measure(agent)
    ages = np.array(column_of_sessions(data, table, "age_band"))
    young, old = ages == BANDS[0][1], ages == BANDS[-1][1]
    first = _first_times(table)
    came = np.array([first[session] for session in data.sessions])
    early = came < np.median(came)
    sizes = data.buffer.lengths
    short = sizes < np.median(sizes)
    shifts = {
        f"{BANDS[0][1]} years, then {BANDS[-1][1]}": (young, old),
        "the half of users who came first, then the later half": (early, ~early),
        "the half of users who came last, then the earlier half": (~early, early),
        "the half of users with the fewest choices, then the others": (short, ~short),
        "the half of users with the most choices, then the others": (~short, short),
    }
    return agent, Pool.of(recorded_sessions(agent, data.buffer), "share", None, shifts)


def _first_times(table: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        user, _, when = line.split(",")[:3]
        found[user] = min(found.get(user, np.inf), float(when))
    return found


def tmaze(seed: int, updates: int) -> tuple[Agent, Pool]:
    agent = train_or_resume(
        RUNS / f"tmaze-seed{seed}", partial(NoisyTMaze, NOISE), steps=updates or 40_000, seed=seed,
        settings={"threads": 1, "device": "cpu", "network.width": 32, "network.layers": 1},
    )  # fmt: skip
    _set_measure(agent)
    played = [
        played_sessions(agent, partial(NoisyTMaze, noise), EPISODES, 1_000_000 * place)
        for place, noise in enumerate((NOISE, NOISIER))
    ]
    uncertainty = [*played[0].uncertainty, *played[1].uncertainty]
    returns = np.concatenate([one.returns for one in played if one.returns is not None])
    usual = np.arange(2 * EPISODES) < EPISODES
    shifts = {
        "": (usual, usual),
        f"noise of {NOISE:g}, then {NOISIER:g}": (usual, ~usual),
        f"noise of {NOISIER:g}, then {NOISE:g}": (~usual, usual),
    }
    return agent, Pool.of(SessionDecisions(uncertainty, returns=returns), "return", LEVEL, shifts)


def _set_measure(agent: Agent) -> None:
    """Let an agent report uncertainties without a threshold."""
    measure = choose_measure(agent.network.config, agent.action_spec.dims, "auto")
    agent.set_abstention(Abstention(None, measure, 0.1, "share", None, 0, 0.0, 1.0, ""))


def realised_error(
    pool: Pool, error: float, n: int, splits: int, source: Rows, target: Rows, kept: Rows, by_steps: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Return for each split the mean loss of fresh sessions, the share of steps decided, and that of sessions handed over.

    Splits are the same for any `kept`, apart from the sessions that are left out.
    """
    rng = np.random.default_rng(0)
    lengths = np.array([len(one) for one in pool.decided.uncertainty])
    uncertainty = np.concatenate(list(pool.decided.uncertainty))
    session = np.repeat(np.arange(len(lengths)), lengths)
    counted = pool.step_jumps if by_steps else pool.jumps
    highest = np.array([one.max() for one in pool.decided.uncertainty])
    losses, shares, handed_over = np.zeros(splits), np.zeros(splits), np.zeros(splits)
    for split in range(splits):
        order = rng.permutation(len(lengths))
        chosen = order[(source & kept)[order]][:n]
        calibrating = np.zeros(len(lengths), bool)
        calibrating[chosen] = True
        threshold = calibrate(_only(counted, calibrating, lengths if by_steps else None), error)
        fresh = target & kept & ~calibrating
        losses[split] = pool.jumps.losses(threshold)[fresh].mean()
        shares[split] = np.mean(uncertainty[fresh[session]] < threshold)
        handed_over[split] = np.mean(highest[fresh] >= threshold)
    return {"loss": losses, "share": shares, "handed_over": handed_over}


def _only(jumps: Jumps, which: Rows, lengths: NDArray[np.int64] | None) -> Jumps:
    """Return the losses of some sessions; with lengths, those of their steps, each as if it were a session."""
    there = which[jumps.session]
    number = np.cumsum(which) - 1
    if lengths is None:
        return Jumps(jumps.uncertainty[there], jumps.weight[there], number[jumps.session[there]], int(which.sum()))
    steps = int(lengths[which].sum())
    return Jumps(jumps.uncertainty[there], jumps.weight[there], np.zeros(int(there.sum()), np.int64), steps)


def with_error(pool: Pool, error: float, n: int, splits: int, source: Rows, target: Rows, **options: Any) -> Any:
    """Return the mean realised error, its standard error, and what else a table shows."""
    every = np.ones(len(source), bool)
    found = realised_error(pool, error, n, splits, source, target, every, **options)
    group = np.random.default_rng(1).permutation(len(source)) % GROUPS
    without = [
        realised_error(pool, error, n, max(1, splits // FEWER), source, target, group != one, **options)["loss"].mean()
        for one in range(GROUPS)
    ]
    return {
        "bound": error, "calibrating": n, "source": int(source.sum()), "fresh": int((target & ~source).sum()),
        "error": float(found["loss"].mean()),
        "standard_error": float(np.sqrt((GROUPS - 1) * np.var(without))), "between_splits": float(found["loss"].std()),
        "splits_above": float(np.mean(found["loss"] > error)), "decides": float(found["share"].mean()),
        "handed_over": float(found["handed_over"].mean()),
    }  # fmt: skip


def measure(make: Callable[[int, int], tuple[Agent, Pool]], seed: int, updates: int, splits: int) -> dict[str, Any]:
    began = time.process_time()
    agent, pool = make(seed, updates)
    seconds = time.process_time() - began
    shifts = dict(pool.shifts)
    every = np.ones(len(pool.decided), bool)
    source, _ = shifts.pop("", (every, every))
    undecided = pool.jumps.losses(np.inf)[source].mean()
    usual = [with_error(pool, error, n, splits, source, source) for error in ERRORS for n in CALIBRATING]
    naive = [with_error(pool, error, n, splits, source, source, by_steps=True) for error in ERRORS for n in CALIBRATING]
    shifted = [
        {
            "shift": name, **with_error(pool, error, SHIFTED, splits, before, after),
            "without_shift": with_error(pool, error, SHIFTED, splits, before, before),
        }
        for name, (before, after) in shifts.items()
        for error in ERRORS
    ]  # fmt: skip
    assert agent.abstention is not None
    return {
        "seed": seed, "commit": commit(), "seconds": seconds, "measure": agent.abstention.measure, "splits": splits,
        "sessions": int(source.sum()),
        "steps": sum(len(one) for one, kept in zip(pool.decided.uncertainty, source, strict=True) if kept),
        "error_without_abstention": float(undecided), "sessions_counted": usual, "steps_counted": naive, "shifts": shifted,
    }  # fmt: skip


def print_table(name: str, found: dict[str, Any]) -> None:
    print(
        f"\n{name}: {found['sessions']:,} sessions with {found['steps']:,} steps; without abstention the mean loss is "
        f"{found['error_without_abstention']:.3f}\n"
    )
    print("| bound | calibrate | mean loss per session | over splits | splits above | decides | steps counted |")
    print("|---|---|---|---|---|---|---|")
    for one, naive in zip(found["sessions_counted"], found["steps_counted"], strict=True):
        print(
            f"| {one['bound']:g} | {one['calibrating']} | {_plus_minus(one)} | {one['between_splits']:.3f} | "
            f"{one['splits_above']:.0%} | {one['decides']:.1%} | {_plus_minus(naive)} |"
        )
    print("\n| shift | bound | others like those that calibrate | after the shift | decides |\n" + "|---" * 5 + "|")
    for one in found["shifts"]:
        before = one["without_shift"]
        print(
            f"| {one['shift']} | {one['bound']:g} | {_plus_minus(before)} | {_plus_minus(one)} | {before['decides']:.1%}, "
            f"then {one['decides']:.1%} |"
        )


def _plus_minus(one: dict[str, Any]) -> str:
    return f"{one['error']:.4f} +- {one['standard_error']:.4f}"


TASKS: dict[str, Callable[[int, int], tuple[Agent, Pool]]] = {"genres": genres, "tmaze": tmaze, "films": films}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--splits", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=0, help="updates, or environment steps; 0: the task's own")
    parser.add_argument("--table", action="store_true", help="print what was measured instead of measuring")
    given = parser.parse_args()
    for name in given.task:
        path = RESULTS / f"{name}-seed{given.seed}.json"
        run = partial(measure, TASKS[name], given.seed, given.updates, given.splits)
        found = measured(path, given.table, run)
        if found is not None:
            print_table(name, found)


if __name__ == "__main__":
    main()
