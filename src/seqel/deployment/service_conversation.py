"""A conversation with an agent of customer service that has a classifier in front (`seqel.tasks.customers.Shortlist`)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from seqel.agents.agent import Agent, AgentState
from seqel.agents.matching import require_equal_spaces
from seqel.deployment.turns import Answer, Turns
from seqel.errors import ConfigError
from seqel.spaces import ActionSpec
from seqel.tasks.customers.service import DECIDE
from seqel.tasks.customers.shortlist import Shortlist

__all__ = ["ASK", "HAND_OVER", "OFFER", "ServiceConversation"]

ASK, OFFER, HAND_OVER = "ask", "did you mean", "hand over"
MOST = 5  # questions to a customer that an agent can count
NEITHER = ("neither", "none", "no", "3")
REPLIES = (("1", "the first", "first"), ("2", "the second", "second"))


class ServiceConversation(Turns):
    """One customer, from the first message on; it is over when the agent answers or hands over.

    The classifier and the belief of a shortlist read the messages in place of its simulator, and the agent decides. After
    "did you mean A or B?", a message may be "1", "2", the name of an intent, or "neither"; anything else is read as a
    sentence of a customer who has changed their mind.

    agent: trained on shortlists like this one. shortlist: its simulator is not used. queue: the length of the queue for a
    person, from 0 to 1.

    Raises ConfigError (another kind of environment, or a queue outside this range) and SpaceError (the agent was trained on a
    shortlist of another size, or that observes something else).
    """

    def __init__(self, agent: Agent, shortlist: gymnasium.Env[Any, Any], queue: float = 0.0) -> None:
        while isinstance(shortlist, gymnasium.Wrapper) and not isinstance(shortlist, Shortlist):
            shortlist = shortlist.env  # those that Gymnasium adds
        if not isinstance(shortlist, Shortlist):
            raise ConfigError(
                f"conversation: expected an agent of the environment seqel/CustomerShortlist-v0, got one of {shortlist}"
            )
        if not 0.0 <= queue <= 1.0:
            raise ConfigError(f"queue: expected a number from 0 to 1, got {queue}")
        require_equal_spaces(
            "the shortlist",
            (
                agent.observation_spec.same_reading(shortlist.observation_space),
                ActionSpec.from_space(shortlist.action_space),
            ),
            "the spaces that the agent was trained on",
            (agent.observation_spec, agent.action_spec),
        )
        self.intents = shortlist.service.utterances.intents
        super().__init__(agent, (*(f"answer: {name}" for name in self.intents), ASK, OFFER, HAND_OVER))
        self.shortlist, self.queue = shortlist, np.array([queue], np.float32)
        self._state: AgentState | None = None
        self._asked = 0
        self._offered: list[int] = []  # the intents of the last question, if it was "did you mean A or B?"
        self._over = False

    @property
    def hand_overs(self) -> tuple[str, ...]:
        return (HAND_OVER,)

    @property
    def over(self) -> bool:
        return self._over

    @property
    def offered(self) -> tuple[str, ...]:
        """The two intents of "did you mean A or B?", if this was the agent's last action."""
        return tuple(self.intents[one] for one in self._offered)

    def respond(self, text: str, reward: float | None = None) -> Answer:
        """Return the agent's action after a message.

        reward: of the previous action; None: the cost of a question.

        Raises ConfigError if the conversation is over.
        """
        if self._over:
            raise ConfigError("conversation: expected a new one: the agent has answered or handed over")
        shortlist, reply = self.shortlist, self._reply(text)
        seen = {
            "said": "" if reply else text, "reply": np.int64(reply), "outcome": np.int64(0), "choose": np.int64(DECIDE),
            "asked": np.int64(min(self._asked, MOST)), "queue": self.queue,
        }  # fmt: skip
        first = self._state is None
        observation = shortlist.observe(seen, first)
        if reward is None:
            reward = 0.0 if first else shortlist.service.costs.clarification
        batch = {name: np.asarray(value)[None] for name, value in observation.items()}
        decision, self._state = self.agent.act(batch, self._state, reward=reward)
        ranked = shortlist.ranked
        names = [*(f"answer: {self.intents[one]}" for one in ranked), ASK, OFFER, HAND_OVER]
        belief = shortlist.player.belief
        beliefs = [(self.intents[one], float(belief[one])) for one in ranked]
        if shortlist.service.setting.out_of_scope:
            beliefs = sorted([*beliefs, ("out of scope", float(belief[-1]))], key=lambda one: -one[1])
        answer = self._answer(text, decision, names, beliefs)
        self._offered = ranked[:2] if answer.action == OFFER else []
        if self._offered:
            self.add_reply(f"{' or '.join(self.offered)}?")
        shortlist.player.pair = list(self._offered)
        self._asked += answer.action in (ASK, OFFER)
        self._over = answer.action not in (ASK, OFFER)
        return answer

    def _reply(self, text: str) -> int:
        """Return which reply to "did you mean A or B?" a message is: 1, 2, 3 (neither), or 0 (none, but a sentence)."""
        if not self._offered:
            return 0
        word = text.strip().rstrip(".!").lower()
        for number, (words, intent) in enumerate(zip(REPLIES, self.offered, strict=True), 1):
            if word in (*words, intent.lower()):
                return number
        return 3 if word in NEITHER else 0
