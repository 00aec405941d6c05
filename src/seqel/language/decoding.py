"""Writes text with an agent: the base policy, tilted towards return by one number, the dial.

At each step the agent's policy head gives the base policy pi, and its Q head the return to come. A token a is drawn from

    pi(a) E[exp(dial z)]      where the values are distributions; z is the return after a, in return scales
    pi(a) exp(dial Q(a))      where they are numbers

0 gives the base policy. With the distribution of the base policy's own returns, the first is the optimal policy for reward
minus KL / dial (Zhou et al. 2025, Q#, arXiv:2502.20548): no maximum over values is ever taken. The second is that of ILQL
(Snell et al. 2022, arXiv:2206.11871), whose advantage differs from Q by a number per step that does not matter here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.language.episodes import TOKEN
from seqel.language.tokenizer import BEGIN, END, Tokenizer
from seqel.spaces import FlatObservation
from seqel.types import QOutput
from seqel.values.base import ValueKind

__all__ = ["Written", "decode", "tilted", "write"]

AT_ONCE = 256  # texts that are written in step


@dataclass(frozen=True, slots=True)
class Written:
    """Tokens that were written after a prompt, and how far their distribution was from the base policy's."""

    tokens: list[int]  # without the one that ends a text
    ended: bool  # whether that one was drawn before the limit
    kl: float  # KL divergence from the base policy, the sum over the steps, in nats
    log_probability: float  # of the tokens under the base policy, with the one that ends the text


def tilted(out: QOutput, values: ValueKind, scale: Tensor, dial: float) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of the base policy and of the tilted one.  -> two (..., A).

    Raises ConfigError if the network has no policy head.
    """
    if out.policy_logits is None:
        raise ConfigError(
            "text: expected an agent with a policy head (network.policy_head = 'auxiliary'), got one without"
        )
    base = torch.log_softmax(out.policy_logits[..., 0, :].float(), dim=-1)
    if dial == 0.0:
        return base, base
    support = values.support(base)
    if support is not None:
        assert out.logits is not None
        chance = torch.log_softmax(out.logits[..., 0, :, :].float(), dim=-1)  # (..., A, bins)
        worth = torch.logsumexp(chance + dial * support, dim=-1)
    else:
        worth = dial * out.q[..., 0, :] / scale
    return base, torch.log_softmax(base + worth, dim=-1)


def decode(
    agent: Agent,
    prompts: Sequence[Sequence[int]],
    *,
    begin: int = BEGIN,
    end: int = END,
    dial: float = 0.0,
    limit: int = 200,
    temperature: float = 1.0,
    top_k: int = 0,
    rng: np.random.Generator | None = None,
) -> list[Written]:
    """Continue each prompt by at most `limit` tokens, all prompts in step, each with its own cache.

    prompts: their tokens, without `begin`, which is put before them and never drawn, unless it is also `end`, the token that
    ends a text.
    temperature: of the tilted policy; 0: the most probable token. top_k: draw among the k most probable tokens; 0: all. The
    KL divergence is that of the tilted policy, before temperature and top_k.

    Raises ConfigError if a number is out of range, or the agent has no policy head.
    """
    for name, value, low in (
        ("dial", dial, 0.0),
        ("limit", limit, 1),
        ("temperature", temperature, 0.0),
        ("top_k", top_k, 0),
    ):
        if not value >= low or not np.isfinite(value):
            raise ConfigError(f"{name}: expected a number of at least {low}, got {value}")
    rng = rng or np.random.default_rng()
    network = agent.network
    rows = len(prompts)
    given = [[begin, *prompt] for prompt in prompts]
    state = agent.initial_state(rows)
    written: list[list[int]] = [[] for _ in range(rows)]
    ended, kl, log_probability = np.zeros(rows, bool), np.zeros(rows), np.zeros(rows)
    longest = max(map(len, given), default=0)
    step = np.zeros(rows, np.int64)  # tokens of each row that were read
    open_rows = np.arange(rows)
    for _ in range(longest + limit):
        if not len(open_rows):
            break
        tokens = np.array([_token(given[row], written[row], int(step[row])) for row in open_rows], np.int32)
        out = agent.outputs(
            FlatObservation({TOKEN: tokens[:, None]}), state, reward=np.zeros(len(tokens), np.float32),
            first=step[open_rows] == 0, previous_action=tokens[:, None].astype(np.int64), rows=open_rows,
        )  # fmt: skip
        step[open_rows] += 1
        writes = np.array([step[row] >= len(given[row]) for row in open_rows])
        with torch.inference_mode():
            base, policy = tilted(out, network.head.values, network.head.scale, dial)
            divergence = (policy.exp() * (policy - base)).sum(dim=-1).double().cpu().numpy()
        chances = policy.cpu().numpy().astype(np.float64)
        if begin != end:
            chances[:, begin] = -np.inf
        drawn = _draw(chances, temperature, top_k, rng)
        chosen = base.cpu().numpy()[np.arange(len(drawn)), drawn]
        for place in np.flatnonzero(writes):
            row, token = int(open_rows[place]), int(drawn[place])
            kl[row] += max(0.0, divergence[place])
            log_probability[row] += chosen[place]
            if token == end:
                ended[row] = True
            else:
                written[row].append(token)
        full = np.array([len(written[row]) >= limit for row in open_rows])
        open_rows = open_rows[~(ended[open_rows] | full)]
    return [
        Written(tokens, bool(ended[row]), float(kl[row]), float(log_probability[row]))
        for row, tokens in enumerate(written)
    ]


def write(agent: Agent, prompts: Sequence[Sequence[int]], tokenizer: Tokenizer, **options: Any) -> list[Written]:
    """Continue any number of prompts, many of them in step; as `decode` otherwise."""
    options |= {"begin": tokenizer.begin, "end": tokenizer.end}
    return [
        one
        for start in range(0, len(prompts), AT_ONCE)
        for one in decode(agent, prompts[start : start + AT_ONCE], **options)
    ]


def _token(given: list[int], written: list[int], place: int) -> int:
    return given[place] if place < len(given) else written[place - len(given)]


def _draw(policy: NDArray[np.float64], temperature: float, top_k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a token per row from log-probabilities (R, A)."""
    if temperature == 0.0:
        best: NDArray[np.int64] = policy.argmax(axis=1)
        return best
    if top_k and top_k < policy.shape[1]:
        least = np.partition(policy, -top_k, axis=1)[:, -top_k, None]
        policy = np.where(policy >= least, policy, -np.inf)
    noise = rng.gumbel(size=policy.shape)
    drawn: NDArray[np.int64] = (policy / temperature + noise).argmax(axis=1)
    return drawn
