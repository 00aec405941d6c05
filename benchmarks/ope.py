"""Is off-policy evaluation accurate? Eight policies of known value in two environments, estimated from recorded data.

    taskset -c 1 python benchmarks/ope.py [--only tmaze20 cartpole] [--seeds 0] [--data runs/offline-data] [--export FOLDER]

The data are those of `offline_data.py`. The policies: an agent learned from the data (`offline-cql`) and a half-trained one
that recorded them, each with a share of random actions, and random play. True values: discounted returns of 2,048 played
episodes (16,384 where only wins and losses count). `--export` writes the files that `peers/ope/estimate.py` reads, one per
policy. Results: results/ope/*.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

import seqel
from measured import commit
from offline import COMMON, once, read
from offline_data import TASKS
from seqel.agents.agent import Agent
from seqel.environments.resolve import resolve
from seqel.environments.vector import VectorStream, make_vector
from seqel.ope.estimation import estimate_policies
from seqel.ope.fqe import FQETrainer
from seqel.ope.policies import AgentPolicy
from seqel.spaces import ActionSpec, ObservationSpec

RESULTS = Path(__file__).parent / "results" / "ope"
DISCOUNT = 0.99
EPISODES, SIDE_BY_SIDE = {"tmaze20": 16_384}, 512  # a win or a loss needs more of them than the length of an episode
AT_LEAST = 2_048
EPSILONS = {  # of the learned agent and of a half-trained one, so that no two policies are worth nearly the same
    "tmaze20": ((0.0, 0.1, 0.25, 0.5), (0.0, 0.1, 0.4)),
    "cartpole": ((0.0, 0.3, 0.5, 0.7), (0.0, 0.4, 0.6)),
}
LEARNED = COMMON | {"offline.updates": 4_000, "replay.batch_tokens": 416}


def policies(name: str, data: Path, seed: int) -> list[AgentPolicy]:
    """Return the eight policies, usually the best first."""
    with tempfile.TemporaryDirectory() as folder:
        learned = seqel.train(
            data=read(data / f"{name}-seed0.npz", TASKS[name].env), seed=100 + seed, out=Path(folder) / "run",
            preset="offline-cql", settings=LEARNED, progress=False,
        )  # fmt: skip
    kept = json.loads((data / f"{name}-seed0.json").read_text())["half_trained"]["tried"]
    first = next(one["seed"] for one in kept if one["kept"])
    half = Agent.load(data / "agents" / f"{name}-seed0" / f"seed{first}")
    found = [AgentPolicy(learned, epsilon, f"learned, {epsilon:g} random") for epsilon in EPSILONS[name][0]]
    found += [AgentPolicy(half, epsilon, f"half-trained, {epsilon:g} random") for epsilon in EPSILONS[name][1]]
    return [*found, AgentPolicy(half, 1.0, "random play")]


def played(env: Any, policy: AgentPolicy, episodes: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Play `episodes` episodes, SIDE_BY_SIDE at a time, and return their discounted returns; finished ones wait."""
    envs = make_vector(resolve(env), SIDE_BY_SIDE)
    spec, actions = (
        ObservationSpec.from_space(envs.single_observation_space),
        ActionSpec.from_space(envs.single_action_space),
    )
    stream, found = VectorStream(envs, spec, actions), []
    for wave in range(episodes // SIDE_BY_SIDE):
        stream.reset([3_000_000 + wave * SIDE_BY_SIDE + n for n in range(SIDE_BY_SIDE)])
        earned, going, gamma = np.zeros(SIDE_BY_SIDE), np.ones(SIDE_BY_SIDE, bool), 1.0
        state, action, reward = None, None, np.zeros(SIDE_BY_SIDE, np.float32)
        while going.any():
            before: Any = None if action is None else action + actions.start[0]
            decision, state = policy.agent.act(
                stream.current, state, reward=reward, first=stream.first, previous_action=before
            )
            drawn = rng.integers(actions.actions, size=SIDE_BY_SIDE)
            any_ = rng.random(SIDE_BY_SIDE) < policy.epsilon
            action = np.where(any_, drawn, decision.action - actions.start[0])
            outcome = stream.step(action)
            earned += gamma * outcome.reward * going
            going &= ~outcome.ended
            gamma *= DISCOUNT
            reward = outcome.reward.astype(np.float32)
            if outcome.ended.any():
                stream.reset([None] * SIDE_BY_SIDE, outcome.ended)
                reward[outcome.ended] = 0.0
        found.append(earned)
    envs.close()
    return np.concatenate(found)


def export(members: list[FQETrainer], names: list[str], truth: list[float], folder: Path) -> None:
    """Write the files that `peers/ope/estimate.py` reads, one per policy; values are the members' mean."""
    source = members[0].source
    recorded = source.buffer
    count, horizon, actions = recorded.episodes, int(recorded.lengths.max()), source.action.actions
    shape = (count, horizon)
    done, reward = np.zeros(shape, np.int64), np.zeros(shape)
    behaviour, valid = np.ones(shape), np.zeros(shape, np.bool_)
    q, prob = (np.zeros((len(names) + 1, *shape, actions)) for _ in range(2))
    with torch.no_grad():
        for batch in members[0].walk(recorded):
            here = members[0].prepare(batch)
            assert here.episode_index is not None and here.policy is not None and here.behaviour_prob is not None
            value = torch.stack([member.learner.target(here).q for member in members]).mean(dim=0)
            now = here.loss_mask.numpy()
            row = here.episode_index[:, None].expand_as(here.loss_mask).numpy()[now]
            at = (here.start_step[:, None] + torch.arange(now.shape[1])).numpy()[now]
            done[row, at], reward[row, at] = batch.action[..., 0].numpy()[now], here.reward.numpy()[now]
            behaviour[row, at], valid[row, at] = here.behaviour_prob.numpy()[now], True
            for k in range(len(names) + 1):
                q[k, row, at] = value[:, :-1, k, 0].numpy()[now]  # one action dimension
                prob[k, row, at] = here.policy[:, :-1, k, 0].numpy()[now]
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names, start=1):
        np.savez_compressed(
            folder / f"{name.replace(', ', '-').replace(' ', '-')}.npz",
            action=done[valid], reward=reward[valid], behaviour_prob=behaviour[valid], length=valid.sum(axis=1),
            target_prob=prob[k][valid], q=q[k][valid], discount=DISCOUNT, true_value=truth[k - 1],
            policy=name,
        )  # fmt: skip


def run(name: str, data: Path, seed: int, exported: Path | None, updates: int | None) -> dict[str, Any]:
    """Play, estimate, compare."""
    env, began = TASKS[name].env, time.perf_counter()
    judged = policies(name, data, seed)
    rng = np.random.default_rng(seed)
    returns = [played(env, policy, EPISODES.get(name, AT_LEAST), rng) for policy in judged]
    truth = [float(one.mean()) for one in returns]
    played_seconds = time.perf_counter() - began
    source = read(data / f"{name}-seed0.npz", env)
    began = time.perf_counter()
    members: list[FQETrainer] = []
    table = estimate_policies(
        judged, source, discount=DISCOUNT, updates=updates, seed=seed, on_fit=members.append if exported else None
    )
    seconds = time.perf_counter() - began
    if exported is not None:
        export(members, [policy.name for policy in judged], truth, exported / f"{name}-seed{seed}")
    rows: list[dict[str, Any]] = [
        {
            "policy": row.name, "true": true, "true_standard_error": float(one.std() / np.sqrt(len(one))),
            "value": row.value.value, "interval": row.value.interval, "corrected": row.value.corrected,
            "fit": row.value.fit,
            "others": {method: [other.value, *other.interval] for method, other in row.others.items()},
            "inside": bool(row.value.low <= true <= row.value.high), "warnings": list(row.warnings),
        }
        for row, true, one in zip(table.policies, truth, returns, strict=True)
    ]  # fmt: skip
    spread = max(truth) - min(truth)
    widths = [row["interval"][1] - row["interval"][0] for row in rows]
    return {
        "task": name, "seed": seed, "rows": rows, "recorded": table.recorded.value.value,
        "rank_correlation": float(spearmanr(truth, [row["value"] for row in rows]).statistic),
        "inside": sum(row["inside"] for row in rows), "median_width": float(np.median(widths) / spread),
        "unexplained": None if table.fit is None else table.fit.unexplained, "seconds": seconds,
        "played_seconds": played_seconds, "commit": commit(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=EPSILONS, default=list(EPSILONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--data", type=Path, default=Path("runs/offline-data"))
    parser.add_argument("--updates", type=int, default=None, help="of the fit; not kept")
    parser.add_argument("--export", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        for seed in options.seeds:
            path = RESULTS / f"{name}-seed{seed}.json"
            make = partial(run, name, options.data, seed, options.export, options.updates)
            found = once(path, options.updates is None, make)
            for row in found["rows"]:
                low, high = row["interval"]
                mark = "" if row["inside"] else "  outside"
                value = f"{row['value']:8.3f} ({low:.3f} to {high:.3f}){mark}"
                print(f"{name:<16}{row['policy']:<28}true {row['true']:8.3f} {value}  {'; '.join(row['warnings'])}")
            print(
                f"{name}, seed {seed}: rank correlation {found['rank_correlation']:.3f}, inside {found['inside']} of "
                f"{len(found['rows'])}, median width {found['median_width']:.0%} of the range, "
                f"{found['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
