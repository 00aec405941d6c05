"""Writes text with an agent: the base policy, tilted towards return by one number, the dial.

At each step the agent's policy head gives the base policy pi, and its Q head the return to come. A token a is drawn from

    pi(a) exp(dial Q(a))      with tilt "mean"; Q is the expected return after a, in return scales
    pi(a) E[exp(dial z)]      with tilt "distribution", where the values are distributions of that return z

0 gives the base policy. With the distribution of the base policy's own returns, the second is the optimal policy for reward
minus KL / dial (Zhou et al. 2025, Q#, arXiv:2502.20548): no maximum over values is ever taken. The first is that of ILQL
(Snell et al. 2022, arXiv:2206.11871), whose advantage differs from Q by a number per step that does not matter here. It is
the default, because the exponential picks what little probability a distribution has left at large returns: a network that
is not fitted well then writes noise (docs/experiments.md, "Text").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.agents.agent import Agent, AgentState
from seqel.errors import ConfigError
from seqel.language.blocking import BlockedPhrases, Guard
from seqel.language.episodes import TOKEN
from seqel.language.tokenizer import BEGIN, END, Tokenizer
from seqel.spaces import FlatObservation
from seqel.types import QOutput
from seqel.values.base import ValueKind

__all__ = ["Tilt", "Written", "decode", "read_tokens", "step", "tilted", "worth", "write"]

Tilt = Literal["mean", "distribution"]
AT_ONCE = 256  # texts that are written in step


@dataclass(frozen=True, slots=True)
class Written:
    """Tokens that were written after a prompt, and how far their distribution was from the base policy's."""

    tokens: list[int]  # without the one that ends a text
    ended: bool  # whether that one was drawn before the limit
    kl: float  # KL divergence from the base policy, the sum over the steps, in nats
    log_probability: float  # of the tokens under the base policy, with the one that ends the text


def tilted(out: QOutput, values: ValueKind, scale: Tensor, dial: float, tilt: Tilt = "mean") -> tuple[Tensor, Tensor]:
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
    return base, torch.log_softmax(base + worth(out, values, scale, dial, tilt), dim=-1)


def worth(out: QOutput, values: ValueKind, scale: Tensor, dial: float, tilt: Tilt = "mean") -> Tensor:
    """Return what the dial adds to the log-probability of each token, up to a number per step.  -> (..., A).

    Raises ConfigError if `tilt` is not known, or needs distributions that the agent does not have.
    """
    if tilt not in get_args(Tilt):
        raise ConfigError(f"tilt: expected one of {', '.join(get_args(Tilt))}, got {tilt!r}")
    support = values.support(out.q)
    if tilt == "distribution" and support is None:
        raise ConfigError("tilt: expected 'mean', because the values of this agent are numbers, got 'distribution'")
    if tilt == "mean":
        return dial * out.q[..., 0, :] / scale
    assert out.logits is not None and support is not None
    chance = torch.log_softmax(out.logits[..., 0, :, :].float(), dim=-1)  # (..., A, bins)
    return torch.logsumexp(chance + dial * support, dim=-1)


def decode(
    agent: Agent,
    prompts: Sequence[Sequence[int]],
    *,
    begin: int = BEGIN,
    end: int = END,
    dial: float = 0.0,
    tilt: Tilt = "mean",
    limit: int = 200,
    temperature: float = 1.0,
    top_k: int = 0,
    rng: np.random.Generator | None = None,
    guard: Guard | None = None,
) -> list[Written]:
    """Continue each prompt by at most `limit` tokens, all prompts in step, each with its own cache.

    prompts: their tokens, without `begin`, which is put before them and never drawn, unless it is also `end`, the token that
    ends a text.
    temperature: of the tilted policy; 0: the most probable token. top_k: draw among the k most probable tokens; 0: all. The
    KL divergence is that of the tilted policy, before temperature, top_k and the guard.
    guard: refuses tokens, of these prompts; a text in which nothing may follow ends there.

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
    if not prompts:
        return []
    rng, network = rng or np.random.default_rng(), agent.network
    state, latest = read_tokens(agent, [[begin, *prompt] for prompt in prompts])
    rows = len(prompts)
    written, length, ended = np.zeros((rows, limit), np.int64), np.zeros(rows, np.int64), np.zeros(rows, bool)
    kl, log_probability = np.zeros(rows), np.zeros(rows)
    writing = np.arange(rows)  # rows that were not ended
    for place in range(limit):
        out = step(agent, latest[writing], state, None if len(writing) == rows else writing)
        with torch.inference_mode():
            base, policy = tilted(out, network.head.values, network.head.scale, dial, tilt)
            divergence = (policy.exp() * (policy - base)).sum(dim=-1).double().cpu().numpy()
        log_probabilities = policy.cpu().numpy().astype(np.float64)
        if begin != end:
            log_probabilities[:, begin] = -np.inf
        drawn = _draw(log_probabilities, temperature, top_k, rng)
        if guard is not None:
            so_far = (written[row, :place].tolist() for row in writing)
            for at, (row, tokens) in enumerate(zip(writing.tolist(), so_far, strict=True)):
                while not guard.allows(row, [*tokens, int(drawn[at])], drawn[at] == end):
                    log_probabilities[at, drawn[at]] = -np.inf
                    if not np.isfinite(log_probabilities[at]).any():
                        drawn[at] = end
                        break
                    drawn[at] = _draw(log_probabilities[at : at + 1], temperature, top_k, rng)[0]
        kl[writing] += np.maximum(0.0, divergence)
        log_probability[writing] += base.cpu().numpy()[np.arange(len(drawn)), drawn]
        written[writing, place] = latest[writing] = drawn
        over = drawn == end
        ended[writing[over]] = True
        writing = writing[~over]
        length[writing] += 1
        if not len(writing):
            break
    texts = [written[row, : length[row]].tolist() for row in range(rows)]
    if guard is not None:
        texts = [guard.shortened(row, tokens) for row, tokens in enumerate(texts)]
    return [
        Written(tokens, bool(ended[row]), float(kl[row]), float(log_probability[row]))
        for row, tokens in enumerate(texts)
    ]


def step(agent: Agent, tokens: NDArray[np.int64], state: AgentState, rows: NDArray[np.int64] | None = None) -> QOutput:
    """Read one more token (R,) in each of these rows of the state; None: in all."""
    return agent.outputs(
        FlatObservation({TOKEN: tokens[:, None].astype(np.int32)}), state, reward=np.zeros(len(tokens), np.float32),
        first=state.fresh[slice(None) if rows is None else rows], previous_action=tokens[:, None], rows=rows,
    )  # fmt: skip


@torch.inference_mode()
def read_tokens(agent: Agent, given: Sequence[Sequence[int]]) -> tuple[AgentState, NDArray[np.int64]]:
    """Read all tokens of each row but the last one, in one forward pass. -> the state after them, and the last ones (R,)."""
    network, device, state = agent.network, agent.device, agent.initial_state(len(given))
    lengths = np.array([len(tokens) - 1 for tokens in given])
    latest = np.array([tokens[-1] for tokens in given], np.int64)
    if not lengths.any():
        return state, latest
    ids = torch.zeros(len(given), int(lengths.max()), 1, dtype=torch.int64)
    for row, tokens in enumerate(given):
        ids[row, : len(tokens) - 1, 0] = torch.tensor(tokens[:-1], dtype=torch.int64)
    ids = ids.to(device)
    first = torch.zeros(ids.shape[:2], dtype=torch.bool, device=device)
    first[:, 0] = True
    token = network.tokens({TOKEN: ids}, ids, torch.zeros(ids.shape[:2], device=device), first)
    start = torch.zeros(len(given), dtype=torch.int64, device=device)
    state.memory = network.trunk.prefill(token, first, start, torch.from_numpy(lengths).to(device))
    state.fresh[:] = lengths == 0
    return state, latest


def write(
    agent: Agent,
    prompts: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    *,
    progress: Callable[[int], None] | None = None,
    blocked: BlockedPhrases | None = None,
    **options: Any,
) -> list[Written]:
    """Continue any number of prompts, many of them in step; as `decode` otherwise.

    progress: is called with the number of texts that are written. blocked: phrases that are never written.
    """
    options |= {"begin": tokenizer.begin, "end": tokenizer.end}
    found: list[Written] = []
    for start in range(0, len(prompts), AT_ONCE):
        some = prompts[start : start + AT_ONCE]
        guard = None if blocked is None else Guard(blocked, tokenizer, some)
        found += decode(agent, some, guard=guard, **options)
        if progress is not None:
            progress(len(found))
    return found


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
