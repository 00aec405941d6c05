"""A conversation with an agent that was trained on recorded dialogues."""

from __future__ import annotations

from seqel.agents.agent import Agent, AgentState
from seqel.datasets.encoding import Encoding
from seqel.deployment.turns import Answer, Turns
from seqel.errors import ConfigError

__all__ = ["Conversation"]


class Conversation(Turns):
    """One customer, from the first message on.

    Raises ConfigError unless the agent was trained on a table whose only observed column is a text, with one action column.
    """

    def __init__(self, agent: Agent) -> None:
        stored = agent.info.get("encoding")
        encoding = Encoding.from_json(stored) if stored else None
        columns = {} if encoding is None else encoding.schema.observation
        if encoding is None or list(columns.values()) != ["text"] or encoding.more_actions:
            raise ConfigError(
                "conversation: expected an agent that was trained on a table of dialogues, which observes one column of text "
                f"and takes one action (seqel data dialogues makes such a table), got {agent!r:.200}"
            )
        super().__init__(agent, encoding.actions)
        self.encoding = encoding
        (self.column,) = columns
        self._state: AgentState | None = None

    def respond(self, text: str, reward: float = 0.0) -> Answer:
        decision, self._state = self.agent.act(self.encoding.rows([{self.column: text}]), self._state, reward=reward)
        return self._answer(text, decision, self.actions)
