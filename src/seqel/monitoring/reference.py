"""What observations, actions, scores and rewards looked like in training: the file `reference.json`.

It holds bins and shares of every feature, and a sample of whole episodes as bins, from which the thresholds of drift are
calibrated. The file is JSON with a checksum. Nothing in it is executed or imported, and its size is limited.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.errors import CheckpointError, DataError
from seqel.integrity import crc32, require_own, too_large
from seqel.monitoring.bins import Bins
from seqel.monitoring.features import Q_MAX, FeatureMap
from seqel.monitoring.summary import QUANTILES, FeatureSummary
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.storage import atomic_write

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FILE", "Reference"]

FILE = "reference.json"
FORMAT, VERSION = "seqel-reference", 1
LIMIT = 64 << 20  # bytes of the file
MOST_CELLS = 4_000_000  # of the sample: decisions times features
MOST_DECISIONS = 100_000  # of the sample
MOST_LIMITS = 64  # of the bins of a feature


@dataclass(frozen=True)
class Reference:
    """Distributions of F features over the decisions of whole episodes.

    Attributes:
        features: what the features are. bins: their bins, K at most.
        counts: (F, K) decisions per bin. summaries: one per feature. reward: the same of the rewards, or None.
        sample: (N, F) the bins of the kept decisions, episode by episode. values: (N,) their q_max. lengths: (E,) of the
            kept episodes.
        episodes, decisions: of all that it was made from.
        made: how, in words of its maker: from which environment or files.
    """

    features: FeatureMap
    bins: Bins
    counts: NDArray[np.float64]
    summaries: tuple[FeatureSummary, ...]
    reward: FeatureSummary | None
    sample: NDArray[np.uint8]
    values: NDArray[np.float32]
    lengths: NDArray[np.int64]
    episodes: int
    decisions: int
    made: dict[str, Any]

    @classmethod
    def from_rows(
        cls,
        features: FeatureMap,
        rows: NDArray[np.float64],
        lengths: NDArray[np.int64],
        reward: NDArray[np.floating[Any]] | None = None,
        made: dict[str, Any] | None = None,
        *,
        seed: int = 0,
    ) -> Reference:
        """Make a reference.

        Args:
            rows: (N, F) what `features.rows` returned, episode by episode.
            lengths: (E,) how many decisions each episode has.
            reward: (N,) after each decision.
            made: what it was made from; plain values, kept in the file.
            seed: of the choice of episodes that are kept, if there are too many.

        Raises DataError: no decision, or the lengths do not add up to N.
        """
        lengths = np.asarray(lengths, np.int64)
        if rows.ndim != 2 or rows.shape[1] != len(features) or not len(rows):
            raise DataError(f"expected rows (N, {len(features)}) of at least one decision, got {list(rows.shape)}")
        if (lengths < 1).any() or int(lengths.sum()) != len(rows):
            raise DataError(
                f"expected the lengths of episodes with {len(rows):,} decisions in all, got {lengths.sum():,}"
            )
        if reward is not None and len(reward) != len(rows):
            raise DataError(f"expected one reward for each of {len(rows):,} decisions, got {len(reward):,}")
        bins = Bins.of(rows, features.kinds)
        index = np.concatenate([bins.index(part) for part in np.array_split(rows, 1 + len(rows) // 8192)])
        kept, some = _some_episodes(lengths, min(MOST_DECISIONS, MOST_CELLS // len(features)), seed)
        return cls(
            features,
            bins,
            bins.counts(index),
            tuple(FeatureSummary.of(column) for column in rows.T),
            None if reward is None else FeatureSummary.of(np.asarray(reward, np.float64)),
            index[kept],
            rows[kept, -1].astype(np.float32),
            some,
            len(lengths),
            len(rows),
            dict(made or {}),
        )

    # -- what it says ----------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return self.features.names

    @property
    def known(self) -> NDArray[np.bool_]:
        """(F,) False for features without any value, which nothing can be compared with."""
        return np.array([one.missing < 1.0 for one in self.summaries])

    @property
    def effective_episodes(self) -> float:
        """The number of equally long episodes that say as much about shares as those of the sample: (sum L)^2 / sum L^2."""
        lengths = self.lengths.astype(np.float64)
        return float(lengths.sum() ** 2 / (lengths**2).sum())

    @property
    def q_range(self) -> tuple[float, float]:
        """The 1 % and 99 % quantiles of q_max; NaN if unknown."""
        quantiles = self.summaries[self.names.index(Q_MAX)].quantiles
        return quantiles[QUANTILES.index(0.01)], quantiles[QUANTILES.index(0.99)]

    @property
    def top_action_share(self) -> float:
        """The share of the most frequent action, of the first dimension."""
        counts = self.counts[self.features.observed]
        return float(counts.max() / counts.sum())

    def shares(self, feature: int) -> NDArray[np.float64]:
        """Return the shares of a feature's bins, (K,)."""
        return np.asarray(self.counts[feature] / self.counts[feature].sum(), np.float64)

    # -- the file --------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write the file, or `reference.json` in a folder. Returns its path. Raises StorageError."""
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        leaves = [leaf | {"low": [], "high": []} for leaf in self.features.observation.to_json()]
        body: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "made": self.made,
            "episodes": self.episodes,
            "decisions": self.decisions,
            "observation": leaves,
            "action": asdict(self.features.action),
            "features": [
                {
                    "name": name,
                    "kind": self.bins.kinds[place],
                    "limits": list(self.bins.limits[place]),
                    "counts": [int(one) for one in self.counts[place]],
                    **self.summaries[place].to_json(),
                }
                for place, name in enumerate(self.names)
            ],
            "reward": None if self.reward is None else self.reward.to_json(),
            "sample": {
                "lengths": self.lengths.tolist(), "bins": _packed(self.sample), "q_max": _packed(self.values),
            },
        }  # fmt: skip
        text = json.dumps({**body, "crc32": _seal(body)}, allow_nan=False, separators=(",", ":"))
        atomic_write(path, text + "\n")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Read the file, or `reference.json` in a folder.

        Raises CheckpointError: it is missing, too large, damaged, or of another version.
        """
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        require_own(path, path.parent)
        too_large(path, LIMIT)
        try:
            body = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} does not exist: make it with `seqel monitor reference RUN`") from error
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged: expected JSON, got {str(error)[:100]}") from error
        if not isinstance(body, dict) or body.get("format") != FORMAT or body.get("version") != VERSION:
            raise CheckpointError(f"{path}: expected the format {FORMAT!r}, version {VERSION}, got something else")
        try:
            if body.pop("crc32", None) != _seal(body):
                raise CheckpointError(f"{path} is damaged: its content does not match its checksum")
            return cls._of_json(body)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, zlib.error) as error:
            raise CheckpointError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error

    @classmethod
    def _of_json(cls, body: dict[str, Any]) -> Reference:
        observation = ObservationSpec.from_json(body["observation"])
        action = ActionSpec(*(tuple(map(int, body["action"][name])) for name in ("sizes", "start")))
        features = FeatureMap(observation, action)
        found = body["features"]
        if len(found) != len(features) or [one["kind"] for one in found] != features.kinds:
            raise ValueError(f"expected {len(features)} features, as the spaces have, got others")
        features.names = [str(one["name"]) for one in found]
        limits = tuple(tuple(map(float, one["limits"])) for one in found)
        if any(
            list(one) != sorted({*one}) or len(one) > MOST_LIMITS or not all(map(math.isfinite, one)) for one in limits
        ):
            raise ValueError("expected growing limits of bins")
        bins = Bins(tuple(features.kinds), limits)
        counts = np.array([one["counts"] for one in found], np.float64)
        lengths = np.array(body["sample"]["lengths"], np.int64)
        rows = int(lengths.sum())
        if counts.shape != (len(features), bins.width) or (counts < 0).any() or (counts[bins.used == 0] > 0).any():
            raise ValueError("the counts do not fit the bins")
        if (
            not len(lengths)
            or (lengths < 1).any()
            or rows * len(features) > 2 * MOST_CELLS
            or (counts.sum(axis=1) < 1).any()
        ):
            raise ValueError("the lengths of the episodes do not fit")
        sample = _unpacked(body["sample"]["bins"], np.uint8, (rows, len(features)))
        if int(sample.max()) >= bins.width or not bins.used[np.arange(len(features)), sample].all():
            raise ValueError("the sample has bins that do not exist")
        reward = None if body["reward"] is None else FeatureSummary.from_json(body["reward"])
        return cls(
            features, bins, counts, tuple(map(FeatureSummary.from_json, found)), reward, sample,
            _unpacked(body["sample"]["q_max"], np.float32, (rows,)), lengths, int(body["episodes"]),
            int(body["decisions"]), dict(body["made"]),
        )  # fmt: skip


def _some_episodes(lengths: NDArray[np.int64], most: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose whole episodes at random, of at most `most` decisions.  -> their rows, their lengths.

    The last one is cut if it is the only one and too long.
    """
    begin = np.cumsum(lengths) - lengths
    order = np.random.default_rng(seed).permutation(len(lengths))
    fits = np.cumsum(lengths[order]) <= most
    chosen = np.sort(order[fits]) if fits.any() else order[:1]
    size = np.minimum(lengths[chosen], most)
    rows = np.repeat(begin[chosen] - (np.cumsum(size) - size), size) + np.arange(int(size.sum()))
    return rows, size


def _packed(array: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 6)).decode()


def _unpacked(text: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """The inverse of `_packed`, which never makes more bytes than the shape has."""
    wanted = math.prod(shape) * np.dtype(dtype).itemsize
    data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), wanted + 1)
    if len(data) != wanted:
        raise ValueError(f"expected {wanted:,} bytes of the sample, got {len(data):,}")
    return np.frombuffer(data, dtype).reshape(shape)


def _seal(body: dict[str, Any]) -> str:
    return crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
