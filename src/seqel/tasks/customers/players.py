"""Scripted players of `CustomerService`, with a classifier of sentences: what a good engineer would build without learning.

Each keeps a belief over intents for the customer at hand, and knows the costs. `Thresholds` looks at the last sentence alone;
`Evidence` sums the evidence of all sentences; `Lookahead` also knows how customers speak and leave, and computes what a
further question would be worth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.tasks.customers.service import DECIDE, FIRST, OUTCOMES, CustomerService

__all__ = ["Classifier", "Evidence", "Lookahead", "Player", "Thresholds", "play"]

# sentences -> log-probabilities of their intents, and in a last column of being out of scope, (R, N + 1)
Classifier = Callable[[Sequence[str]], NDArray[np.float64]]
FLOOR = -30.0  # of a log-probability


class Player(ABC):
    """Keeps a belief over N intents, and in its last entry that the customer is out of scope."""

    def __init__(self, env: CustomerService, classifier: Classifier) -> None:
        self.env, self.classifier = env, classifier
        self._wrong, self._gain = np.append(env.wrong, env.costs.wrong), env.costs.right - env.wrong
        self.belief = np.zeros(0)  # (N + 1,) probabilities
        self.said: dict[str, NDArray[np.float64]] = {}
        self.pair: list[int] = []
        self.outside = [1.0, 9.0]  # customers seen so far who were out of scope, and who were not, with a prior

    def reset(self) -> None:
        """Start a shift."""
        self.outside, self.pair = [1.0, 9.0], []
        self.begin()

    def begin(self) -> None:
        """Start with the next customer."""
        share = self.outside[0] / sum(self.outside) if self.env.setting.out_of_scope else 0.0
        self.belief = np.append(np.full(self.env.intents, (1.0 - share) / self.env.intents), share)

    def follow(self, seen: dict[str, Any], first: bool) -> None:
        """Update the belief by an observation; `first`: the first one of a shift. `pair`: what was offered, if anything."""
        if first:
            self.reset()
        elif seen["outcome"]:
            # what is reported about the customer before: right, or handed over in scope; or handed over out of scope
            name = OUTCOMES[int(seen["outcome"])]
            self.outside[0 if name.endswith("scope") else 1] += 1.0
            self.begin()
        if seen["choose"] == DECIDE:
            if seen["said"]:
                self.hear(self.evidence(seen["said"]))
            elif seen["reply"]:
                self.hear_reply(int(seen["reply"]))
            self.pair = []

    def act(self, seen: dict[str, Any], first: bool) -> int:
        """Choose an action for an observation; `first`: the first one of a shift."""
        self.follow(seen, first)
        if seen["choose"] != DECIDE:
            return self.pair[0 if seen["choose"] == FIRST else 1]
        choice = self.decide(seen)
        if choice == self.env.offer:
            self.pair = self.likeliest(2).tolist()
        return choice

    def likeliest(self, count: int) -> NDArray[np.int64]:
        """Return the most probable intents, (count,), the most probable one first."""
        found: NDArray[np.int64] = np.argsort(-self.belief[:-1], kind="stable")[:count]
        return found

    def evidence(self, sentence: str) -> NDArray[np.float64]:
        """Return the log-probabilities of a sentence's intents, (N + 1,)."""
        if sentence not in self.said:
            self.said[sentence] = self.classifier([sentence])[0].clip(FLOOR)
        return self.said[sentence]

    @abstractmethod
    def hear(self, evidence: NDArray[np.float64]) -> None:
        """Update the belief by the log-probabilities of a sentence."""

    def hear_reply(self, reply: int) -> None:
        """Update the belief by a reply to "did you mean A or B?"."""
        if reply == 3:
            self.belief[self.pair] = 0.0
            self.belief /= max(self.belief.sum(), 1e-12)
        else:
            self.belief[:] = 0.0
            self.belief[self.pair[reply - 1]] = 1.0

    @abstractmethod
    def decide(self, seen: dict[str, Any]) -> int:
        """Return an action that is not the choice of an intent of a pair."""

    def answers(self, belief: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the expected reward of each answer: belief (..., N + 1) -> (..., N)."""
        found: NDArray[np.float64] = (belief @ self._wrong)[..., None] + belief[..., :-1] * self._gain
        return found

    def handing_over(self, seen: dict[str, Any]) -> float:
        """Return the reward of handing over."""
        return self.env.costs.escalation + self.env.costs.queue * float(seen["queue"][0])


class Thresholds(Player):
    """Answers if the last sentence's most probable intent is at least so probable, else asks up to `most` times."""

    def __init__(self, env: CustomerService, classifier: Classifier, sure: float = 0.5, most: int = 1) -> None:
        super().__init__(env, classifier)
        self.sure, self.most = sure, most

    def hear(self, evidence: NDArray[np.float64]) -> None:
        self.belief = np.exp(evidence)
        self.belief /= self.belief.sum()

    def decide(self, seen: dict[str, Any]) -> int:
        best = int(self.belief[:-1].argmax())
        if self.belief[best] >= self.sure:
            return best
        return self.env.ask if seen["asked"] < self.most else self.env.hand_over


class Evidence(Player):
    """Sums evidence over sentences. Does what is worth most at once, or asks if that is worth less than `least`.

    inverse_temperature: the factor of each sentence's log-probabilities. pairs: ask "did you mean A or B?", not an open
    question.
    """

    def __init__(
        self, env: CustomerService, classifier: Classifier, least: float = 0.5, most: int = 1,
        inverse_temperature: float = 1.0, pairs: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(env, classifier)
        self.least, self.most, self.inverse_temperature, self.pairs = least, most, inverse_temperature, pairs

    def hear(self, evidence: NDArray[np.float64]) -> None:
        log = np.log(self.belief.clip(1e-12)) + self.inverse_temperature * evidence
        self.belief = np.exp(log - log.max())
        self.belief /= self.belief.sum()

    def decide(self, seen: dict[str, Any]) -> int:
        worth = self.answers(self.belief)
        best, over = int(worth.argmax()), self.handing_over(seen)
        if max(float(worth[best]), over) < self.least and seen["asked"] < self.most:
            return self.env.offer if self.pairs else self.env.ask
        return best if worth[best] >= over else self.env.hand_over


class Lookahead(Evidence):
    """Compares answering and handing over with one further question, by simulating what customers would say.

    It knows three probabilities of `Setting`: of sentences of other intents, of leaving and of changing one's mind. The value
    of a question is that of the best decision after it (one step, as in a POMDP's one-step lookahead), averaged over
    `draws` sentences of the training split.
    """

    def __init__(
        self, env: CustomerService, classifier: Classifier, draws: int = 48, inverse_temperature: float = 1.0
    ) -> None:
        super().__init__(env, classifier, inverse_temperature=inverse_temperature)
        self.draws, self.rng = draws, np.random.default_rng(0)
        setting, intents = env.setting, env.intents
        other = setting.unclear * setting.confused
        self.speaks = np.eye(intents + 1) * (1.0 - other)  # [intent, intent of the sentence]
        for intent, some in enumerate(env.confused_with):
            self.speaks[intent, some] += other / len(some)
        self.speaks[-1] = np.eye(intents + 1)[-1]
        self.scoped = np.append(np.full(intents, 1.0 / intents), 0.0)  # any intent, as after a change of mind

    def reset(self) -> None:
        super().reset()
        self.rng = np.random.default_rng(0)  # what a shift looks like does not depend on the shifts before

    def follow(self, seen: dict[str, Any], first: bool) -> None:
        if seen["choose"] == DECIDE and seen["asked"] and seen["said"]:
            # who says something instead of replying has changed their mind; who was asked an open question may have
            self.belief = self.scoped.copy() if self.pair else self._mixed(self.belief)
        super().follow(seen, first)

    @cached_property
    def _heard(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """The likelihoods of training sentences of each intent, and in the last place of those out of scope.

        (R, N + 1) of all sentences; (N + 1,) the row of the first of each intent, and their number.
        """
        train = self.env.utterances.by_intent["train"], self.env.utterances.out_of_scope["train"]
        # what stands for sentences out of scope is never drawn if there are none
        training = [one[:50] for one in (*train[0], train[1] or train[0][0])]
        counts = np.array([len(one) for one in training])
        logs = self.classifier([text for one in training for text in one]).clip(FLOOR)
        return self.likelihood(logs), np.cumsum(counts) - counts, counts

    def _mixed(self, belief: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a belief after the customer may have changed their mind."""
        changes = self.env.setting.changes * belief[:-1].sum()
        stays = np.append(np.full(len(belief) - 1, 1.0 - self.env.setting.changes), 1.0)
        found: NDArray[np.float64] = belief * stays + changes * self.scoped
        return found

    def likelihood(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how probable a sentence is for each intent of the customer, up to a factor.  (..., N + 1) -> the same."""
        found: NDArray[np.float64] = np.exp(self.inverse_temperature * evidence) @ self.speaks.T
        return found

    def hear(self, evidence: NDArray[np.float64]) -> None:
        self.belief = self._after(self.belief, self.likelihood(evidence))

    def _after(self, belief: NDArray[np.float64], likelihood: NDArray[np.float64]) -> NDArray[np.float64]:
        belief = (belief + 1e-9) * likelihood
        found: NDArray[np.float64] = belief / belief.sum(axis=-1, keepdims=True)
        return found

    def expected(self, seen: dict[str, Any]) -> NDArray[np.float64]:
        """Return the expected reward of this customer after each action of the service, (N + 3,).

        After a question, it is that of the best answer or of handing over.
        """
        env, setting, over = self.env, self.env.setting, self.handing_over(seen)
        leaves = {1: setting.impatient, 4: 1.0}.get(int(seen["asked"]), 0.0)
        questions = np.full(2, env.costs.left)
        if leaves < 1.0:
            stays = np.array([self._open(self._mixed(self.belief), over), self._pair(over)]) + env.costs.clarification
            questions = leaves * questions + (1.0 - leaves) * stays
        return np.concatenate([self.answers(self.belief), questions, [over]])

    def decide(self, seen: dict[str, Any]) -> int:
        return int(self.expected(seen).argmax())

    def _best(self, belief: NDArray[np.float64], over: float) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.maximum(self.answers(belief).max(axis=-1), over)
        return found

    def _open(self, belief: NDArray[np.float64], over: float) -> float:
        """Return the value of hearing one more sentence from a customer of this belief."""
        heard, start, counts = self._heard
        spoken = np.cumsum(belief @ self.speaks)
        drawn = (np.arange(self.draws) + self.rng.random(self.draws)) * (spoken[-1] / self.draws)  # one from each part
        kinds = np.searchsorted(spoken, drawn, side="right").clip(max=len(spoken) - 1)
        rows = start[kinds] + self.rng.integers(counts[kinds])
        return float(self._best(self._after(belief, heard[rows]), over).mean())

    def _afresh(self, over: float) -> float:
        """Return the value of hearing what customers want who have changed their mind: the mean over all sentences."""
        best, probability = self._heard_afresh
        return float(np.maximum(best, over) @ probability)

    @cached_property
    def _heard_afresh(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the best answer is worth after each sentence of `_heard`, if any intent is as likely, and its probability."""
        heard, _, counts = self._heard
        spoken = self.scoped @ self.speaks
        return self.answers(self._after(self.scoped, heard)).max(axis=-1), np.repeat(
            spoken / spoken.sum() / counts, counts
        )

    def _pair(self, over: float) -> float:
        """Return the value of a reply to "did you mean A or B?", or of what is said after a change of mind."""
        pair, changes = self.likeliest(2), self.env.setting.changes * float(self.belief[:-1].sum())
        left = self._mixed(self.belief) - changes * self.scoped  # of those who have not changed their mind
        known = float(left[pair].sum())
        left[pair] = 0.0
        rest = float(left.sum())
        found = known * self.env.costs.right
        if rest > 1e-12:
            found += rest * float(self._best(left / rest, over))
        return found + (changes * self._afresh(over) if changes else 0.0)


@dataclass(frozen=True, slots=True)
class Played:
    """The result of some shifts; means over customers."""

    reward: float
    rewards: list[float]  # of each shift, per customer
    customers: list[dict[str, Any]]  # as `info["customer"]` describes them, for `CustomerServiceMetrics`

    @property
    def outcomes(self) -> dict[str, float]:
        """The share of each outcome."""
        names = [one["outcome"] for one in self.customers]
        return {name: names.count(name) / len(names) for name in OUTCOMES[1:]}

    @property
    def asked(self) -> float:
        """The mean number of questions."""
        return float(np.mean([one["asked"] for one in self.customers]))


def play(env: CustomerService, player: Player, shifts: int, seed: int) -> Played:
    """Play whole shifts and return their result."""
    rewards: list[float] = []
    customers: list[dict[str, Any]] = []
    for shift in range(shifts):
        seen, _ = env.reset(seed=seed + shift)
        total, over, first = 0.0, False, True
        while not over:
            seen, reward, over, _, info = env.step(player.act(seen, first))
            total, first = total + reward, False
            if "customer" in info:
                customers.append(info["customer"])
        rewards.append(total / env.customers)
    return Played(float(np.mean(rewards)), rewards, customers)
