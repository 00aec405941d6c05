"""Customer service with a classifier in front: the agent decides what to do about the most probable intents.

With 77 or 150 intents, an agent that reads sentences spends its experience on distinguishing them, which a classifier
learns from labelled sentences in seconds. Here the belief of a scripted player (`seqel.tasks.customers.players`) is what is
observed, and an action is about an intent's rank in it. So what is learned holds for all intents, also for those that are
added later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError, SpaceError
from seqel.spaces.text_readers import TextReader
from seqel.tasks.arguments import require_count
from seqel.tasks.customers.players import FLOOR, Classifier, Lookahead, Player
from seqel.tasks.customers.service import OUTCOMES, REPLIES, CustomerService
from seqel.tasks.customers.utterances import Utterances
from seqel.texts.classes import ClassReader, LabelledTexts
from seqel.texts.config import TextConfig
from seqel.texts.make import make_class_reader

__all__ = ["Shortlist", "classifier_of", "make_shortlist"]

OFFERED = 2  # "did you mean A or B?"
ENCODED = 64  # tokens of a sentence that the encoder reads
_FITTED: dict[tuple[str, str], ClassReader] = {}


class Shortlist(gymnasium.Wrapper[dict[str, Any], np.int64, dict[str, Any], np.int64]):
    """`CustomerService` in which intents are chosen by their rank in a player's belief, for K ranks.

    Observation: "probability" of the K most probable intents, and "answer", the expected reward of the answer to each, (K,);
    "sentence", the probability of each by the last sentence alone, and in the last place of being out of scope, (K + 1,), 0
    if nothing was said; "outside", the probability that the customer is out of scope, and "share", that of any customer;
    "hand_over", the reward of handing over now; and "reply", "outcome" and "asked" as in `CustomerService`. With a
    `Lookahead` also "best", the largest reward that it expects of this customer, and "expected", how much less it expects of
    each action, (K + 3,), at least -1.

    Actions: 0 to K - 1, answer as for the intent of this rank; K, ask an open question; K + 1, ask "did you mean A or B?"
    about the first two; K + 2, hand over. `info["shortlist"]` has the numbers of the K intents.

    env: the service, not yet in a shift. player: makes a player for it, whose belief is followed; its decisions are not used.
    size: K. expected: whether "expected" and "best" are observed; None: if the player is a `Lookahead`.

    Raises ConfigError (K is below 2 or above the number of intents; `expected` with another player), otherwise as
    `CustomerService`.
    """

    def __init__(
        self,
        env: CustomerService,
        player: Callable[[CustomerService], Player],
        size: int = 3,
        expected: bool | None = None,
    ) -> None:
        super().__init__(env)
        self.service, self.player = env, player(env)
        self._looks_ahead = self.player if isinstance(self.player, Lookahead) and expected is not False else None
        if expected and self._looks_ahead is None:
            raise ConfigError(
                f"expected: needs a player that computes them, such as Lookahead, got {type(self.player).__name__}"
            )
        self.expected = self._looks_ahead is not None
        self.size = require_count("size", size, OFFERED)
        if self.size > env.intents:
            raise ConfigError(f"size: expected at most the number of intents, {env.intents}, got {size}")
        self.ask, self.offer, self.hand_over = self.size, self.size + 1, self.size + 2
        # All of a shift counts alike: with a discount, a question would seem to cost a part of the customers after this one.
        self.metadata = {"render_modes": [], "seqel": {"discount": 1.0, "context": 4 * env.customers}}
        costs = env.costs
        wrong = min(costs.wrong, float(env.wrong.min()))
        bounds = {
            "probability": (0.0, 1.0, self.size), "sentence": (0.0, 1.0, self.size + 1),
            "answer": (wrong, costs.right, self.size), "outside": (0.0, 1.0, 1), "share": (0.0, 1.0, 1),
            "hand_over": (costs.escalation + costs.queue, costs.escalation, 1),
        }  # fmt: skip
        if self.expected:
            bounds |= {"expected": (-1.0, 0.0, self.size + 3), "best": (-1.0, costs.right, 1)}
        self._boxes = {name: spaces.Box(low, high, (count,), np.float32) for name, (low, high, count) in bounds.items()}
        counts = {"reply": len(REPLIES), "outcome": len(OUTCOMES), "asked": 6}
        self.observation_space = spaces.Dict(
            self._boxes | {name: spaces.Discrete(count) for name, count in counts.items()}
        )
        self.action_space = spaces.Discrete(self.size + 3)
        self._ranked: NDArray[np.int64] = np.arange(self.size)  # until a shift begins

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        seen, _ = self.env.reset(seed=seed, options=options)
        return self.observe(seen, first=True), self._info({})

    def step(self, action: np.int64 | int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            raise SpaceError(f"expected an action from 0 to {self.hand_over}, got {action!r}")
        action, service = int(action), self.service
        if action < self.size:
            taken = int(self._ranked[action])
        elif action == self.offer:
            first, taken = self._ranked[:OFFERED].tolist()
            self.env.step(np.int64(service.offer))
            self.env.step(np.int64(first))
            self.player.pair = [first, taken]
        else:
            taken = service.ask if action == self.ask else service.hand_over
        seen, reward, terminated, truncated, info = self.env.step(np.int64(taken))
        return self.observe(seen, first=False), float(reward), terminated, truncated, self._info(info)

    @property
    def ranked(self) -> list[int]:
        """The numbers of the K intents, the most probable one first."""
        return [int(one) for one in self._ranked]

    def observe(self, seen: dict[str, Any], first: bool) -> dict[str, Any]:
        """Update the belief by an observation of `CustomerService`, and return that of the shortlist.

        first: whether it is the first one of a shift.
        """
        player = self.player
        player.follow(seen, first)
        belief = player.belief
        self._ranked = player.likeliest(self.size)
        places = [*self._ranked.tolist(), -1]
        heard = np.exp(player.evidence(seen["said"])[places]) if seen["said"] else np.zeros(len(places))
        numbers = {
            "probability": belief[self._ranked], "sentence": heard, "answer": player.answers(belief)[self._ranked],
            "outside": belief[-1:], "share": [player.outside[0] / sum(player.outside)],
            "hand_over": [player.handing_over(seen)],
        }  # fmt: skip
        if self._looks_ahead is not None:
            worth = self._looks_ahead.expected(seen)
            best = worth.max()
            places = [*self._ranked.tolist(), self.service.ask, self.service.offer, self.service.hand_over]
            numbers |= {"expected": worth[places] - best, "best": [best]}
        clipped = {name: np.asarray(numbers[name]).clip(box.low, box.high) for name, box in self._boxes.items()}
        return {name: values.astype(np.float32) for name, values in clipped.items()} | {
            name: seen[name] for name in ("reply", "outcome", "asked")
        }

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return what the service says of a customer who is done, and the intents of the shortlist."""
        kept = {"customer": info["customer"]} if "customer" in info else {}
        return kept | {"shortlist": self._ranked.tolist()}


def classifier_of(reader: TextReader, intents: int) -> Classifier:
    """Return a classifier for players from a reader of classes (`seqel.texts.classes`); the last may be "out of scope".

    Raises ConfigError if it reads anything but the log-probabilities of the intents.
    """
    if reader.dtype != "float32" or reader.shape not in ((intents,), (intents + 1,)):
        raise ConfigError(f"classifier: expected the log-probabilities of {intents} intents, got {reader.reads}")

    def classify(sentences: Sequence[str]) -> NDArray[np.float64]:
        found = np.asarray(reader.read(list(sentences)), np.float64)
        missing = intents + 1 - found.shape[1]
        return np.hstack([found, np.full((len(found), missing), FLOOR)])

    return classify


def make_shortlist(
    utterances: Utterances | str | Path | None = None, model: str = "", size: int = 3, **service: Any
) -> Shortlist:
    """Make a shortlist of a lookahead's belief, whose classifier is fitted on the training sentences.

    The belief knows the probabilities of the service's setting; what to do about it is left to the agent.

    utterances and others: as in `CustomerService`. model: the frozen encoder of the classifier, a folder or an id of the hub.

    Raises as `CustomerService` and `Shortlist`, and ConfigError or MissingExtraError if the encoder is not there.
    """
    env = CustomerService(utterances, **service)
    if not model:
        raise ConfigError(
            "model: expected the encoder of the classifier, a folder or an id of the Hugging Face hub, got none; on the "
            "command line: --env-arg model=MODEL"
        )
    reader = _fitted(model, env.labelled_texts())
    return Shortlist(env, partial(Lookahead, classifier=classifier_of(reader, env.intents)), size)


def _fitted(model: str, labelled: LabelledTexts) -> ClassReader:
    """Fit a classifier, or return the one that another environment of this process fitted on the same sentences."""
    texts, labels = labelled.train
    key = (model, sha256("\0".join(texts).encode("utf-8", "surrogatepass") + labels.tobytes()).hexdigest())
    if key not in _FITTED:
        encoder = TextConfig(encoder="pretrained", model=model, length=ENCODED)
        _FITTED[key] = make_class_reader(encoder, labelled)
    return _FITTED[key]
