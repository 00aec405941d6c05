"""The figures of a report on one or more runs: those of each run, the settings that differ, and the comparison of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from seqel.evaluation.comparison import (
    aggregate_interval,
    aggregate_iqm,
    improvement_interval,
    performance_profile,
    probability_of_improvement,
)
from seqel.reports.figures import RunSource, finite, run_figures

__all__ = ["compare_groups", "differing_settings", "group_labels", "report_figures"]

# settings that do not change what is learned, or differ between the seeds of a group
INCIDENTAL = {"seed", "threads", "device", "vectorization", "trackers", "log_every", "checkpoint_every"}
NAMED_BY = 2  # settings, at most, that name a group
THRESHOLDS = 41  # of a performance profile
MOST_PAIRS = 15  # groups that are compared pairwise: 6 at most


def report_figures(sources: Sequence[RunSource], made: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that a report shows, in JSON's kinds. made: how it was made, for instance the number of episodes."""
    configs = {source.name: source.config for source in sources}
    found: dict[str, Any] = {
        "made": dict(made),
        "runs": [run_figures(source) for source in sources],
        "settings": differing_settings(configs),
        "comparison": compare_groups(sources),
    }
    cleaned: dict[str, Any] = finite(found)
    return cleaned


def differing_settings(configs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the settings, except the seed, in which runs differ: name and the value of each run; None: it has no config."""
    known = {name: config for name, config in configs.items() if config}
    names = sorted({setting for config in known.values() for setting in config} - {"seed"})
    found = []
    for setting in names:
        values = [known[name].get(setting) for name in known]
        if any(value != values[0] for value in values[1:]):
            found.append({
                "setting": setting,
                "values": {name: config.get(setting) if config else None for name, config in configs.items()},
            })  # fmt: skip
    return found


def group_labels(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a label for each run: runs whose settings differ by the seed alone (and by the machine) share one.

    A group is named by the settings in which groups differ if they are few, otherwise by its first run.
    """
    keys = {name: _essential(config) for name, config in configs.items()}
    groups: dict[str, list[str]] = {}
    for name, key in keys.items():
        groups.setdefault(repr(sorted(key.items())) if key else name, []).append(name)
    settings = [one["setting"] for one in differing_settings(keys)]
    labels: dict[str, str] = {}
    for members in groups.values():
        first = members[0]
        label = first if len(members) == 1 else f"{first} and {len(members) - 1} more"
        if len(groups) > 1 and keys[first] and 0 < len(settings) <= NAMED_BY:
            label = ", ".join(f"{setting.rpartition('.')[2]} {keys[first].get(setting)}" for setting in settings)
        labels |= dict.fromkeys(members, label)
    return {name: labels[name] for name in configs}


def compare_groups(sources: Sequence[RunSource]) -> dict[str, Any] | None:
    """Compare groups of runs on the tasks that all of them have; None if fewer than two runs were played.

    The score of a run is the mean return of its episodes. With several tasks, scores are rescaled in each task so that the
    worst run has 0 and the best has 1, as returns of different tasks cannot be averaged.
    """
    scores: dict[str, dict[str, list[float]]] = {}  # label -> task -> scores
    for source in sources:
        if source.played is not None:
            scores.setdefault(source.label, {}).setdefault(source.task, []).append(float(source.played.returns.mean()))
    if sum(len(runs) for tasks in scores.values() for runs in tasks.values()) < 2:
        return None
    tasks = [task for task in next(iter(scores.values())) if all(task in group for group in scores.values())]
    if not tasks:
        return {
            "tasks": [],
            "note": "The groups have no task in common, so their returns are not compared.",
            "groups": [],
        }
    ranges = {task: _range([score for group in scores.values() for score in group[task]]) for task in tasks}
    rescaled = len(tasks) > 1
    by_group = {
        label: [_rescaled(group[task], ranges[task], rescaled) for task in tasks] for label, group in scores.items()
    }
    every = np.concatenate([np.concatenate(group) for group in by_group.values()])
    thresholds = np.linspace(every.min(), every.max(), THRESHOLDS)
    pairs = list(combinations(by_group, 2))
    return {
        "tasks": tasks,
        "rescaled": {task: list(ranges[task]) for task in tasks} if rescaled else None,
        "thresholds": thresholds.tolist(),
        "groups": [_group(label, group, thresholds) for label, group in by_group.items()],
        "improvement": [
            {
                "first": first, "second": second,
                "probability": probability_of_improvement(by_group[first], by_group[second]),
                "interval": improvement_interval(by_group[first], by_group[second]),
            }
            for first, second in (pairs if len(pairs) <= MOST_PAIRS else [])
        ],
    }  # fmt: skip


def _group(label: str, scores: list[Any], thresholds: Any) -> dict[str, Any]:
    share, low, high = performance_profile(scores, thresholds)
    return {
        "label": label, "runs": sum(map(len, scores)), "scores": [task.tolist() for task in scores],
        "mean": float(np.mean(np.concatenate(scores))), "iqm": aggregate_iqm(scores), "interval": aggregate_interval(scores),
        "profile": {"share": share.tolist(), "low": low.tolist(), "high": high.tolist()},
    }  # fmt: skip


def _essential(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in INCIDENTAL}


def _range(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _rescaled(values: list[float], ends: tuple[float, float], rescaled: bool) -> Any:
    array = np.array(values)
    if not rescaled:
        return array
    low, high = ends
    return (array - low) / (high - low) if high > low else np.zeros_like(array)
