"""Customer service learned from recorded shifts: implicit Q-learning beside the players of `customer_service.py`.

    SEQEL_DATA=/folder/of/data python benchmarks/customer_agents.py [--data banking77] [--seeds 0] [--table]

The shifts are a mixture: most decisions are those of the player that sums evidence or of the one-step lookahead (half
of the shifts each), one in eight is random among an answer, a question, "did you mean A or B?" and handing over. The agent
reads the sentences through the frozen all-MiniLM-L6-v2 and knows neither the classifier nor the setting's probabilities.
Results: benchmarks/results/customer-agents/.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import seqel
from customer_service import MODEL, READ, classifier_of
from measured import commit, measured
from seqel.evaluation.statistics import bootstrap_interval
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.customers.costs import Costs
from seqel.tasks.customers.players import Evidence, Lookahead, Player
from seqel.tasks.customers.service import DECIDE, CustomerService, Setting
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from seqel.types import Episode

RESULTS = Path(__file__).parent / "results" / "customer-agents"
SETTINGS: dict[str, Any] = {
    "network.width": 128, "network.layers": 2, "network.context": 48, "objective.discount": 0.9, "threads": 1,
    "device": "cpu", "checkpoint_every": 0,
}  # fmt: skip


def recorded(
    env: CustomerService, player: Player, spec: ObservationSpec, rng: np.random.Generator, seed: int
) -> Episode:
    """Play a shift and return it."""
    seen, info = env.reset(seed=seed)
    every, masks = [seen], [info["action_mask"]]
    actions: list[int] = []
    rewards: list[float] = []
    over = False
    while not over:
        action = player.act(seen, not actions)
        if seen["choose"] == DECIDE and rng.random() < 0.125:
            likely = int(rng.choice(env.intents, p=player.belief[:-1] / player.belief[:-1].sum()))
            action = int(rng.choice([likely, env.ask, env.offer, env.hand_over]))
            player.pair = rng.choice(env.intents, 2, replace=False).tolist()
        seen, reward, over, _, info = env.step(action)
        every.append(seen)
        masks.append(info["action_mask"])
        actions.append(action)
        rewards.append(reward)
    observation = {name: [one[name] for one in every] for name in every[0]}
    observation |= {name: np.stack(some) for name, some in observation.items() if name != "said"}
    return Episode(
        dict(spec.flatten(observation, len(every))), np.array(actions, np.int64)[:, None], np.array(rewards, np.float32),
        terminated=True, action_mask=np.stack(masks),
    )  # fmt: skip


def run(name: str, seed: int, shifts: int, updates: int, preset: str) -> dict[str, Any]:
    data = READ[name](Path(os.environ["SEQEL_DATA"]) / name)
    classifier = classifier_of(name, data)
    costs = Costs(wrong_of=dict.fromkeys(data.intents[::10], -5.0))
    setting = Setting() if data.out_of_scope["train"] else Setting(out_of_scope=0.0)
    make = partial(CustomerService, data, costs=costs, setting=setting)
    env, rng, began = make(split="train"), np.random.default_rng(seed), time.perf_counter()
    reader = make_reader(TextConfig(encoder="pretrained", model=MODEL, length=48))
    assert reader is not None
    spec = ObservationSpec.from_space(env.observation_space).with_text_reader(reader)
    players: list[Player] = [Evidence(env, classifier, 0.7, 3, 0.6, pairs=True), Lookahead(env, classifier, trust=0.6)]
    episodes = [recorded(env, players[one % 2], spec, rng, 10_000 * (seed + 1) + one) for one in range(shifts)]
    behaviour = [float(one.reward.sum()) / env.customers for one in episodes]
    print(f"recorded in {time.perf_counter() - began:.0f} s: {np.mean(behaviour):.3f} per customer", file=sys.stderr)

    def show(record: Any) -> None:
        if record.validation is not None:
            print(f"{record.updates} updates, {record.seconds:.0f} s: {record.validation.mean:.4f}", file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder:
        dataset = InMemoryDataset.of(episodes, spec, ActionSpec.from_space(env.action_space))
        agent = seqel.train(
            data=dataset,
            steps=updates,
            seed=seed,
            preset=preset,
            settings=SETTINGS,
            out=Path(folder) / "run",
            progress=show,
        )
    played = seqel.evaluate(agent, lambda: make(split="test"), 400, seed=1_000_000)
    rewards = [one / env.customers for one in played.returns]
    return {
        "data": name, "seed": seed, "shifts": shifts, "updates": updates, "preset": preset, "commit": commit(),
        "behaviour": float(np.mean(behaviour)), "reward": float(np.mean(rewards)), "interval": bootstrap_interval(rewards),
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=READ, default=["banking77"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--shifts", type=int, default=4_000)
    parser.add_argument("--updates", type=int, default=3_000)
    parser.add_argument("--preset", nargs="+", default=["behaviour-cloning", "offline-iql"])
    parser.add_argument("--table", action="store_true", help="print what was measured instead of training")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print("| data | preset | seed | recorded | reward per customer (95 %) |\n|---|---|---|---|---|", flush=True)
    for seed in given.seeds:
        for name in given.data:
            for preset in given.preset:
                path = RESULTS / f"{name}-{preset}-seed{seed}.json"
                found = measured(path, given.table, partial(run, name, seed, given.shifts, given.updates, preset))
                if found is not None:
                    low, high = found["interval"]
                    print(
                        f"| {name} | {preset} | {seed} | {found['behaviour']:.3f} | {found['reward']:.3f} "
                        f"({low:.3f} to {high:.3f}) |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
