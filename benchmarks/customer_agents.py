"""Customer service by agents, in three stages, beside the players of `customer_service.py`.

    SEQEL_DATA=/folder/of/data python benchmarks/customer_agents.py [--data banking77] [--seeds 0] [--table]

First the agent clones pairs of a question and its answer, as a list of frequent questions has them (all sentences of shifts
are answered at once, for the intent that they belong to, which need not be the customer's); then it learns from recorded
shifts (`--preset`); then in the environment with training sentences (`--online` steps; 0: not). Each stage starts from the
one before and is measured on test sentences.

The recorded shifts are a mixture: most decisions are those of the player that sums evidence or of the one-step lookahead
(half of the shifts each), one in eight is random among an answer, a question, "did you mean A or B?" and handing over. The
agent reads each sentence as the log-probabilities of the intents (`text.classes`, on the frozen all-MiniLM-L6-v2), as the
players do, and does not know the setting's probabilities. Results: benchmarks/results/customer-agents/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import seqel
from customer_service import READ, classifier_of, folder_of
from measured import commit, measured
from seqel.evaluation.statistics import bootstrap_interval
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.customers.costs import Costs
from seqel.tasks.customers.players import Evidence, Lookahead, Player
from seqel.tasks.customers.service import DECIDE, CustomerService, Setting
from seqel.texts.config import TextConfig
from seqel.texts.make import make_class_reader
from seqel.types import Episode
from text_choice import MODEL

RESULTS = Path(__file__).parent / "results" / "customer-agents"
SETTINGS: dict[str, Any] = {
    "network.width": 128, "network.layers": 2, "network.context": 48, "objective.discount": 0.9, "threads": 1,
    "device": "cpu", "checkpoint_every": 0,
}  # fmt: skip
# preset: (the preset of the first stage, settings of both, because all stages share one network)
STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "behaviour-cloning": ("behaviour-cloning", {}),
    "offline-iql": ("behaviour-cloning", {"network.policy_head": "greedy", "network.state_value": True}),
    "offline-bcq": ("offline-bcq", {}),
    "offline-cql": ("offline-cql", {}),
}
# Every pair is the answer of the list, and rewards are not what it teaches: a large weight makes a cross-entropy of the loss.
PAIRS: dict[str, Any] = {"objective.cql_alpha": 1.0}
ONLINE: dict[str, Any] = {"exploration.novelty": 0.0}


Choose = Callable[[dict[str, Any], bool], int]  # an observation, and whether it is a shift's first -> an action


def recorded(env: CustomerService, choose: Choose, spec: ObservationSpec, seed: int) -> Episode:
    """Play a shift and return it."""
    seen, info = env.reset(seed=seed)
    every, masks = [seen], [info["action_mask"]]
    actions: list[int] = []
    rewards: list[float] = []
    over = False
    while not over:
        action = choose(seen, not actions)
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


def mixture(env: CustomerService, player: Player, rng: np.random.Generator) -> Choose:
    """Return the choices of a player, one in eight of which is replaced by a random one."""

    def choose(seen: dict[str, Any], first: bool) -> int:
        action = player.act(seen, first)
        if seen["choose"] == DECIDE and rng.random() < 0.125:
            likely = int(rng.choice(env.intents, p=player.belief[:-1] / player.belief[:-1].sum()))
            action = int(rng.choice([likely, env.ask, env.offer, env.hand_over]))
            player.pair = rng.choice(env.intents, 2, replace=False).tolist()
        return action

    return choose


def answers(env: CustomerService) -> Choose:
    """Return the answer to each training sentence, as a list of questions with answers has it; others are handed over."""
    right = {text: place for place, some in enumerate(env.utterances.by_intent["train"]) for text in some}
    return lambda seen, first: right.get(seen["said"], env.hand_over)


def show(record: Any) -> None:
    """Print a validation."""
    if record.validation is not None:
        found = f"{record.validation.mean:.4f}"
        print(f"{record.steps or record.updates:,} {record.seconds:.0f} s: {found}", file=sys.stderr, flush=True)


def run(name: str, seed: int, given: argparse.Namespace, preset: str) -> dict[str, Any]:
    data = READ[name](folder_of(name))
    classifier = classifier_of(name, data)
    costs = Costs(wrong_of=dict.fromkeys(data.intents[::10], -5.0))
    setting = Setting() if data.out_of_scope["train"] else Setting(out_of_scope=0.0)
    make = partial(CustomerService, data, costs=costs, setting=setting)
    env, rng, began = make(split="train"), np.random.default_rng(seed), time.perf_counter()
    reader = make_class_reader(TextConfig(encoder="pretrained", model=MODEL, length=48), env.labelled_texts())
    spec = ObservationSpec.from_space(env.observation_space).with_text_reader(reader)
    players: list[Player] = [Evidence(env, classifier, 0.7, 3, 0.6, pairs=True), Lookahead(env, classifier, trust=0.6)]
    mixed = [mixture(env, player, rng) for player in players]
    episodes = [recorded(env, mixed[one % 2], spec, 10_000 * (seed + 1) + one) for one in range(given.shifts)]
    answer = answers(env)
    pairs = [recorded(env, answer, spec, 5_000_000 * (seed + 1) + one) for one in range(given.pairs)]
    behaviour = float(np.mean([one.reward.sum() for one in episodes])) / env.customers
    print(f"recorded in {time.perf_counter() - began:.0f} s: {behaviour:.3f} per customer", file=sys.stderr)
    actions, stages, agent = ActionSpec.from_space(env.action_space), {}, None

    def measure(stage: str, found: seqel.Agent) -> None:
        played = seqel.evaluate(found, lambda: make(split="test"), 400, seed=1_000_000)
        rewards = [one / env.customers for one in played.returns]
        stages[stage] = {"reward": float(np.mean(rewards)), "interval": bootstrap_interval(rewards)}
        print(f"{stage}: {stages[stage]}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        first, heads = STAGES[preset]
        for stage, some, updates, how, more in (
            ("pairs", pairs, given.pair_updates, first, {} if first == "behaviour-cloning" else PAIRS),
            ("recorded shifts", episodes, given.updates, preset, {}),
        ):
            if some:
                agent = seqel.train(
                    data=InMemoryDataset.of(some, spec, actions), start=agent, steps=updates, seed=seed, preset=how,
                    settings=SETTINGS | heads | more, out=Path(folder) / stage.split()[0], progress=show,
                )  # fmt: skip
                measure(stage, agent)
        if given.online and preset == "offline-cql":
            agent = seqel.train(
                lambda: make(split="train"), start=agent, steps=given.online, seed=seed, settings=SETTINGS | ONLINE,
                out=Path(folder) / "online", progress=show,
            )  # fmt: skip
            measure("online", agent)
    return {
        "data": name, "seed": seed, "shifts": given.shifts, "updates": given.updates, "preset": preset, "commit": commit(),
        "pairs": given.pairs, "online": given.online, "behaviour": behaviour, "stages": stages,
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=READ, default=["banking77"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--pairs", type=int, default=2_500, help="shifts of eight questions with their answers")
    parser.add_argument("--pair-updates", type=int, default=1_500)
    parser.add_argument("--shifts", type=int, default=4_000)
    parser.add_argument("--updates", type=int, default=3_000)
    parser.add_argument("--online", type=int, default=0, help="steps in the environment, of offline-cql alone")
    parser.add_argument("--preset", nargs="+", choices=STAGES, default=["behaviour-cloning", "offline-cql"])
    parser.add_argument("--table", action="store_true", help="print what was measured instead of training")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(
        "| data | preset | seed | recorded | stage | reward per customer (95 %) |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for seed in given.seeds:
        for name in given.data:
            for preset in given.preset:
                path = RESULTS / f"{name}-{preset}-{given.shifts}-seed{seed}.json"
                found = measured(path, given.table, partial(run, name, seed, given, preset))
                if found is None:
                    continue
                for stage, one in found["stages"].items():
                    low, high = one["interval"]
                    reward = f"{one['reward']:.3f} ({low:.3f} to {high:.3f})"
                    print(f"| {name} | {preset} | {seed} | {found['behaviour']:.3f} | {stage} | {reward} |", flush=True)


if __name__ == "__main__":
    main()
