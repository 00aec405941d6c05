"""Search for the smallest change of a past observation after which the agent would have acted differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqel.errors import ConfigError
from seqel.explanation.methods.occlusion import changes
from seqel.explanation.question import Question, explained
from seqel.explanation.reading import Reading, require_step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.explanation.trace import EpisodeTrace
    from seqel.spaces import Leaf

__all__ = ["Counterfactual", "search_counterfactuals"]

TRIES = 4_096  # changed observations that are tried
CODES = 64  # values of a category that are tried at one place
VALUES = 8  # values of a number that are tried at one place
ELEMENTS = 64  # a leaf with more elements is changed as a whole


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """A change of one past observation after which the decision is another one."""

    step: int
    leaf: str
    element: int | None  # place in the flattened leaf; None: the whole leaf is replaced
    before: Any
    after: Any
    changed: int  # elements of the leaf that differ
    size: float  # sum of the differences, each in standard deviations of that element; 1 for each changed code
    action: tuple[int, ...]  # (M,) the new choice, counted from 0
    value: NDArray[Any]  # (*shape) the leaf's new value


def search_counterfactuals(
    agent: Agent,
    trace: EpisodeTrace,
    decision: int,
    *,
    steps: Sequence[int] | None = None,
    others: Sequence[EpisodeTrace] = (),
    tries: int = TRIES,
    reading: Reading | None = None,
) -> list[Counterfactual]:
    """Return changes of one past observation after which the greedy action at `decision` is another one, the smallest first.

    Categories are tried with their other values. A number is tried with values that the same element has at other steps of
    this episode or of `others`; and every leaf is tried with its whole values there. Changes are ordered by
    the number of changed elements, then by their size. The result is empty if none of the changes that were tried is enough.

    Args:
        steps: where observations may be changed; None: at the decision and all steps before it.
        tries: how many changed observations are tried, at the steps with the largest occlusion first.

    Differs from gradient-based searches (Wachter et al. 2017, arXiv:1711.00399): only observed values are tried, so every
    changed observation is one that could occur; whether the episode as a whole could occur is not known.

    Raises:
        ConfigError: there is no such decision or step.
    """
    require_step(decision, trace)
    reading = reading or Reading(agent, trace)
    within = range(reading.first_needed(decision), decision + 1)
    wanted = [step for step in (within if steps is None else steps) if step in within]
    if steps is not None and any(not 0 <= step <= decision for step in steps):
        raise ConfigError(f"steps: expected 0 to {decision}, the decision, got {list(steps)}")
    if not wanted:
        return []
    now = explained(reading, [decision], Question())
    every = torch.tensor(sorted(wanted), device=reading.tokens.device)
    influence = changes(reading, now, every, reading.mean_token.expand(len(every), -1))[:, 0].abs()
    order = [sorted(wanted)[place] for place in influence.argsort(descending=True, stable=True).tolist()]
    pool = {leaf.path: _observed(leaf.path, [trace, *others]) for leaf in agent.observation_spec.leaves}
    options: list[tuple[int, Leaf, int | None, NDArray[Any]]] = []
    for step in order:
        for leaf in agent.observation_spec.leaves:
            current = trace.observation[leaf.path][step]
            options += [(step, leaf, element, value) for element, value in _values(leaf, current, pool[leaf.path])]
        if len(options) >= tries:
            break
    options = options[:tries]
    found = [
        _described(trace, option, action, pool)
        for option, action in zip(options, _choices(reading, options, decision), strict=True)
        if action != tuple(now.codes[0].tolist())
    ]
    return sorted(found, key=lambda one: (one.changed, one.size, decision - one.step))


def _observed(path: str, traces: Sequence[EpisodeTrace]) -> NDArray[Any]:
    """Return the distinct values of a leaf, (N, *shape)."""
    every = np.concatenate([trace.observation[path] for trace in traces])
    flat = np.ascontiguousarray(every.reshape(len(every), -1))
    keys = flat.view([("", flat.dtype)] * flat.shape[1])[:, 0] if flat.shape[1] <= ELEMENTS else None
    if keys is None:
        _, place = np.unique([hash(row.tobytes()) for row in flat], return_index=True)
    else:
        _, place = np.unique(keys, return_index=True)
    found: NDArray[Any] = every[np.sort(place)]
    return found


def _values(leaf: Leaf, current: NDArray[Any], pool: NDArray[Any]) -> Iterator[tuple[int | None, NDArray[Any]]]:
    """Yield other values of a leaf: with one element changed, where it is small, then whole ones."""
    flat = current.reshape(-1)
    if leaf.kind in ("categories", "token") and leaf.sizes:
        for element, size in enumerate(leaf.sizes[: len(flat)]):
            for code in range(min(size, CODES)):
                if code != flat[element]:
                    yield element, _with(current, element, code)
    elif leaf.kind == "vector" and len(flat) <= ELEMENTS:
        columns = pool.reshape(len(pool), -1)
        for element in range(len(flat)):
            for value in _spread_out(np.unique(columns[:, element])):
                if value != flat[element]:
                    yield element, _with(current, element, value)
    for whole in pool:
        if (whole != current).any():
            yield None, whole


def _spread_out(values: NDArray[Any]) -> NDArray[Any]:
    if len(values) <= VALUES:
        return values
    some: NDArray[Any] = values[np.linspace(0, len(values) - 1, VALUES).round().astype(int)]
    return some


def _with(value: NDArray[Any], element: int, new: Any) -> NDArray[Any]:
    other = value.copy()
    other.reshape(-1)[element] = new
    return other


@torch.inference_mode()
def _choices(
    reading: Reading, options: list[tuple[int, Leaf, int | None, NDArray[Any]]], decision: int
) -> list[tuple[int, ...]]:
    """Return the greedy action (M,) at the decision after each change, in the order of the options."""
    order = sorted(range(len(options)), key=lambda place: options[place][0])
    tokens = []
    for place in order:  # one at a time is fast enough: the encoder sees one step
        step, leaf, _, value = options[place]
        at = torch.tensor([step], device=reading.tokens.device)
        tokens.append(reading.embed(at, {leaf.path: torch.from_numpy(value[None].copy()).to(at.device)}))
    found: list[tuple[int, ...]] = [()] * len(options)
    if not options:
        return found
    steps = torch.tensor([options[place][0] for place in order], device=reading.tokens.device)
    for part, low, h in reading.variants(steps, torch.cat(tokens), decision):
        assert low + h.shape[1] - 1 == decision
        actions = reading.decision_scores(h[:, -1:], [decision]).argmax(dim=-1)[:, 0]  # (n, M)
        for place, action in zip(order[part], actions.tolist(), strict=True):
            found[place] = tuple(action)
    return found


def _described(
    trace: EpisodeTrace, option: tuple[int, Leaf, int | None, NDArray[Any]], action: tuple[int, ...],
    pool: dict[str, NDArray[Any]],
) -> Counterfactual:  # fmt: skip
    step, leaf, element, value = option
    before = trace.observation[leaf.path][step]
    differs = (value != before).reshape(-1)
    if leaf.kind in ("vector", "entities", "image"):
        seen = pool[leaf.path].reshape(len(pool[leaf.path]), -1).astype(np.float64)
        spread = np.where(seen.std(axis=0) > 1e-9, seen.std(axis=0), 1.0)
        size = float((np.abs(value.astype(np.float64) - before).reshape(-1) / spread).sum())
    else:
        size = float(differs.sum())
    if element is not None:
        old, new = before.reshape(-1)[element].item(), value.reshape(-1)[element].item()
    else:
        old, new = before, value
    return Counterfactual(step, leaf.path, element, old, new, int(differs.sum()), size, action, value)
