"""The figures of one run's report, as plain values: `seqel report --json` prints them, and the page shows nothing else."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.reports.calibration import UNSEEN, calibrate, calibration_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.evaluation.recording import PlayedEpisodes
    from seqel.spaces import ActionSpec

__all__ = ["RunSource", "finite", "run_figures"]

BINS = 20  # of a histogram
HARDEST = 10  # episodes
MOST_ACTIONS = 20  # of a dimension; the others are summed up
RECORDED = ("unexplained", "imitation", "agreement", "first_value", "first_return", "td_error")


@dataclass(frozen=True, slots=True)
class RunSource:
    """What is known of a run before its figures are computed."""

    name: str
    path: str  # as it was given
    label: str  # runs with the same label differ by their seed alone
    task: str  # environment with its arguments
    config: dict[str, Any]  # dotted name of a setting -> value; empty for an agent without a run
    records: list[dict[str, Any]]  # of metrics.jsonl
    discount: float
    action: ActionSpec
    played: PlayedEpisodes | None  # None: there is no environment
    replay: str = ""  # options of `seqel explain` in addition to the seed, for instance --env


def run_figures(source: RunSource) -> dict[str, Any]:
    """Return the figures of one run; entries that do not exist are None, and so are numbers that are not finite."""
    played = source.played
    last = source.records[-1] if source.records else {}
    found: dict[str, Any] = {
        "name": source.name,
        "path": source.path,
        "label": source.label,
        "task": source.task,
        "seed": source.config.get("seed"),
        "discount": source.discount,
        "steps": last.get("steps"),
        "updates": last.get("updates"),
        "seconds": last.get("seconds"),
        "curve": learning_curve(source.records),
        "episodes": None,
        "returns": None,
        "lengths": None,
        "calibration": None,
        "calibration_note": None,
        "actions": None,
        "hardest": None,
    }
    if played is not None:
        evaluation = played.evaluation()
        found["episodes"] = {
            **evaluation.as_json(),
            "terminated": int(played.terminated.sum()),
            "truncated": int((~played.terminated).sum()),
            "steps": int(played.lengths.sum()),
        }
        found["returns"] = distribution(played.returns)
        found["lengths"] = distribution(played.lengths)
        found["calibration"], found["calibration_note"] = _calibration(source, played)
        found["actions"] = action_use(played, source.action)
        found["hardest"] = hardest(played, source.path, source.replay)
    cleaned: dict[str, Any] = finite(found)
    return cleaned


def finite(value: Any) -> Any:
    """Return a value of JSON's kinds, in which numbers that are not finite are None."""
    if isinstance(value, Mapping):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Sequence):
        return [finite(part) for part in value]
    if isinstance(value, np.generic | np.ndarray):
        return finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def learning_curve(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the validations and the exploring episodes of a run, at their environment steps, or updates on recorded data.

    `unit` says which. A validation on held-out episodes has their figures in place of a return.
    """
    validations = [line for line in records if isinstance(line.get("validation"), dict)]
    recorded = any("agreement" in line["validation"] for line in validations)
    unit = "updates" if recorded else "steps"
    points = []
    for line in validations:
        figures = line["validation"]
        low, high = figures.get("interval") or (None, None)
        point = {"at": line[unit], "mean": figures.get("mean"), "low": low, "high": high}
        point["success"] = figures.get("success")
        points.append(point | {name: figures[name] for name in RECORDED if recorded and name in figures})
    training = [[line[unit], line["return"]] for line in records if line.get("return") is not None]
    return {"unit": unit, "recorded": recorded, "validation": points, "training": training}


def distribution(values: NDArray[Any]) -> dict[str, Any]:
    """Return a histogram and quantiles. Whole numbers that span few values have a bin each."""
    values = np.asarray(values, np.float64)
    low, high = float(values.min()), float(values.max())
    whole = bool((values == np.round(values)).all())
    if whole and high - low < BINS:
        edges = np.arange(low - 0.5, high + 1.0)
    else:
        edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    counts, _ = np.histogram(values, edges)
    quantiles = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    return {
        "counts": counts.tolist(), "edges": edges.tolist(), "min": low, "max": high, "mean": float(values.mean()),
        "std": float(values.std()), "quantiles": dict(zip(("5", "25", "50", "75", "95"), quantiles.tolist(), strict=True)),
    }  # fmt: skip


def action_use(played: PlayedEpisodes, action: ActionSpec) -> list[list[dict[str, Any]]]:
    """Return for each action dimension its most frequent actions: number, share, and mean predicted value when chosen."""
    found = []
    for dim, (size, start) in enumerate(zip(action.sizes, action.start, strict=True)):
        chosen = played.action[:, dim]
        counts = np.bincount(chosen, minlength=size)
        sums = np.bincount(chosen, played.q.astype(np.float64), size)
        order = np.argsort(-counts, kind="stable")[:MOST_ACTIONS]
        order = np.sort(order) if size <= MOST_ACTIONS else order
        rows: list[dict[str, Any]] = [
            {
                "action": str(code + start), "share": float(counts[code] / len(chosen)),
                "value": float(sums[code] / counts[code]) if counts[code] else math.nan,
            }
            for code in order.tolist()
        ]  # fmt: skip
        if size > MOST_ACTIONS:
            others = np.setdiff1d(np.arange(size), order)
            count = int(counts[others].sum())
            rows.append({
                "action": f"{len(others):,} others", "share": count / len(chosen),
                "value": float(sums[others].sum() / count) if count else math.nan,
            })  # fmt: skip
        found.append(rows)
    return found


def hardest(played: PlayedEpisodes, path: str, replay: str = "", most: int = HARDEST) -> list[dict[str, Any]]:
    """Return the episodes with the lowest returns, each with its seed and the command that opens it."""
    returns = played.returns
    found = []
    for episode in np.argsort(returns, kind="stable")[:most].tolist():
        seed = played.seed + episode
        success = float(played.success[episode])
        found.append({
            "seed": seed, "return": float(returns[episode]), "length": int(played.lengths[episode]),
            "success": success, "end": "terminated" if played.terminated[episode] else "truncated",
            "command": f"seqel explain {shlex.quote(path)} --seed {seed}{replay}",
        })  # fmt: skip
    return found


def _calibration(source: RunSource, played: PlayedEpisodes) -> tuple[dict[str, Any] | None, str | None]:
    """The calibration and None, or None and why there is none."""
    if source.config.get("objective.td_weight") == 0.0:
        return None, "The run did not train values (objective.td_weight = 0), so they predict nothing."
    found = calibrate(played, source.discount)
    if found is None:
        return None, (
            f"Every episode was truncated, and with the discount {source.discount:g} the rewards beyond the end have more "
            f"than {UNSEEN:.0%} of the weight at every step: what the agent would have earned is not known."
        )
    return dataclasses.asdict(found) | {"points": calibration_points(played, source.discount)}, None
