"""Customer service: find out what each customer wants from what they say, and answer, ask or hand over.

The sentences are real ones (`seqel.tasks.customers.utterances`); what is hidden is the customer: the intent, patience, how
clearly they speak, and whether they change their mind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.arguments import require_count
from seqel.tasks.customers.costs import Costs
from seqel.tasks.customers.utterances import SPLITS, Split, Utterances, read_utterances
from seqel.tasks.splits import require_split
from seqel.texts.classes import LabelledTexts

__all__ = ["OUTCOMES", "PLAIN", "REPLIES", "CustomerService", "Setting"]

OUTCOMES = ("none", "right", "wrong", "left", "handed over", "handed over, out of scope")
REPLIES = ("said", "the first", "the second", "neither")
DECIDE, FIRST, SECOND = range(3)  # what is chosen next: a decision, or an intent of "did you mean A or B?"
LONGEST = 500  # characters of a sentence


@dataclass(frozen=True, slots=True)
class Setting:
    """What makes the task hard. Each part can be taken out by setting it to 0. Raises ConfigError.

    Probabilities, but for `drift`, which is the standard deviation of the change from one customer to the next.
    """

    unclear: float = 0.4  # that a customer speaks unclearly
    confused: float = 0.6  # that such a customer's sentence is one of an intent that is easily mistaken for theirs
    changes: float = 0.15  # that a customer who is asked something wants something else from then on
    impatient: float = 0.5  # that a customer leaves at the second question, and not at the fifth
    out_of_scope: float = 0.4  # largest share of customers whom only a person can help
    queue: float = 1.0  # largest length of the queue for a person
    drift: float = 0.08  # of that share and of the queue, both relative to their largest value

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                raise ConfigError(f"setting: {one.name}: expected a number from 0 to 1, got {value!r}")


PLAIN = Setting(**{one.name: 0.0 for one in fields(Setting)})


@dataclass(slots=True)
class Customer:
    """A customer. The agent knows none of this."""

    intent: int  # -1: out of scope
    clear: bool
    patience: int  # the question at which they leave
    asked: int = 0


class CustomerService(gymnasium.Env[dict[str, Any], np.int64]):
    """A shift of customers, one after the other.

    Observation: "said", a sentence (empty where the customer only replied); "reply" to the last question (`REPLIES`);
    "outcome" of the customer before (`OUTCOMES`), when the next one starts to speak; "choose", what is chosen next (0: a
    decision; 1, 2: the first and the second intent of "did you mean A or B?"); "asked", the number of questions to this
    customer; "queue", from 0 to 1. How many customers are out of scope is not observed, but follows from the outcomes.

    Actions, for N intents: 0 to N - 1, answer as for this intent; N, ask an open question; N + 1, ask "did you mean A or B?",
    whose intents the next two actions choose; N + 2, hand over to a person. `info["action_mask"]` says what is allowed.
    Rewards are in `Costs`. Customers who do not speak clearly say sentences of intents that are easily mistaken for theirs,
    but reply correctly to "did you mean A or B?". `info["customer"]` describes each customer who is done. With the same seed,
    the same customers come, whatever is done: two policies can be compared on them with far fewer shifts.

    utterances: what customers say, or the path of a CSV file of it (`read_utterances`). costs: or the path of a TOML file.
    setting: "full" has customers out of scope if there are sentences for them.

    Raises DataError (a bad file), ConfigError (a bad argument), SpaceError (an action that is not allowed), EnvironmentFault
    (a step without an open episode).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(
        self,
        utterances: Utterances | str | Path | None = None,
        split: Split = "train",
        costs: Costs | str | Path | None = None,
        setting: Setting | Mapping[str, float] | Literal["full", "plain"] = "full",
        customers: int = 8,
    ) -> None:
        if utterances is None:
            raise ConfigError(
                "utterances: expected a CSV file with the columns text and category (the intent), got none; on the command "
                "line: --env-arg utterances=FILE"
            )
        if not isinstance(utterances, Utterances):
            utterances = read_utterances(utterances)
        require_split(split)
        if not isinstance(costs, Costs | None):
            costs = Costs.read(costs)
        if setting not in ("full", "plain") and not isinstance(setting, Setting | Mapping):
            raise ConfigError(f"setting: expected 'full', 'plain' or a Setting, got {setting!r}")
        if isinstance(setting, Mapping):
            setting = Setting(**setting)
        full = Setting() if utterances.out_of_scope[split] else Setting(out_of_scope=0.0)
        self.setting = full if setting == "full" else PLAIN if setting == "plain" else setting
        self.customers = require_count("customers", customers, 1)
        self.utterances, self.costs = utterances, costs or Costs()
        self.intents = len(utterances.intents)
        self.ask, self.offer, self.hand_over = self.intents, self.intents + 1, self.intents + 2
        self.wrong = self.costs.wrong_by_intent(utterances.intents)
        self.confused_with = utterances.neighbours()
        self.sentences, self.outside = utterances.by_intent[split], utterances.out_of_scope[split]
        if self.setting.out_of_scope and not self.outside:
            raise ConfigError("setting: out_of_scope: expected 0, because the utterances have no sentence out of scope")
        self.metadata = {"render_modes": [], "seqel": {"discount": 0.95, "context": 6 * self.customers}}
        self.observation_space = spaces.Dict(
            {
                "said": spaces.Text(LONGEST, min_length=0, charset=utterances.characters),
                "reply": spaces.Discrete(len(REPLIES)),
                "outcome": spaces.Discrete(len(OUTCOMES)),
                "choose": spaces.Discrete(3),
                "asked": spaces.Discrete(6),
                "queue": spaces.Box(0.0, 1.0, (1,), np.float32),
            }
        )
        self.action_space = spaces.Discrete(self.intents + 3)
        self._left = 0  # customers of this shift who are not done
        self._customer = Customer(0, True, 5)
        self._seeds: NDArray[np.int64] = np.zeros(0, np.int64)
        self._rng = np.random.default_rng(0)  # of the customer at hand
        # the share of customers out of scope and the queue, relative to their largest values
        self._levels = np.zeros(2)
        self._offered: list[int] = []
        self._choose = DECIDE

    def labelled_texts(self) -> LabelledTexts:
        """Return the sentences for training and validation with their intents; "out of scope" is the last one, if any."""
        corpus = self.utterances
        outside = all(corpus.out_of_scope[split] for split in SPLITS[:2])
        names = (*corpus.intents, *(["out of scope"] if outside else []))
        train, validation = (
            ([text[:LONGEST] for text in texts[: (labels < len(names)).sum()]], labels[labels < len(names)])
            for texts, labels in map(corpus.labelled, SPLITS[:2])
        )
        return LabelledTexts(names, train, validation)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a shift. `options={"levels": (share, queue)}` sets how it starts, relative to the largest values."""
        super().reset(seed=seed)
        self._left = self.customers
        self._levels = self.np_random.random(2)
        self._seeds = self.np_random.integers(1 << 62, size=self.customers + 1)
        if options and "levels" in options:
            self._levels = np.clip(np.asarray(options["levels"], np.float64), 0.0, 1.0)
        self._arrive()
        return self._observe(self._say()), self._info()

    def step(self, action: np.int64 | int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not self._left:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        if not self.action_space.contains(action) or not self._mask()[action]:
            raise SpaceError(f"expected an action that the mask allows, got {action!r}")
        action, customer = int(action), self._customer
        if self._choose != DECIDE:
            self._offered.append(action)
            if self._choose == FIRST:
                self._choose = SECOND
                return self._observe(""), 0.0, False, False, self._info()
            return self._question(reply=True)
        if action == self.offer:
            self._choose, self._offered = FIRST, []
            return self._observe(""), 0.0, False, False, self._info()
        if action == self.ask:
            return self._question(reply=False)
        if action == self.hand_over:
            reward = self.costs.escalation + self.costs.queue * self.setting.queue * self._levels[1]
            return self._done(4 if customer.intent >= 0 else 5, reward)
        if action == customer.intent:
            return self._done(1, self.costs.right)
        return self._done(2, self.costs.wrong if customer.intent < 0 else self.wrong[customer.intent])

    def _question(self, reply: bool) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Ask the customer, who leaves, changes their mind, or says or replies something."""
        self._choose, customer = DECIDE, self._customer
        customer.asked += 1
        if customer.asked >= customer.patience:
            return self._done(3, self.costs.left)
        if customer.intent >= 0 and self._rng.random() < self.setting.changes:
            customer.intent = int(self._rng.integers(self.intents))
            reply = False  # they say what they want now
        if not reply:
            return self._observe(self._say()), self.costs.clarification, False, False, self._info()
        answer = self._offered.index(customer.intent) + 1 if customer.intent in self._offered else 3
        return self._observe("", reply=answer), self.costs.clarification, False, False, self._info()

    def _done(self, outcome: int, reward: float) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        customer, self._left = self._customer, self._left - 1
        about = {
            "intent": customer.intent,
            "outcome": OUTCOMES[outcome],
            "asked": customer.asked,
            "reward": float(reward),
        }
        self._arrive()
        over = not self._left
        seen = self._observe("" if over else self._say(), outcome=outcome)
        return seen, float(reward), over, False, self._info() | {"customer": about}

    def _arrive(self) -> None:
        """Let the next customer in, and let the queue and the share of customers out of scope drift."""
        self._rng = np.random.default_rng(self._seeds[self._left])
        rng, setting = self._rng, self.setting
        moved = self._levels + setting.drift * rng.normal(size=2)
        self._levels = 1.0 - np.abs(1.0 - np.abs(moved) % 2.0)  # reflected at 0 and 1
        outside = rng.random() < setting.out_of_scope * self._levels[0]
        intent = -1 if outside else int(rng.integers(self.intents))
        patience = 2 if rng.random() < setting.impatient else 5
        self._customer = Customer(intent, bool(rng.random() >= setting.unclear), patience)
        self._choose = DECIDE

    def _say(self) -> str:
        """Return a sentence of the customer."""
        customer, rng = self._customer, self._rng
        if customer.intent < 0:
            return self.outside[int(rng.integers(len(self.outside)))]
        intent = customer.intent
        if not customer.clear and rng.random() < self.setting.confused:
            some = self.confused_with[intent]
            intent = int(some[rng.integers(len(some))])
        sentences = self.sentences[intent]
        return sentences[int(rng.integers(len(sentences)))]

    def _observe(self, said: str, reply: int = 0, outcome: int = 0) -> dict[str, Any]:
        return {
            "said": said[:LONGEST], "reply": np.int64(reply), "outcome": np.int64(outcome), "choose": np.int64(self._choose),
            "asked": np.int64(self._customer.asked), "queue": np.array([self.setting.queue * self._levels[1]], np.float32),
        }  # fmt: skip

    def _mask(self) -> NDArray[np.bool_]:
        mask = np.ones(self.intents + 3, np.bool_)
        if self._choose != DECIDE:
            mask[self.intents :] = False
            mask[self._offered] = False
        return mask

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self._mask()}
