"""Recommendation for long-term reward: Q-learning from recorded visits, beside supervised rankers of the same visits.

    SEQEL_DATA=/folder/of/data python benchmarks/recommend_long_term.py [--seeds 0 1 2 3 4] [--estimate] [--table]

`Recommend` on the ratings of MovieLens-100k: 20,000 visits of the training users are recorded, in which popular films are
shown more often (`record_visits`). Three agents with the same network learn from them:

- `next`: the next item that is taken, by cross-entropy, as SASRec does;
- `now`: the probability that an item is taken, beside the probability that it is shown: Q-learning with discount 0;
- `long`: the same with discount 0.95.

How much values count (`network.value_weight`) is chosen for each on 500 visits of the validation users. Returns are of 2,000
visits of the test users with the same seeds for all, and of 300 of them for the planner, which knows the simulator. One JSON
file per seed and agent in benchmarks/results/recommend-long-term/, with the return of each visit.

`--estimate`: what `now` and `long` of the first seed would earn is estimated from 2,500 other recorded visits, of the test
users, alone (`seqel.ope`), and compared with what they do earn. Both are discounted by 0.95. `--tried SHARE`: in this share
of the recorded steps the first choice of one of the two agents was shown, as in a shop that tries them; 0: in none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import seqel
from measured import commit, measured, show
from seqel.ope.estimation import estimate_policies
from seqel.ope.policies import AgentPolicy
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.recommend import Factors, Recommend, fit_factors, players, record_visits
from seqel.tasks.recommend.recording import shown_next
from seqel.tasks.splits import Split
from seqel.types import Episode

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "recommend-long-term"
VISITS, UPDATES = 20_000, 1_500
SHARPNESS, RANDOM = 2.0, 0.1  # of the rule that was recorded
CHOOSING, TESTED, PLANNED, LOGGED = 500, 2_000, 300, 2_500  # visits
DISCOUNT = 0.95
WEIGHTS = (0.0, 3.0, 10.0, 30.0, 100.0, 300.0)
SHARED: dict[str, Any] = {
    "network.actions": "items", "network.policy_head": "greedy", "network.width": 64, "network.layers": 2,
    "network.heads": 2, "network.context": 40, "network.dropout": 0.1, "objective.cloning_weight": 1.0,
    "objective.trace": "peng", "objective.lambda_": 0.0, "replay.window": 40, "replay.batch_tokens": 1_664,
    "learner.learning_rate": 1e-3, "learner.target_rate": 0.05, "learner.weight_decay": 0.0, "threads": 1, "device": "cpu",
    "checkpoint_every": 0,
}  # fmt: skip
AGENTS: dict[str, dict[str, Any]] = {
    "next": {"objective.td_weight": 0.0, "objective.discount": 0.0},
    "now": {"objective.discount": 0.0},
    "long": {"objective.discount": DISCOUNT, "objective.iql_expectile": 0.5},
}


def simulator() -> Factors:
    """Fit the simulator to the ratings of MovieLens-100k."""
    path = Path(os.environ["SEQEL_DATA"]) / "ml-100k" / "ml-100k.inter"
    user, item, rating, _ = np.loadtxt(path, skiprows=1).T
    codes = [np.unique(column.astype(np.int64), return_inverse=True) for column in (user, item)]
    return fit_factors(codes[0][1], codes[1][1], rating, tuple(map(str, codes[1][0])))


def visits_of(factors: Factors, split: Split) -> Recommend:
    return Recommend(factors, split, repeats=False)


def only_taken(data: InMemoryDataset) -> InMemoryDataset:
    """Return the visits with a loss only where the item was taken."""
    columns = data.buffer.slots.columns
    columns["by_agent"] = columns["by_agent"] & (columns["reward"] > 0.0)
    return data


def train(factors: Factors, name: str, seed: int, folder: Path) -> seqel.Agent:
    data, mean = record_visits(Recommend(factors), VISITS, seed, SHARPNESS, RANDOM)
    print(f"recorded visits: {mean:.2f} items taken", file=sys.stderr, flush=True)
    return seqel.train(
        data=only_taken(data) if name == "next" else data, steps=UPDATES, seed=seed, out=folder, progress=show,
        settings=SHARED | AGENTS[name],
    )  # fmt: skip


def returns(agent: seqel.Agent, factors: Factors, split: Split, visits: int) -> NDArray[np.float64]:
    found = seqel.evaluate(agent, lambda: visits_of(factors, split), visits, seed=1_000_000)
    return np.array(found.returns, np.float64)


def run(factors: Factors, name: str, seed: int) -> dict[str, Any]:
    began = time.process_time()
    folder = HERE.parent / "runs" / f"recommend-long-term-{name}-{seed}"
    agent = seqel.Agent.load(folder) if (folder / "summary.json").exists() else train(factors, name, seed, folder)
    seconds = time.process_time() - began
    tried: dict[float, float] = {0.0: 0.0}
    if AGENTS[name].get("objective.td_weight", 1.0):
        for weight in WEIGHTS:
            agent.set_value_weight(weight)
            tried[weight] = float(returns(agent, factors, "validation", CHOOSING).mean())
            print(f"{name}, value weight {weight}: {tried[weight]:.2f}", file=sys.stderr, flush=True)
        agent.set_value_weight(max(tried, key=lambda one: tried[one]))
        agent.save(folder / "agent")
    found = returns(agent, factors, "test", TESTED)
    return {
        "agent": name, "seed": seed, "value_weight": agent.network.config.value_weight, "on_validation": tried,
        "mean": float(found.mean()), "seconds": seconds, "commit": commit(), "returns": " ".join(f"{one:g}" for one in found),
    }  # fmt: skip


class Discounted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Adds the discounted return of each visit to a list."""

    def __init__(self, env: Recommend, noted: list[float]) -> None:
        super().__init__(env)
        self.noted = noted

    def reset(self, **given: Any) -> Any:
        self.weight, self.total = 1.0, 0.0
        return self.env.reset(**given)

    def step(self, action: Any) -> Any:
        found = self.env.step(action)
        self.total += self.weight * float(found[1])
        self.weight *= DISCOUNT
        if found[2] or found[3]:
            self.noted.append(self.total)
        return found


def discounted(factors: Factors, noted: list[float]) -> Discounted:
    return Discounted(visits_of(factors, "test"), noted)


def record_trial(env: Recommend, agents: list[seqel.Agent], visits: int, seed: int, share: float) -> InMemoryDataset:
    """Record visits in which the agents' first choices are shown in a share of the steps, and else popular items."""
    rng = np.random.default_rng((seed, 53))
    spec, action = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    episodes = []
    for _ in range(visits):
        seen, info = env.reset(seed=int(rng.integers(1 << 31)))
        states: list[Any] = [None] * len(agents)
        observations, masks, over = [seen], [info["action_mask"]], False
        actions: list[int] = []
        rewards: list[float] = []
        probabilities: list[float] = []
        while not over:
            mask = masks[-1]
            chance = (1.0 - share) * shown_next(mask[None], env.factors, SHARPNESS, RANDOM)[0]
            last = {"previous_action": np.array(actions[-1:]), "reward": np.array(rewards[-1:])} if actions else {}
            for place, agent in enumerate(agents):
                decision, states[place] = agent.act(seen[None], states[place], mask=mask[None], **last)
                chance[int(decision.action[0])] += share / len(agents)
            item = int(rng.choice(len(chance), p=chance / chance.sum()))
            seen, reward, terminated, truncated, info = env.step(np.int64(item))
            over = terminated or truncated
            observations.append(seen)
            masks.append(info["action_mask"])
            actions.append(item)
            rewards.append(reward)
            probabilities.append(chance[item])
        episodes.append(
            Episode(
                dict(spec.flatten(np.stack(observations), len(observations))), np.array(actions)[:, None],
                np.array(rewards, np.float32), terminated, truncated, action_mask=np.stack(masks),
                behaviour_prob=np.array(probabilities, np.float32),
            )
        )  # fmt: skip
    return InMemoryDataset.of(episodes, spec, action)


def estimate(factors: Factors, seed: int, updates: int, tried: float) -> dict[str, Any]:
    """Estimate what two agents earn from recorded visits, and measure it."""
    found: dict[str, Any] = {
        "discount": DISCOUNT, "visits": LOGGED, "updates": updates, "tried": tried, "commit": commit(),
    }  # fmt: skip
    policies = []
    for name in ("now", "long"):
        agent = seqel.Agent.load(HERE.parent / "runs" / f"recommend-long-term-{name}-{seed}")
        noted: list[float] = []
        seqel.evaluate(agent, partial(discounted, factors, noted), TESTED, seed=2_000_000)
        found[name] = {"earns": float(np.mean(noted)), "standard_error": float(np.std(noted) / len(noted) ** 0.5)}
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
        policies.append(AgentPolicy(agent, name=name))
    if tried:
        agents = [policy.agent for policy in policies]
        data = record_trial(visits_of(factors, "test"), agents, LOGGED, 1_000 + seed, tried)
    else:
        data, _ = record_visits(visits_of(factors, "test"), LOGGED, 1_000 + seed, SHARPNESS, RANDOM)
    began = time.process_time()
    table = estimate_policies(policies, data, discount=DISCOUNT, updates=updates, seed=seed)
    for row in table.policies:
        assert row.difference is not None
        found[row.name] |= {
            "estimate": row.value.value, "interval": row.value.interval, "difference": row.difference.value,
            "difference_interval": row.difference.interval, "warnings": row.warnings, "corrected": row.value.corrected,
            "others": {name: [one.value, one.low, one.high] for name, one in row.others.items()},
        }  # fmt: skip
    logged = table.recorded.value
    return found | {
        "logged": [logged.value, *logged.interval], "verdict": table.verdict, "seconds": time.process_time() - began,
        "unexplained": None if table.fit is None else table.fit.unexplained,
    }  # fmt: skip


def play(factors: Factors, name: str) -> dict[str, Any]:
    player = getattr(players, name)
    visits = PLANNED if name == "planned" else TESTED
    env = visits_of(factors, "test")
    found = [players.visit(env, player, 1_000_000 + visit) for visit in range(visits)]
    return {
        "agent": name,
        "mean": float(np.mean(found)),
        "returns": " ".join(f"{one:g}" for one in found),
        "commit": commit(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--players", nargs="*", default=["popular", "most_taken", "best_rated", "planned"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--estimate", action="store_true", help="estimate from recorded visits instead of training")
    parser.add_argument("--estimate-updates", type=int, default=1_200, help="of each of four fits")
    parser.add_argument(
        "--tried", type=float, default=0.0, metavar="SHARE", help="of steps that show an agent's choice"
    )
    parser.add_argument("--table", action="store_true", help="print what was measured instead of measuring")
    given = parser.parse_args()
    factors = simulator()
    if given.estimate:
        seed = given.seeds[0]
        path = RESULTS / "estimates" / f"tried{given.tried:g}-seed{seed}.json"
        run_it = partial(estimate, factors, seed, given.estimate_updates, given.tried)
        print(json.dumps(measured(path, given.table, run_it), indent=1))
        return
    for seed in given.seeds:
        for name in given.agents:
            measured(RESULTS / f"{name}-seed{seed}.json", given.table, partial(run, factors, name, seed))
    for name in given.players:
        measured(RESULTS / f"{name}.json", given.table, partial(play, factors, name))
    print_table()


def print_table() -> None:
    """Print mean returns, and the share of the gap between the best supervised ranker and the planner that is closed."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    earned = {name: np.array(one["returns"].split(), np.float64) for name, one in found.items()}
    print("| who | items taken per visit | standard error over visits |\n|---|---|---|")
    for name, one in earned.items():
        print(f"| {name} | {one.mean():.2f} | {one.std() / np.sqrt(len(one)):.2f} |")
    seeds = [name.removeprefix("long-seed") for name in earned if name.startswith("long-seed")]
    supervised = [kind for kind in ("next", "now") if all(f"{kind}-seed{seed}" in earned for seed in seeds)]
    if not seeds or not supervised or "planned" not in earned:
        return
    over = {kind: np.stack([earned[f"{kind}-seed{seed}"] for seed in seeds]) for kind in (*supervised, "long")}
    best = max(supervised, key=lambda kind: float(over[kind].mean()))
    rng = np.random.default_rng(0)
    planner = earned["planned"]
    draws = []
    for _ in range(5_000):
        of_seeds = rng.integers(len(seeds), size=len(seeds))
        visits = rng.integers(over["long"].shape[1], size=over["long"].shape[1])
        ours, theirs = (over[kind][of_seeds][:, visits].mean() for kind in ("long", best))
        top = planner[rng.integers(len(planner), size=len(planner))].mean()
        draws.append((ours - theirs, (ours - theirs) / (top - theirs)))
    low, high = np.quantile(np.array(draws), [0.025, 0.975], axis=0)
    gain = over["long"].mean() - over[best].mean()
    share = gain / (planner.mean() - over[best].mean())
    print(
        f"\nlong over {best} ({len(seeds)} seeds): {gain:+.2f} items per visit ({low[0]:+.2f} to {high[0]:+.2f}); "
        f"{share:.0%} of the gap to the planner ({low[1]:.0%} to {high[1]:.0%})"
    )


if __name__ == "__main__":
    main()
