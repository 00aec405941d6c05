"""An analysis of recorded data before training: counts, distributions and warnings, as plain values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.inspection.leakage import suspicious
from seqel.replay.layout import BEHAVIOUR
from seqel.terminal import percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.datasets.dataset import Dataset

__all__ = ["analyse", "bar", "by_column", "histogram", "shortened"]

QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}
RARE_ACTION = 0.001  # share of the transitions
FEW = 30  # transitions of an action; fewer say little about it
TENSORS = 8  # approximate number of tensors with values of all actions that an update holds at once
UPDATE_STEPS = 1_664  # `replay.batch_tokens` of the presets for recorded data
CROWDED = 0.8  # with this share of the values in one bin of equal width, the bins show nothing
BLOCKS = " ▏▎▍▌▋▊▉█"


def analyse(dataset: Dataset, held_out: float = 0.1, seed: int = 0) -> dict[str, Any]:
    """Return counts, distributions, and `warnings`, one sentence each, about what to check."""
    recorded, report = dataset.buffer, dataset.report
    own = np.asarray(recorded.slots.columns["by_agent"])
    reward = np.asarray(recorded.slots.columns["reward"])[own]
    action = np.asarray(recorded.slots.columns["action"])[own]  # (N, M)
    terminated = int(recorded.table.numbers[:, recorded.table.TERMINATED].sum())
    leaks = suspicious(dataset)
    found: dict[str, Any] = {
        "rows": report.get("rows", len(recorded)),
        "sessions": report.get("table_sessions", recorded.episodes),
        "transitions": len(recorded),
        "episodes": recorded.episodes,
        "terminated": terminated,
        "truncated": recorded.episodes - terminated,
        "lengths": quantiles(recorded.lengths),
        "reward": {
            **quantiles(reward),
            "mean": float(reward.mean(dtype=np.float64)),
            "std": float(reward.std(dtype=np.float64)),
            "zero": float(np.mean(reward == 0)),
            "constant": bool((reward == reward[0]).all()),
            "histogram": histogram(reward),
        },
        "returns": quantiles(recorded.returns()),
        "actions": _actions(dataset, action),
        "missing": {name: count / max(1, report["rows"]) for name, count in report.get("missing", {}).items()},
        **{
            name: report.get(name, 0)
            for name in ("duplicates", "ties", "out_of_order", "final_rows", "dropped_steps", "dropped_sessions")
        },
        "first_duplicate": report.get("first_duplicate"),
        "rare_categories": report.get("rare", {}),
        "categories": report.get("categories", {}),
        "mask_bytes": columns["action_mask"].nbytes if "action_mask" in (columns := recorded.slots.columns) else 0,
        "texts": report.get("texts", {}),
        "resolution": report.get("resolution", {}),
        "leaks": [{"column": leak.column, "tells": leak.tells, "share": leak.share} for leak in leaks],
        "behaviour": _behaviour(dataset, own),
        "trained_on": _trained_on(dataset, held_out, seed),
    }
    found["warnings"] = [*_warnings(found), *map(str, leaks)]
    return found


def _actions(dataset: Dataset, taken: NDArray[Any]) -> list[dict[str, Any]]:
    """Each action and how often it was taken, (N, M); where there are several columns, "COLUMN = NAME"."""
    encoding, spec = dataset.encoding, dataset.action
    columns: tuple[str, ...] = tuple(f"dimension {dim}" for dim in range(spec.dims))
    names: tuple[tuple[str, ...], ...] = tuple(
        tuple(str(code) for code in range(start, start + size))
        for start, size in zip(spec.start, spec.sizes, strict=True)
    )
    if encoding is not None:
        columns, names = encoding.schema.action_columns, encoding.names
    out = []
    for dim, known in enumerate(names):
        counts = np.bincount(taken[:, dim], minlength=len(known))
        before = f"{columns[dim]} = " if len(names) > 1 else ""
        out += [
            {"name": before + name, "count": int(count), "share": float(count / max(1, len(taken)))}
            for name, count in zip(known, counts, strict=True)
        ]
    return out


def by_column(analysis: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the `actions` of an analysis, a list for each action column, the most frequent first."""
    actions, sizes = analysis["actions"], analysis["trained_on"]["actions"]
    ends = np.cumsum(sizes if isinstance(sizes, list) else [len(actions)]).tolist()
    parts = [actions[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return [sorted(part, key=lambda one: -one["count"]) for part in parts]


def quantiles(values: NDArray[Any]) -> dict[str, float]:
    """Return the quantiles, name -> value.  values (N,), N at least 1."""
    return dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values())).astype(float).tolist(), strict=True))


def histogram(values: NDArray[Any], bins: int = 12) -> list[dict[str, Any]]:
    """Return [{"from", "to", "count"}]: one bin per value if there are at most `bins`, else bins of equal width; if nearly
    all values would be in one of these, as with a heavy tail, bins with about equally many values."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= bins:
        return [{"from": float(v), "to": float(v), "count": int(c)} for v, c in zip(distinct, counts, strict=True)]
    counts, edges = np.histogram(values.astype(np.float64), bins)
    if counts.max() > CROWDED * len(values):
        edges = np.unique(np.quantile(values.astype(np.float64), np.linspace(0.0, 1.0, bins + 1)))
        # a value that fills several bins gets a bin of its own
        counts = np.histogram(values.astype(np.float64), edges)[0]
    return [
        {"from": float(low), "to": float(high), "count": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def bar(share: float, width: int = 24) -> str:
    """Draw a bar of `share` (0 to 1) of the width, in eighths of a character; a bar above zero is always visible."""
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    full, rest = divmod(eighths, 8)
    return "█" * full + (BLOCKS[rest] if rest else "")


def shortened(names: list[str], width: int = 24) -> list[str]:
    """Shorten names to at most `width` characters by cutting the middle; equal results get a number at the end."""
    half = (width - 3) // 2
    cut = [name if len(name) <= width else f"{name[: width - 3 - half]}...{name[len(name) - half :]}" for name in names]
    seen: dict[str, int] = {}
    out = []
    for name in cut:
        seen[name] = seen.get(name, 0) + 1
        mark = f" #{seen[name]}"
        out.append(name if seen[name] == 1 else name[: width - len(mark)] + mark)
    return out


def _behaviour(dataset: Dataset, own: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Summarise the recorded probabilities; None if there are none."""
    columns = dataset.buffer.slots.columns
    chance = np.asarray(columns[BEHAVIOUR])[own]
    known = ~np.isnan(chance)
    if not known.any():
        return None
    inverse = 1.0 / chance[known].astype(np.float64)
    if "action_mask" in columns:
        allowed = np.asarray(columns["action_mask"])[own][known].sum(axis=-1)  # (N,) or (N, M)
        choices = float(allowed.reshape(len(allowed), -1).astype(np.float64).prod(axis=1).mean())
    else:
        choices = float(math.prod(dataset.action.sizes))
    return {
        "known": float(known.mean()),
        "min": float(chance[known].min()),
        "max": float(chance[known].max()),
        "always_one": bool((chance[known] == 1).all()),
        "mean_inverse": float(inverse.mean()),
        "mean_inverse_error": float(inverse.std() / np.sqrt(len(inverse))),
        "choices": choices,
    }


def _trained_on(dataset: Dataset, held_out: float, seed: int) -> dict[str, Any]:
    held = dataset.split(held_out, seed)[1] if dataset.buffer.episodes > 1 else np.zeros(0, np.int64)
    return {
        "observation": [
            {"path": leaf.path, "kind": leaf.kind, "shape": list(leaf.shape), "dtype": leaf.dtype}
            for leaf in dataset.observation.leaves
        ],
        "actions": len(dataset.actions) if dataset.action.dims == 1 else list(dataset.action.sizes),
        "masked": dataset.buffer.layout.masked,
        "held_out_sessions": len(held),
        "sessions": dataset.buffer.episodes - len(held),
        "transitions": int(len(dataset.buffer) - dataset.buffer.lengths[held].sum()),
    }


def _warnings(found: dict[str, Any]) -> list[str]:
    out: list[str] = []
    if found["duplicates"]:
        out.append(
            f"{found['duplicates']:,} rows repeat another row in every column, the first of them {found['first_duplicate']}: "
            "training refuses them; remove them from the file"
        )
    if found["ties"]:
        out.append(
            f"{found['ties']:,} rows have the same order as the row before in their session: they keep the order of the "
            "file; if these are several sessions with one name, give each a name of its own"
        )
    if found["out_of_order"]:
        out.append(
            f"{found['out_of_order']:,} rows are before a row that should precede them in their session: they were sorted"
        )
    if found["reward"]["constant"]:
        out.append(f"the reward is {found['reward']['mean']:g} in every row, so all actions are equally good")
    if found["episodes"] == 1:
        out.append("there is a single session: nothing can be held out, so the result cannot be estimated")
    if found["dropped_sessions"]:
        out.append(
            f"{found['dropped_sessions']:,} sessions have no transition (a single row that was truncated): left out"
        )
    if found["dropped_steps"]:
        out.append(
            f"{found['dropped_steps']:,} sessions are truncated without a final observation: their last action and reward "
            "are dropped, because the observation after them is not known"
        )
    if len(found["actions"]) == 1:
        out.append(f"there is a single action, {found['actions'][0]['name']!r}: there is nothing to decide")
    values = TENSORS * UPDATE_STEPS * len(found["actions"]) * 4 / 2**30
    if values > 0.5:
        out.append(
            f"there are {len(found['actions']):,} actions, and a value is computed for each of them at every step: about "
            f"{values:.1f} GiB and accordingly more time for one update; sampled actions (learner.sampled_negatives=200) or "
            "features of the actions (offline.action_features=FILE) take less"
        )
    if found["mask_bytes"] > 2**30:
        out.append(
            f"the masks of {len(found['actions']):,} actions take {found['mask_bytes'] / 2**30:.1f} GiB: leave the mask "
            "column out of the schema to save them"
        )
    never = [one["name"] for one in found["actions"] if one["count"] == 0]
    if never:
        out.append(f"{len(never)} actions never occur ({_some(never)}): the data say nothing about them")
    rare = [one["name"] for one in found["actions"] if 0 < one["count"] < max(FEW, RARE_ACTION * found["transitions"])]
    if rare and len(found["actions"]) > 1:
        out.append(f"{len(rare)} actions are rare ({_some(rare)}): estimates of them will be uncertain")
    rare = [
        f"{name}: {count:,} of {found['categories'][name]:,}"
        for name, count in found["rare_categories"].items()
        if count
    ]
    if rare:
        out.append(f"categories that occur fewer than 5 times ({_some(rare)}): little can be learned about them")
    for name, share in found["missing"].items():
        if share > 0.5:
            out.append(f"column {name!r} is missing in {share:.0%} of the rows")
    for name, read in found["texts"].items():
        if read["truncated"]:
            truncated, unread = percent(read["truncated"] / read["texts"]), percent(read["unread"] / read["bytes"])
            out.append(
                f"column {name!r}: {truncated} of the texts are longer than the {read['length']} bytes that are read, and "
                f"{unread} of all text is not read: texts that differ only there look the same; text_length in the schema "
                "sets how much"
            )
    for name, step in found["resolution"].items():
        out.append(
            f"column {name!r}: integers less than {step:,.0f} apart may look the same (observations are float32): use a "
            "difference, such as seconds since the session began, or a category"
        )
    behaviour = found["behaviour"]
    if behaviour is not None:
        if behaviour["always_one"]:
            out.append(
                "every behaviour probability is 1: no other action was ever tried, so other actions cannot be evaluated"
            )
        elif abs(behaviour["mean_inverse"] - behaviour["choices"]) > max(
            0.1 * behaviour["choices"], 4 * behaviour["mean_inverse_error"]
        ):
            out.append(
                f"the mean of 1 / behaviour probability is {behaviour['mean_inverse']:.3g}, but should be about the number "
                f"of actions, {behaviour['choices']:.3g}: check that these are the probabilities of the recorded actions"
            )
    return out


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
