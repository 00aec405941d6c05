"""What is said and done with one customer: the answer to a message, and a record of all turns.

The record has the form that training reads (`seqel.datasets.dialogues`), so it can be used for further training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.dialogues import AGENT, CUSTOMER
from seqel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seqel.agents.agent import Agent
    from seqel.types import Decision

__all__ = ["Answer", "Turns"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The agent's action after a message."""

    action: str
    ranking: list[tuple[str, float]]  # all actions that may be taken and their scores, the best first
    scores: str  # what a score is: "probability", or "value" in units of reward
    abstain: bool = False  # a calibrated agent does not decide; the action is what it would have done
    uncertainty: float | None = None  # of the decision, in the measure of the calibration; None: not calibrated
    beliefs: list[tuple[str, float]] | None = (
        None  # what the customer may want and how probable it is; None: not estimated
    )

    @property
    def score(self) -> float:
        """The score of the action that is taken."""
        return self.ranking[0][1]

    def to_json(self, most: int = 3) -> dict[str, Any]:
        """Return plain values, with the `most` best actions."""
        found: dict[str, Any] = {
            "action": self.action,
            "scores": self.scores,
            "ranking": [list(one) for one in self.ranking[:most]],
        }
        found |= {} if self.uncertainty is None else {"uncertainty": self.uncertainty}
        found |= {} if self.beliefs is None else {"beliefs": [list(one) for one in self.beliefs[:most]]}
        return found | ({"abstain": True} if self.abstain else {})


class Turns(ABC):
    """The turns of a customer and an agent."""

    def __init__(self, agent: Agent, actions: Sequence[str]) -> None:
        self.agent, self.actions = agent, tuple(actions)  # the names of all actions
        self.turns: list[dict[str, Any]] = []

    @property
    def hand_overs(self) -> tuple[str, ...]:
        """The actions that always hand over to a person."""
        return ()

    @property
    def over(self) -> bool:
        """Whether the agent's last action ended the conversation."""
        return False

    @abstractmethod
    def respond(self, text: str, reward: float = 0.0) -> Answer:
        """Return the agent's action after a message. reward: of the previous action, if it is already known."""

    def _answer(
        self,
        text: str,
        decision: Decision,
        names: Sequence[str],
        beliefs: list[tuple[str, float]] | None = None,
    ) -> Answer:
        """Add a message and the action that was decided, and return the answer. names: of the actions, in their order."""
        scores = decision.q[0].astype(np.float64)
        chooses = self.agent.network.config.policy_head == "greedy"
        if chooses:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        order = [int(one) for one in np.argsort(-scores, kind="stable") if np.isfinite(scores[one])]
        action = names[int(decision.action[0])]
        ranking = [(names[one], float(scores[one])) for one in order]
        ranking.sort(key=lambda one: one[0] != action)  # of actions that tie, the one that is taken is the first
        self.turns += [{"role": CUSTOMER, "text": text}, {"role": AGENT, "action": action}]
        abstain = decision.abstain is not None and bool(decision.abstain[0])
        uncertainty = None if decision.uncertainty is None else float(decision.uncertainty[0])
        return Answer(action, ranking, "probability" if chooses else "value", abstain, uncertainty, beliefs)

    def add_reply(self, text: str) -> None:
        """Add the agent's words to its last turn."""
        if not self.turns:
            raise ConfigError("conversation: expected a message first: the agent has not taken an action yet")
        self.turns[-1]["text"] = text

    def withdraw(self) -> None:
        """Remove the agent's last turn, because it abstained and a person answers instead."""
        if not self.turns or self.turns[-1]["role"] != AGENT:
            raise ConfigError("conversation: expected a turn of the agent to withdraw")
        self.turns.pop()

    def record(self, name: str, outcome: str | float | None = None) -> dict[str, Any]:
        """Return the conversation as a dialogue, with its outcome if it is known."""
        found: dict[str, Any] = {"id": name} | ({} if outcome is None else {"outcome": outcome})
        return found | {"turns": [dict(turn) for turn in self.turns]}

    def summary(self) -> str:
        """Return the messages and actions, one line per turn, for a person who takes over."""
        lines = []
        for turn in self.turns:
            words = turn.get("text", "")
            done = f"[{turn['action']}] {words}".rstrip() if turn["role"] == AGENT else words
            lines.append(f"{turn['role']}: {done}")
        return "\n".join(lines)
