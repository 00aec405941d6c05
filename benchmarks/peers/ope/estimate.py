"""A peer's estimates of what a policy would earn: SCOPE-RL's basic estimators on arrays exported from a table of sessions.

    taskset -c 0 benchmarks/peers/ope/.venv/bin/python benchmarks/peers/ope/estimate.py FILE.npz [--json OUT.json]

FILE holds, for E episodes of N transitions in all, episode by episode:
    action (N,) int             the action taken, 0 to A - 1
    reward (N,)                 its reward
    behaviour_prob (N,)         with which the recording policy chose it, given the history
    length (E,) int             transitions of each episode
    target_prob (N, A)          what the policy that is judged would do, given the same history; rows sum to 1
    q (N, A)                    optional: its action values as estimated from the data; without them only importance sampling
    discount ()                 optional, 1 where left out
    true_value (), policy ()    optional: known by playing, and its name; only copied

SCOPE-RL takes episodes of one length. Shorter ones are continued to the longest by steps that change no estimate: reward
and values 0, one action that both policies take with probability 1 (an absorbing state).

Estimates: DM direct method; TIS, PDIS trajectory-wise and per-decision importance sampling; DR doubly robust; SNTIS, SNPDIS,
SNDR the same with weights that are normalised by step. `interval` is SCOPE-RL's 95 % bootstrap over trajectories; for the
normalised ones it takes the normaliser as given.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scope_rl.ope import discrete

ESTIMATORS = {
    "DM": discrete.DirectMethod,
    "TIS": discrete.TrajectoryWiseImportanceSampling,
    "PDIS": discrete.PerDecisionImportanceSampling,
    "DR": discrete.DoublyRobust,
    "SNTIS": discrete.SelfNormalizedTIS,
    "SNPDIS": discrete.SelfNormalizedPDIS,
    "SNDR": discrete.SelfNormalizedDR,
}
NEED_VALUES = {"DM", "DR", "SNDR"}


def padded(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The arrays as SCOPE-RL names and shapes them: every episode as long as the longest."""
    length = np.asarray(arrays["length"], np.int64)
    steps, episodes = int(length.max()), len(length)
    place = np.concatenate([row * steps + np.arange(size) for row, size in enumerate(length)])
    actions = arrays["target_prob"].shape[1]
    action = np.zeros(episodes * steps, np.int64)
    reward, pscore = np.zeros(episodes * steps), np.ones(episodes * steps)
    target = np.zeros((episodes * steps, actions))
    target[:, 0] = 1.0
    action[place], reward[place], pscore[place] = arrays["action"], arrays["reward"], arrays["behaviour_prob"]
    target[place] = arrays["target_prob"] / arrays["target_prob"].sum(axis=1, keepdims=True, dtype=np.float64)
    inputs: dict[str, Any] = {
        "step_per_trajectory": steps,
        "action": action,
        "reward": reward,
        "pscore": pscore,
        "evaluation_policy_action_dist": target,
        "gamma": float(arrays.get("discount", np.array(1.0))),
    }
    if "q" in arrays:
        q = np.zeros((episodes * steps, actions))
        q[place] = arrays["q"]
        inputs["state_action_value_prediction"] = q
    return inputs


def effective(inputs: dict[str, Any]) -> float:
    """Kish's effective number of episodes under the weights of whole trajectories."""
    steps = inputs["step_per_trajectory"]
    chosen = inputs["evaluation_policy_action_dist"][np.arange(len(inputs["action"])), inputs["action"]]
    weight = (chosen / inputs["pscore"]).reshape(-1, steps).prod(axis=1)
    return float(weight.sum() ** 2 / (weight**2).sum()) if weight.any() else 0.0


def estimate(arrays: dict[str, np.ndarray], samples: int) -> dict[str, Any]:
    """Every estimator that the arrays allow. A number that is not finite (weights that overflow) is null."""
    inputs = padded(arrays)
    found: dict[str, Any] = {}
    for name, kind in ESTIMATORS.items():
        if name in NEED_VALUES and "q" not in arrays:
            continue
        begun = time.perf_counter()
        estimator = kind()
        value = float(estimator.estimate_policy_value(**inputs))
        bounds = estimator.estimate_interval(
            **inputs, alpha=0.05, ci="bootstrap", n_bootstrap_samples=samples, random_state=0
        )
        low, high = (
            next(float(bound) for text, bound in bounds.items() if side in text) for side in ("lower", "upper")
        )
        found[name] = {
            "value": value if math.isfinite(value) else None,
            "interval": [low, high] if math.isfinite(low) and math.isfinite(high) else None,
            "seconds": time.perf_counter() - begun,
        }
    record = {
        "peer": "scope-rl",
        "episodes": len(arrays["length"]),
        "steps_of_the_longest": inputs["step_per_trajectory"],
        "discount": inputs["gamma"],
        "effective_episodes": effective(inputs),
        "estimates": found,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("scope-rl", "d3rlpy", "torch", "numpy")},
        },
    }
    if "policy" in arrays:
        record["policy"] = str(arrays["policy"])
    if "true_value" in arrays:
        record["true_value"] = float(arrays["true_value"])
    return record


def main() -> None:
    """Read the command line, estimate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--bootstrap", type=int, default=1000, help="samples of the bootstrap")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    with np.load(args.file) as arrays:
        record = estimate(dict(arrays), args.bootstrap)
    text = json.dumps({"file": args.file.name, **record}, indent=1)
    print(text)
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
