"""The familiar states of an agent: detectors fitted on them, with thresholds, as one file beside the agent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.errors import CheckpointError, ConfigError, DataError
from seqel.integrity import crc32, too_large
from seqel.robustness.detectors import Knn, Mahalanobis, max_softmax, threshold_at
from seqel.storage import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from seqel.robustness.states import PlayedStates

__all__ = ["FILE", "StateReference"]

FILE = "states.safetensors"
FORMAT = "seqel-states-1"
LIMIT = 1 << 28  # bytes
NAMES = ("mahalanobis", "knn", "softmax")


@dataclass(frozen=True, slots=True)
class StateReference:
    """Detectors and the thresholds above which a state is unfamiliar; `weights` says which network's states they know."""

    mahalanobis: Mahalanobis
    knn: Knn
    thresholds: dict[str, float]  # of "mahalanobis", "knn" and "softmax"
    false_alarms: float  # share of familiar states above a threshold
    weights: str  # CRC-32 of the network's weights
    made: dict[str, Any]  # what it was made from

    @classmethod
    def fit(
        cls,
        played: PlayedStates,
        weights: str,
        false_alarms: float = 0.01,
        k: int = 10,
        seed: int = 0,
        made: dict[str, Any] | None = None,
    ) -> StateReference:
        """Fit the detectors on half of the episodes and set the thresholds on the others.

        Raises:
            DataError: fewer than 2 episodes, or too few states. ConfigError: `false_alarms` is not between 0 and 1.
        """
        if not 0.0 < false_alarms < 1.0:
            raise ConfigError(f"false_alarms: expected a share between 0 and 1, got {false_alarms}")
        episodes = np.unique(played.episode)
        if len(episodes) < 2:
            raise DataError(f"expected the states of at least 2 episodes, got {len(episodes)}")
        chosen = np.random.default_rng(seed).permutation(episodes)[: len(episodes) // 2]
        inside = np.isin(played.episode, chosen)
        mahalanobis = Mahalanobis.fit(played.states[inside], played.action[inside])
        knn = Knn.fit(played.states[inside], k, seed=seed)
        others = played.states[~inside]
        scores = {
            "mahalanobis": mahalanobis.score(others),
            "knn": knn.score(others),
            "softmax": max_softmax(played.scores[~inside]),
        }  # fmt: skip
        thresholds = {name: threshold_at(found, false_alarms) for name, found in scores.items()}
        return cls(mahalanobis, knn, thresholds, false_alarms, weights, dict(made or {}))

    def scores(self, states: NDArray[Any], decisions: NDArray[Any] | None = None) -> dict[str, NDArray[np.float64]]:
        """Return each detector's scores (rows,) of states (rows, D); that of `max_softmax` with decision scores."""
        found = {"mahalanobis": self.mahalanobis.score(states), "knn": self.knn.score(states)}
        return found if decisions is None else found | {"softmax": max_softmax(decisions)}

    def unfamiliar(self, states: NDArray[Any], detector: str = "mahalanobis") -> NDArray[np.bool_]:
        """Return which states (rows, D) are above the threshold of a detector, (rows,). Raises ConfigError."""
        if detector not in NAMES[:2]:
            raise ConfigError(f"detector: expected one of {NAMES[:2]}, got {detector!r}")
        one: Mahalanobis | Knn = self.mahalanobis if detector == "mahalanobis" else self.knn
        return np.asarray(one.score(states) > self.thresholds[detector], bool)

    def save(self, path: Path) -> Path:
        """Write the file. Raises StorageError."""
        from safetensors.numpy import save

        arrays = {f"mahalanobis.{name}": array for name, array in self.mahalanobis.arrays().items()}
        arrays |= {f"knn.{name}": np.ascontiguousarray(array) for name, array in self.knn.arrays().items()}
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        kept = {
            "format": FORMAT, "thresholds": self.thresholds, "false_alarms": self.false_alarms, "weights": self.weights,
            "made": self.made, "crc32": _sum(arrays),
        }  # fmt: skip
        atomic_write(path, save(arrays, {"seqel": json.dumps(kept)}))
        return path

    @classmethod
    def load(cls, path: Path) -> StateReference:
        """Read the file. Raises CheckpointError: there is none, it is damaged, or of another version."""
        from safetensors import SafetensorError, safe_open
        from safetensors.numpy import load_file

        too_large(path, LIMIT)
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file: write it with seqel monitor reference RUN --states")
        try:
            with safe_open(path, "numpy") as opened:
                kept = json.loads((opened.metadata() or {})["seqel"])
            arrays = load_file(path)
            if kept["format"] != FORMAT or kept["crc32"] != _sum(arrays):
                raise ValueError("its content does not match its checksum, or it is of another version")
            means, whitening = arrays["mahalanobis.means"], arrays["mahalanobis.whitening"]
            bank, k = arrays["knn.bank"], int(arrays["knn.k"].item())
            width = means.shape[1]
            if whitening.shape != (width, width) or bank.ndim != 2 or bank.shape[1] != width or not 1 <= k <= len(bank):
                raise ValueError("its arrays do not fit each other")
            thresholds = {name: float(kept["thresholds"][name]) for name in NAMES}
            return cls(
                Mahalanobis(means, whitening), Knn(bank, k), thresholds, float(kept["false_alarms"]), str(kept["weights"]),
                dict(kept["made"]),
            )  # fmt: skip
        except (
            OSError,
            SafetensorError,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            AttributeError,
            RecursionError,
        ) as error:
            raise CheckpointError(f"{path} is damaged, or not a reference of states: {error}") from error


def _sum(arrays: dict[str, NDArray[Any]]) -> str:
    return crc32(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays)))
