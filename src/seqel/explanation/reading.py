"""An episode as the network reads it: its tokens, and what the decisions would be with other tokens.

Every method of attribution is built on three facts. A step enters the network as one token, so hiding a step is replacing its
token. Time is causal, so a changed step changes only decisions at or after it. And a decision depends on no more than the
trunk's `receptive_field` of latest steps, so an episode is read in parts that hold all that their decisions can depend on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.explanation.trace import EpisodeTrace, scores, window_of
from seqel.types import QOutput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seqel.agents.agent import Agent

__all__ = ["Reading", "head_outputs"]

TOKENS = 16_384  # steps per forward pass
NUMBERS = 1 << 24  # scores that are held at once


class Reading:
    """The tokens of an episode of T steps, and the network's answers to changed ones.

    tokens (T+1, D): one for each observation. mean_token (D,): their mean, which takes the place of a hidden token. It is the
    same for every decision, so that one forward pass with a hidden step serves all of them. others: of each of some other
    episodes, the number of its first step, and its tokens.
    """

    def __init__(self, agent: Agent, trace: EpisodeTrace, others: Sequence[EpisodeTrace] = ()) -> None:
        self.agent, self.network, self.trace = agent, agent.network, trace
        self.window = window_of(agent, trace)
        with torch.no_grad():
            self.tokens = self.network.embed(self.window)[0]
            self.mean_token = self.tokens.mean(dim=0)
            self.others = [(one.start, self.network.embed(window_of(agent, one))[0]) for one in others]
        self.mask: Tensor | None = None
        if trace.action_mask is not None:
            mask = torch.from_numpy(trace.action_mask).to(self.tokens.device)
            self.mask = mask if mask.ndim == 3 else mask[:, None]  # (T+1, M, A)

    def __len__(self) -> int:
        """Return the number of observations, T+1."""
        return len(self.tokens)

    @property
    def reach(self) -> int:
        """How many of the latest steps, its own included, a decision can depend on."""
        return self.network.trunk.receptive_field or len(self)

    def first_needed(self, step: int) -> int:
        """Return the first step that the decision at `step` can depend on. A trunk without a limit needs them all."""
        return max(0, step - self.reach + 1)

    def states(self, tokens: Tensor, begin: int = 0) -> Tensor:
        """Run the trunk on N variants of the steps from `begin` on: (N, S, D) -> attended states (N, S, D)."""
        rows, steps = tokens.shape[:2]
        first = self.window.is_first[:, begin : begin + steps].expand(rows, -1)
        out: Tensor = self.network.trunk(tokens, first, (self.window.start_step + begin).expand(rows))
        return out

    def embed(self, steps: Tensor, leaves: Mapping[str, Tensor]) -> Tensor:
        """Return the tokens of N steps with other observations: steps (N,), changed leaves (N, *shape) -> (N, D)."""
        window = self.window
        seen = {path: leaves[path] if path in leaves else leaf[0][steps] for path, leaf in window.observation.items()}
        action = torch.cat((window.previous_action[:, None], window.action), dim=1)[0][steps]
        reward = torch.cat((window.previous_reward[:, None], window.reward), dim=1)[0][steps]
        out: Tensor = self.network.tokens(seen, action, reward, window.is_first[0][steps])
        return out

    # -- scores --------------------------------------------------------------------------------------------------------

    def decision_scores(self, h: Tensor, steps: Sequence[int] | slice) -> Tensor:
        """Return scores whose argmax is the greedy action, under the masks of `steps`: h (..., S, D) -> (..., S, M, A)."""
        mask = None if self.mask is None else self.mask[steps]
        return self.network.scores(head_outputs(self.network, h), mask)

    def joint(self, h: Tensor, codes: Tensor) -> Tensor:
        """Return the score of one action in each state: h (..., D), codes (..., M) -> (...).

        The score is a value in units of reward, or a log-probability where the policy head decides. If M > 1, it is the mean
        over dimensions.
        """
        found = scores(self.agent, head_outputs(self.network, h))  # (..., M, A)
        return found.gather(-1, codes.expand(*found.shape[:-1])[..., None])[..., 0].mean(dim=-1)

    def gap(self, h: Tensor, codes: Tensor, others: Tensor) -> Tensor:
        """Return the score of one action less that of another: h (..., D), codes and others (..., M) -> (...).

        With one action dimension, only these two are scored, however large the catalogue is. A policy's normaliser
        cancels out.
        """
        if codes.shape[-1] > 1:
            return self.joint(h, codes) - self.joint(h, others)
        pair = torch.cat((codes, others), dim=-1).expand(*h.shape[:-1], 2)
        found = scores(self.agent, head_outputs(self.network, h, pair))[..., 0, :]
        return found[..., 0] - found[..., 1]

    # -- changed steps ---------------------------------------------------------------------------------------------------

    def groups(self, decisions: Sequence[int], rows: int = 0) -> Iterator[tuple[list[int], int, int]]:
        """Yield decisions in groups, with the first step that a group needs and the one after its last.

        A group has as many decisions as fit `TOKENS`, each read in a row of its own; `rows` limits their number.
        """
        group: list[int] = []
        for step in sorted(decisions):
            begin = self.first_needed(group[0]) if group else 0
            if group and ((len(group) + 1) * (step + 1 - begin) > TOKENS or (rows and len(group) >= rows)):
                yield group, begin, group[-1] + 1
                group = []
            group.append(step)
        if group:
            yield group, self.first_needed(group[0]), group[-1] + 1

    def variants(self, steps: Tensor, tokens: Tensor, last: int) -> Iterator[tuple[slice, int, Tensor]]:
        """Yield attended states of episodes with one changed token each, up to the step `last`.

        steps (N,) ascending: the changed step of each variant; tokens (N, D): its token instead. -> which of the variants,
        the number of the first decision that any of them can change, and the states from there to `last` at most, (n, S, D).
        """
        at = 0
        while at < len(steps):
            low = int(steps[at])
            begin = self.first_needed(low)
            size = 1
            while at + size < len(steps):
                end = min(last, int(steps[at + size]) + self.reach - 1) + 1
                if (size + 1) * (end - begin) > TOKENS:
                    break
                size += 1
            part = slice(at, at + size)
            end = min(last, int(steps[at + size - 1]) + self.reach - 1) + 1
            rows = self.tokens[begin:end].repeat(size, 1, 1)
            rows[torch.arange(size, device=rows.device), steps[part] - begin] = tokens[part].to(rows.dtype)
            yield part, low, self.states(rows, begin)[:, low - begin :]
            at += size


def head_outputs(network: Any, h: Tensor, candidates: Tensor | None = None) -> QOutput:
    """Return the outputs of the heads that decide, with gradient to h even where training has none (`value_gradient`).

    h (..., D) -> q (..., M, A), or (..., M, C) for candidates (..., C); with the policy's logits and
    the penalty of costs if they play a part.
    """
    out: QOutput = network.head(h, candidates)
    policy = network.part("policy")
    if policy is not None and network.config.policy_head in ("greedy", "constraint"):
        out = replace(out, policy_logits=policy(h, network.head.scale, candidates))
    costs = network.part("cost")
    if costs is not None:
        out = replace(out, penalty=costs.penalty(costs(h, network.head.scale, candidates)))
    return out if network.available is None else replace(out, available=network.available)


def require_step(step: int, trace: EpisodeTrace) -> int:
    """Return the step. Raises ConfigError if the episode has no such decision."""
    if not 0 <= step <= len(trace):
        raise ConfigError(f"step: expected 0 to {len(trace)}, got {step}")
    return step
