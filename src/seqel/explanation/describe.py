"""Steps and actions in words, for pages and terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.encoding import CATEGORIES, CONSTANT, NUMBERS, Encoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.explanation.trace import EpisodeTrace
    from seqel.spaces import Leaf

__all__ = ["ActionNames", "leaf_text", "step_facts"]

SHOWN = 12  # numbers of an array
LARGE = 64  # numbers, above which an array is not written out


class ActionNames:
    """Names of actions: those of the table that the agent was trained on, or given ones, else numbers as in the environment.

    names: of the actions of the only dimension.
    """

    def __init__(self, agent: Agent, names: Sequence[str] | None = None) -> None:
        self.spec = agent.action_spec
        kept = agent.info.get("encoding")
        self.names: tuple[tuple[str, ...], ...] | None = None
        if kept:
            self.names = Encoding.from_json(kept).names
        elif names is not None and self.spec.sizes == (len(names),):
            self.names = (tuple(names),)

    def __call__(self, codes: int | Sequence[int]) -> str:
        """Return the name of an action, a code or M codes that count from 0."""
        several = [codes] if isinstance(codes, int | np.integer) else list(codes)
        if self.names is not None:
            return ", ".join(str(self.names[dim][code]) for dim, code in enumerate(several))
        return ", ".join(str(code + start) for code, start in zip(several, self.spec.start, strict=True))


def step_facts(
    agent: Agent,
    trace: EpisodeTrace,
    step: int,
    row: Mapping[str, Any] | None = None,
    texts: Sequence[str] = (),
    large: bool = True,
) -> list[tuple[str, str]]:
    """Return the names and values of what was observed at a step.

    row: the row of a table, if the values are known as they were. texts: leaves that are shown elsewhere and left out.
    large: also name leaves that are too large to be written out.
    """
    if row is not None:
        return [(name, "missing" if value is None else str(value)) for name, value in row.items() if name not in texts]
    kept = agent.info.get("encoding")
    encoding = Encoding.from_json(kept) if kept else None
    found: list[tuple[str, str]] = []
    for leaf in agent.observation_spec.leaves:
        value = trace.observation[leaf.path][step]
        if leaf.path != CONSTANT and leaf.path not in texts and (large or value.size <= LARGE):
            found += _leaf_facts(leaf, value, encoding)
    return found


def leaf_text(agent: Agent, path: str, value: NDArray[Any], element: int | None = None) -> tuple[str, str]:
    """Return the name and the value of a leaf of an observation, or of one of its elements."""
    kept = agent.info.get("encoding")
    leaf = next(one for one in agent.observation_spec.leaves if one.path == path)
    facts = _leaf_facts(leaf, value, Encoding.from_json(kept) if kept else None)
    if element is None or (len(facts) == 1 < value.size <= SHOWN):
        return path, "; ".join(text for _, text in facts)
    if len(facts) == value.size:  # a fact for each column
        return facts[element]
    name = path if value.size == 1 else f"element {element} of {path}"
    start = leaf.offset[element] if leaf.kind == "categories" and leaf.offset else 0
    return name, _number(value.reshape(-1)[element].item() + start)


def _leaf_facts(leaf: Leaf, value: NDArray[Any], encoding: Encoding | None) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if encoding is not None and leaf.path == CATEGORIES:
        for name, code in zip(encoding.schema.of_kind("category"), value.tolist(), strict=True):
            known = encoding.vocabularies[name]
            found.append((name, known[code - 1] if 0 < code <= len(known) else "unknown"))
    elif encoding is not None and leaf.path == NUMBERS:
        for name, number in zip(encoding.schema.of_kind("number"), value.tolist(), strict=False):
            found.append((name, _number(number + encoding.offsets.get(name, 0.0))))
    elif leaf.kind == "categories" and leaf.offset:
        found.append((leaf.path, _array(value + np.array(leaf.offset, value.dtype).reshape(value.shape))))
    elif leaf.kind == "text":
        found.append((leaf.path, "a text"))
    elif value.size > LARGE:
        found.append((leaf.path, f"{leaf.kind} {' x '.join(map(str, value.shape))}"))
    else:
        found.append((leaf.path, _array(value)))
    return found


def _array(value: NDArray[Any]) -> str:
    flat = value.reshape(-1).tolist()
    more = f", ... ({len(flat)} numbers)" if len(flat) > SHOWN else ""
    return ", ".join(map(_number, flat[:SHOWN])) + more


def _number(value: float) -> str:
    return str(value) if isinstance(value, int | bool) else f"{value:.4g}"
