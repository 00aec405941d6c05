"""A simulator of customers by retrieval: what they say next is what a customer said in the most similar recorded dialogue.

Recorded dialogues say what followed the decisions of people, not what would have followed others. The simulator looks for
another dialogue in which the agent's decision was taken in a similar situation, and continues with it. It is for evaluation
(and needs dialogues that were not trained on), because an agent that learned in it would learn its mistakes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.datasets.dialogues import DIALOGUES
from seqel.datasets.encoding import natural
from seqel.datasets.json_lines import json_lines
from seqel.errors import ConfigError, DataError, EnvironmentFault, SpaceError
from seqel.tasks.arguments import require_count

__all__ = ["RetrievedCustomers", "make_retrieved_customers", "read_turns"]

Rows = Sequence[Mapping[str, Any]]
Vectors = NDArray[np.float32]
LONGEST = 2_000  # characters of what is observed
TEMPERATURE = 0.05  # of the choice among the most similar turns, in units of similarity
UNSUPPORTED = 0.05  # share of recorded decisions that the simulator would not recognise in other dialogues
_MADE: dict[tuple[Any, ...], RetrievedCustomers] = {}


class RetrievedCustomers(gymnasium.Env[dict[str, Any], np.int64]):
    """One customer per episode, who says what customers said in recorded dialogues.

    A situation is what the customer said last, everything they said, and the decisions so far: the mean of three cosine
    similarities compares it with each recorded turn. After a decision, one of the `nearest` turns with the same decision is
    drawn, more similar ones more often (softmax with temperature 0.05); its reward is paid, and what the customer said after
    it is observed. It may be any dialogue's, also the one that is being followed, so an agent that decides as people did
    gets exactly what they got. If no turn is similar enough, the decision has no effect: the customer repeats themselves,
    which costs `repeated`, and leaves at the third time in a row. How similar is enough: all but 5 % of the recorded turns
    are similar enough to a turn of another dialogue with the same decision.

    This is a kernel-based model of the process (Ormoneit and Sen 2002, Machine Learning 49) that draws a recorded transition
    in place of the mean of several, and refuses those that are not supported.

    Observation: "text/said", what the customer said, the same as of an agent that was trained on a table of dialogues.
    Actions: the names in `actions`, in their order.

    dialogues: the rows of each (`seqel.datasets.dialogues.rows_of`). encode: from R texts to vectors, (R, W), for example a
    frozen encoder's. actions: the order of an agent's actions, by default the sorted names of the dialogues. starts: numbers
    of the dialogues whose customers arrive, by default all; the others are only retrieved from. limit: decisions, then the
    episode is truncated.

    Raises ConfigError (a bad argument), DataError (no dialogues, or an action that is not in `actions`), SpaceError (no such
    action), EnvironmentFault (a step without an open episode).
    """

    def __init__(
        self,
        dialogues: Sequence[Rows],
        encode: Callable[[Sequence[str]], Any],
        actions: Sequence[str] = (),
        starts: Sequence[int] | None = None,
        nearest: int = 5,
        repeated: float = -0.05,
        limit: int = 40,
    ) -> None:
        if not dialogues or not all(dialogues):
            raise DataError("dialogues: expected at least one, each with a decision, got none or an empty one")
        self.nearest, self.limit = require_count("nearest", nearest, 1), require_count("limit", limit, 1)
        self.repeated = float(repeated)
        names = tuple(actions or natural({row["action"] for rows in dialogues for row in rows}))
        codes = {name: code for code, name in enumerate(names)}
        unknown = {row["action"] for rows in dialogues for row in rows} - set(names)
        if unknown:
            raise DataError(f"dialogues: expected the actions {list(names)}, got {min(unknown)!r:.80} as well")
        turns = [row for rows in dialogues for row in rows]
        self.actions = names
        self.said = [str(row["said"])[:LONGEST] for row in turns]
        self.action = np.array([codes[row["action"]] for row in turns])
        self.reward = np.array([float(row["reward"]) for row in turns])
        counts = np.array([len(rows) for rows in dialogues])
        self.first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.dialogue = np.repeat(np.arange(len(dialogues)), counts)
        self.last = np.zeros(len(turns), np.bool_)
        self.last[self.first + counts - 1] = True
        self.starts = np.arange(len(dialogues)) if starts is None else np.asarray(starts, np.int64)
        if not len(self.starts) or self.starts.min() < 0 or self.starts.max() >= len(dialogues):
            raise ConfigError(
                f"starts: expected numbers of dialogues from 0 to {len(dialogues) - 1}, got {starts!r:.80}"
            )
        self.words = _units(_encoded(encode, self.said))
        self.turns_of = [np.flatnonzero(self.action == code) for code in range(len(names))]
        situations = self._recorded_situations()
        self.situations_of = [situations[some] for some in self.turns_of]
        self.least = float(np.quantile(self.nearest_of_another()[1], UNSUPPORTED))
        characters = frozenset("".join(self.said)) or frozenset("a")
        self.observation_space = spaces.Dict({"text/said": spaces.Text(LONGEST, min_length=0, charset=characters)})
        self.action_space = spaces.Discrete(len(names))
        # so that agents whose actions have another order are refused
        self.metadata = {"render_modes": [], "seqel": {"actions": names}}
        self.turn = -1  # the recorded turn that is being followed; -1: no episode is open
        self._steps = self._repeats = 0
        self._heard = np.zeros(self.words.shape[1], np.float32)  # sum of the vectors of everything said
        self._decided = np.zeros(
            len(names) + 1, np.float32
        )  # how often each action was taken; the last place is always 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Let a customer arrive. `options={"dialogue": number}` says whose."""
        super().reset(seed=seed)
        number = self.starts[int(self.np_random.integers(len(self.starts)))]
        if options and "dialogue" in options:
            number = int(options["dialogue"])
        self.turn = int(self.first[number])
        self._steps = self._repeats = 0
        self._heard = self.words[self.turn].copy()
        self._decided = np.append(np.zeros(len(self.actions), np.float32), np.float32(1.0))
        return self._observe(), {}

    def step(self, action: np.int64 | int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.turn < 0:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        if not self.action_space.contains(action):
            raise SpaceError(f"expected an action from 0 to {len(self.actions) - 1}, got {action!r}")
        action = int(action)
        self._steps += 1
        found, similarity = self._retrieve(action)
        self._decided[action] += 1.0
        if found < 0:
            self._repeats += 1
            left, reward = self._repeats == 3, self.repeated
        else:
            self._repeats, left, reward = 0, bool(self.last[found]), float(self.reward[found])
            if not left:
                self.turn = found + 1
                self._heard += self.words[self.turn]
        truncated = not left and self._steps >= self.limit
        seen = {"text/said": ""} if left else self._observe()
        if left or truncated:
            self.turn = -1
        return seen, reward, left, truncated, {"understood": found >= 0, "similarity": similarity}

    def _retrieve(self, action: int) -> tuple[int, float]:
        """Return a recorded turn with this action (-1: none is similar enough), and how similar the most similar one is."""
        some = self.turns_of[action]
        if not len(some):
            return -1, 0.0
        key = _joined(self.words[self.turn], _units(self._heard), _units(np.sqrt(self._decided)))
        similar = self.situations_of[action] @ key
        best = np.flatnonzero(similar >= self.least)
        best = best[np.argsort(-similar[best], kind="stable")[: self.nearest]]
        if not len(best):
            return -1, float(similar.max())
        weights = np.exp((similar[best] - similar[best[0]]) / TEMPERATURE)
        drawn = best[int(self.np_random.choice(len(best), p=weights / weights.sum()))]
        return int(some[drawn]), float(similar[best[0]])

    def _observe(self) -> dict[str, str]:
        return {"text/said": self.said[self.turn]}

    def _recorded_situations(self) -> Vectors:
        """Return the situation of each recorded turn, before its decision, as a unit vector, (turns, features)."""
        turns = len(self.action)
        taken = np.zeros((turns, len(self.actions)), np.float32)
        taken[np.arange(turns), self.action] = 1.0
        start = self.first[self.dialogue]
        decided = _sums(taken, start) - taken
        decided = np.hstack([decided, np.ones((turns, 1), np.float32)])
        return _joined(self.words, _units(_sums(self.words, start)), _units(np.sqrt(decided)))

    def nearest_of_another(self) -> tuple[NDArray[np.int64], Vectors]:
        """Return the most similar turn with the same decision in another dialogue for each recorded turn, and how similar.

        Two arrays, (turns,). The similarity is -1 if no other dialogue has the decision; the turn is then the turn itself.
        """
        found, most = np.arange(len(self.action)), np.full(len(self.action), -1.0, np.float32)
        for turns, situations in zip(self.turns_of, self.situations_of, strict=True):
            if not len(turns):
                continue
            for block in np.array_split(np.arange(len(turns)), len(turns) // 512 + 1):
                similar = situations[block] @ situations.T
                similar[self.dialogue[turns[block]][:, None] == self.dialogue[turns][None]] = -1.0
                best = similar.argmax(axis=1)
                most[turns[block]] = similar[np.arange(len(block)), best]
                found[turns[block]] = np.where(most[turns[block]] > -1.0, turns[best], turns[block])
        return found, most


def read_turns(path: str | Path) -> list[list[dict[str, Any]]]:
    """Return the rows of each dialogue in a table of dialogues (`seqel data dialogues`), in the order of the file.

    Raises DataError, which names the line, if a row has no dialogue, text, action or reward; DataError: there are none.
    """
    columns: dict[str, Any] = {DIALOGUES.session: (str, int), "said": str, "action": str, "reward": (int, float)}
    found: dict[Any, list[dict[str, Any]]] = {}
    for where, line, row in json_lines([path], "a row of a table of dialogues as JSON"):
        if not isinstance(row, dict) or not all(isinstance(row.get(name), kind) for name, kind in columns.items()):
            raise DataError(f"{where}: expected a row with {', '.join(columns)}, got {line!r:.80}")
        found.setdefault(row[DIALOGUES.session], []).append(row)
    if not found:
        raise DataError(f"{path}: expected at least one row, got none")
    return list(found.values())


def make_retrieved_customers(dialogues: str | Path | None = None, model: str = "", **others: Any) -> RetrievedCustomers:
    """Make the simulator from a table of dialogues and a pretrained encoder, a folder or an id of the Hugging Face hub.

    Raises as `RetrievedCustomers` and `read_turns`, and ConfigError or MissingExtraError if the encoder is not there.
    """
    from seqel.texts.config import TextConfig
    from seqel.texts.make import make_reader

    if dialogues is None or not model:
        raise ConfigError(
            "dialogues, model: expected a table of dialogues (`seqel data dialogues`) and an encoder, a folder or an id of "
            f"the Hugging Face hub, got {dialogues!r} and {model!r}; on the command line: --env-arg dialogues=FILE "
            "--env-arg model=MODEL"
        )
    path = Path(dialogues)
    found = path.stat() if path.exists() else None
    key = (str(path.resolve()), found and (found.st_mtime_ns, found.st_size), model, repr(sorted(others.items())))
    if key not in _MADE:
        reader = make_reader(TextConfig(encoder="pretrained", model=model))
        assert reader is not None
        made = RetrievedCustomers(read_turns(path), lambda texts: reader.read(list(texts)), **others)
        _MADE.clear()  # of one table at a time
        _MADE[key] = made
    return copy.copy(_MADE[key])  # environments that play side by side share the recorded turns, and no state


def _encoded(encode: Callable[[Sequence[str]], Any], texts: list[str]) -> Vectors:
    """Return a vector for each text; equal texts are encoded once."""
    distinct, place = np.unique(np.array(texts, object), return_inverse=True)
    vectors = np.asarray(encode(distinct.tolist()), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(distinct) or not np.isfinite(vectors).all():
        raise ConfigError(f"encode: expected {len(distinct)} vectors of finite numbers, got an array {vectors.shape}")
    return vectors[place]


def _units(vectors: Vectors) -> Vectors:
    """Return the vectors scaled to length 1; those of length 0 stay."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def _joined(*parts: Vectors) -> Vectors:
    """Return vectors whose inner product is the mean of the inner products of the parts."""
    return np.asarray(np.concatenate(parts, axis=-1) / np.sqrt(len(parts)), np.float32)


def _sums(rows: Vectors, start: NDArray[np.int64]) -> Vectors:
    """Return the sum from the row `start` to each row, inclusive."""
    total = np.cumsum(rows, axis=0, dtype=np.float64)
    before = np.vstack([np.zeros((1, rows.shape[1])), total])[start]
    return np.asarray(total - before, np.float32)
