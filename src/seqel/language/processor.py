"""The dial for programs that generate with `transformers`: an agent as a logits processor of `model.generate`."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.agents.agent import Agent, AgentState
from seqel.errors import ConfigError
from seqel.language.decoding import read_tokens, step, worth
from seqel.language.generation import tokenizer_of
from seqel.language.tokenizer import ModelTokens

__all__ = ["DialProcessor"]


class DialProcessor:
    """Adds an agent's values, times the dial, to the scores of the next token.

        model.generate(**inputs, logits_processor=[DialProcessor(agent, dial=2.0)], do_sample=True)

    The agent must have been trained with the tokens of `model` (`train_text(..., model=...)`). `model` is then the base
    policy; it need not be the agent's own. Like any processor, this one gets the tokens without an attention mask: it detects
    padding at the left of a prompt by the tokenizer's padding token. Use one object for one call of `generate` at a time.
    Beams that are reordered are read again from their beginning.
    """

    def __init__(self, agent: Agent, dial: float = 1.0) -> None:
        """Raises ConfigError if the agent does not write with the tokens of a pretrained model."""
        tokenizer = tokenizer_of(agent)
        if not isinstance(tokenizer, ModelTokens):
            raise ConfigError(
                "DialProcessor: expected an agent with the tokens of a pretrained model, got one with its own"
            )
        self.agent, self.dial, self.tokenizer = agent, dial, tokenizer
        self._state: AgentState | None = None
        self._ids = torch.zeros(0, 0, dtype=torch.int64)  # what was read, and the token that is read next

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores of the next token: input_ids (B, T), scores (B, V) -> (B, V)."""
        ids = input_ids.cpu()
        continues = self._ids.shape == (ids.shape[0], ids.shape[1] - 1) and torch.equal(self._ids, ids[:, :-1])
        if self._state is None or not continues:
            self._state, latest = read_tokens(self.agent, [self._tokens(row) for row in ids.tolist()])
        else:
            latest = ids[:, -1].numpy()
        self._ids = ids
        network = self.agent.network
        out = step(self.agent, latest, self._state)
        with torch.inference_mode():
            added = worth(out, network.head.values, network.head.scale, self.dial)
        return scores + added.to(scores.device, scores.dtype)[:, : scores.shape[1]]

    def _tokens(self, row: list[int]) -> list[int]:
        """Return the tokens of a prompt as the agent reads them: without padding, and with the token that begins a text."""
        padding, begin = self.tokenizer.padding, self.tokenizer.begin
        while len(row) > 1 and row[0] == padding and padding != begin:
            row = row[1:]
        return row if row[0] == begin else [begin, *row]
