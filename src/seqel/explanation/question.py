"""The explained score: the score of one action, or by how much it exceeds that of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.explanation.reading import NUMBERS, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seqel.agents.agent import Agent

__all__ = ["Explained", "Question", "explained"]

Codes = int | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A number that depends on a decision. Actions are counted from 0; with M > 1 dimensions they are tuples of M numbers.

    action: the action in question; None: the agent's own choice, at each decision. over: "runner-up", the second best action;
    another action; or None for the score of `action` alone. Scores are values in units of reward, or log-probabilities in
    nats where the policy head decides.

    In most tasks, ask for a gap: a value also contains the return that every action would have.
    """

    action: Codes | None = None
    over: Codes | str | None = "runner-up"


@dataclass(frozen=True, slots=True)
class Explained:
    """The actions that a question means at each of S decisions."""

    steps: tuple[int, ...]
    codes: Tensor  # (S, M)
    others: Tensor | None  # (S, M); None: the score of `codes` alone

    def values(self, reading: Reading, h: Tensor, which: Tensor | slice = slice(None)) -> Tensor:
        """Return the explained score: attended states h (..., S, D) of the decisions `which` -> (..., S)."""
        if self.others is None:
            return reading.joint(h, self.codes[which])
        return reading.gap(h, self.codes[which], self.others[which])


def explained(reading: Reading, steps: Sequence[int], question: Question) -> Explained:
    """Find the actions that the question means at these decisions.

    If only one action is allowed, there is no second-best action, and the gap is 0.

    Raises:
        ConfigError: there is no such action.
    """
    spec = reading.agent.action_spec
    best, second = _two_best(reading, steps)
    codes = best if question.action is None else _fixed(reading.agent, question.action).expand_as(best).to(best.device)
    others: Tensor | None = None
    if question.over == "runner-up":
        # the best one other than `action`
        same = (codes == best).all(dim=-1, keepdim=True)
        others = torch.where(same, second, best)
    elif isinstance(question.over, str):
        raise ConfigError(f"question: expected over='runner-up', an action or None, got {question.over!r}")
    elif question.over is not None:
        others = _fixed(reading.agent, question.over).expand_as(best).to(best.device)
    assert codes.shape == (len(steps), spec.dims)
    return Explained(tuple(steps), codes, others)


def _fixed(agent: Agent, action: Codes) -> Tensor:
    sizes = agent.action_spec.sizes
    given = (action,) if isinstance(action, int) else tuple(action)
    if len(given) != len(sizes) or not all(0 <= code < size for code, size in zip(given, sizes, strict=False)):
        expected = f"0 to {sizes[0] - 1}" if len(sizes) == 1 else f"{len(sizes)} numbers below {list(sizes)}"
        raise ConfigError(f"action: expected {expected}, counted from 0, got {action!r}")
    return torch.tensor([given], dtype=torch.int64)


@torch.no_grad()  # not inference mode: slopes need these numbers as ordinary tensors
def _two_best(reading: Reading, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the greedy action and the second best one at each decision, (S, M) each."""
    h = reading.states(reading.tokens[None])[0]
    at = torch.tensor(list(steps), dtype=torch.int64, device=h.device)
    rows = max(1, NUMBERS // max(1, reading.agent.action_spec.actions * reading.agent.action_spec.dims))
    best, second = [], []
    for part in torch.split(at, rows):
        found = reading.decision_scores(h[part], part.tolist())  # (n, M, A)
        top = found.topk(min(2, found.shape[-1]), dim=-1)
        chosen = top.indices[..., 0]
        best.append(chosen)
        second.append(_runner_up(chosen, top.values, top.indices))
    return torch.cat(best), torch.cat(second)


def _runner_up(chosen: Tensor, values: Tensor, indices: Tensor) -> Tensor:
    """Return the second best joint action: the best one with the dimension changed in which that costs least.  (n, M)."""
    if values.shape[-1] < 2:
        return chosen
    cost = values[..., 0] - values[..., 1]  # (n, M); infinite where nothing else is allowed
    dim = cost.argmin(dim=-1, keepdim=True)
    other = chosen.scatter(-1, dim, indices[..., 1].gather(-1, dim))
    return torch.where(cost.gather(-1, dim).isfinite(), other, chosen)
