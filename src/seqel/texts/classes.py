"""Texts as log-probabilities of classes: logistic regression on the vectors of a frozen encoder, fitted on labelled texts.

An agent needs many rewards to learn what a vector of several hundred numbers means, for instance the intent of a customer. If
some texts have known classes, a classifier learns this in seconds, before training.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.spaces.text_readers import TextReader
from seqel.texts.logistic_regression import LogisticRegression, fit_logistic_regression
from seqel.texts.remembering import RememberingReader

__all__ = ["ClassReader", "LabelledTexts", "fit_classes"]

FOLDS = 5
LEAST = -9.21  # log(1e-4): a classifier is never surer than that
LARGEST = 1 << 26  # bytes of stored weights


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts whose classes are known. An environment returns this from `labelled_texts()`."""

    names: tuple[str, ...]  # of the classes
    train: tuple[Sequence[str], NDArray[np.int64]]  # N texts, and the number of each one's class (N,)
    validation: tuple[Sequence[str], NDArray[np.int64]]  # others, by which the strength of the penalty is chosen


class ClassReader(RememberingReader):
    """Reads a text as the log-probabilities of C classes, float32.

    There is one classifier per fold. The CRC-32 of a text determines its fold, and the text is classified by the classifier
    that was fitted without this fold. Training texts are therefore classified as reliably as new ones, and what an agent
    learns from the former holds for the latter (cross-fitting: Wolpert 1992, Neural Networks 5, 241-259).
    """

    dtype = "float32"

    def __init__(self, base: TextReader, names: Sequence[str], weight: NDArray[np.float32]) -> None:
        """base: reads texts as vectors (W,). weight: (K, C, W + 1), of K folds; the last column is the bias.

        Raises ValueError if the shapes do not fit.
        """
        super().__init__()
        if base.dtype != "float32" or weight.ndim != 3 or weight.shape[1:] != (len(names), base.shape[0] + 1):
            raise ValueError(f"expected weights (K, {len(names)}, {base.shape[0] + 1}), got {list(weight.shape)}")
        if not len(weight) or not np.isfinite(weight).all():
            raise ValueError("expected at least one fold and finite weights")
        self._base, self._names, self._weight = base, tuple(names), weight
        self.shape = (len(names),)
        digest = sha256(base.name.encode() + weight.tobytes()).hexdigest()
        self.name = f"classes-{len(names)}-{digest[:16]}"
        self.reads = f"text, as the log-probabilities of {len(names)} classes, by logistic regression"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from scipy.special import log_softmax  # here, because every training knows this class and few read by it

        vectors, weight = self._base.read(texts), self._weight
        fold = _folds(texts, len(weight))
        found = np.empty((len(texts), len(self._names)), np.float32)
        for one in np.unique(fold):
            rows = fold == one
            found[rows] = log_softmax(vectors[rows] @ weight[one, :, :-1].T + weight[one, :, -1], axis=1)
        return np.maximum(found, np.float32(LEAST))

    def unread(self, text: str) -> int:
        return self._base.unread(text)

    def to_json(self) -> dict[str, Any]:
        weight = base64.b64encode(self._weight.astype("<f4").tobytes()).decode()
        return {
            "encoder": "classes", "base": self._base.to_json(), "names": list(self._names), "folds": len(self._weight),
            "weight": weight,
        }  # fmt: skip

    @classmethod
    def from_json(cls, base: TextReader, data: Any) -> ClassReader:
        """Make the reader that `to_json` describes. Raises ValueError, TypeError or LookupError if it is something else."""
        text, names = str(data["weight"]), [str(name) for name in data["names"]]
        if len(text) > LARGEST:
            raise ValueError(f"expected weights of at most {LARGEST:,} characters, got {len(text):,}")
        flat = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
        return cls(base, names, flat.reshape(int(data["folds"]), len(names), base.shape[0] + 1).astype(np.float32))


def fit_classes(base: TextReader, labelled: LabelledTexts) -> ClassReader:
    """Fit the classifiers of all folds on the vectors of `base`.

    Raises ConfigError if `base` does not read texts as vectors, or a class has too few texts: each fold leaves some out.
    """
    if base.dtype != "float32":
        raise ConfigError(
            f"text.classes: expected texts that are read as vectors of a frozen encoder, got {base.reads}"
        )
    texts, labels = list(labelled.train[0]), np.asarray(labelled.train[1])
    x, held = base.read(texts), (base.read(list(labelled.validation[0])), np.asarray(labelled.validation[1]))
    fold, found = _folds(texts, FOLDS), list[LogisticRegression]()
    for one in range(FOLDS):
        others = fold != one
        known = (x[others], labels[others])
        if found:  # the folds differ little: the strength of the penalty is chosen once, and each starts from the first
            first = found[0]
            found.append(fit_logistic_regression(labelled.names, known, held, (first.strength,), first))
        else:
            found.append(fit_logistic_regression(labelled.names, known, held))
    weight = np.stack([np.concatenate([one.weight, one.bias[:, None]], axis=1) for one in found])
    return ClassReader(base, labelled.names, weight.astype(np.float32))


def _folds(texts: Sequence[str], count: int) -> NDArray[np.int64]:
    """Return the fold of each text, (R,)."""
    return np.array([zlib.crc32(text.encode("utf-8", "surrogatepass")) % count for text in texts], np.int64)
