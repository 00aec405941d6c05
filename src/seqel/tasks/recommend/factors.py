"""Vectors of users and items whose products predict real ratings."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, DataError

__all__ = ["Factors", "fit_factors", "read_ratings"]

Numbers = NDArray[np.float64]
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Factors:
    """A rating is predicted as mean + bias of the item + user . item; popularity says how often an item is rated."""

    users: Numbers  # (U, K)
    items: Numbers  # (A, K)
    bias: Numbers  # (A,)
    mean: float
    popularity: Numbers  # (A,) logarithm of the number of ratings, standardised
    names: tuple[str, ...]  # of the items


def fit_factors(
    user: NDArray[np.integer],
    item: NDArray[np.integer],
    rating: NDArray[np.floating],
    names: tuple[str, ...],
    rank: int = 8,
    regularisation: float = 5.0,
) -> Factors:
    """Fit by alternating least squares (Zhou et al. 2008, AAIM): each side is a ridge regression with the other one fixed.

    user, item: (N,) codes from 0. The bias of an item is its mean deviation from the mean, shrunk as by five further ratings
    at the mean.

    Raises ConfigError: rank is below 1 or the regularisation not above 0.
    """
    if rank < 1 or regularisation <= 0.0:
        raise ConfigError(f"expected a rank of at least 1 and a regularisation above 0, got {rank}, {regularisation}")
    users, items = int(user.max()) + 1, len(names)
    mean = float(rating.mean())
    bias: Numbers = np.bincount(item, rating - mean, items) / (np.bincount(item, minlength=items) + 5.0)
    rest = rating - mean - bias[item]
    rng = np.random.default_rng(0)
    of_items = rng.normal(0.0, 0.1, (items, rank))
    of_users = np.zeros((users, rank))
    for _ in range(ROUNDS):
        of_users = _ridge(user, of_items[item], rest, users, regularisation)
        of_items = _ridge(item, of_users[user], rest, items, regularisation)
    count = np.log1p(np.bincount(item, minlength=items))
    popularity: Numbers = np.asarray((count - count.mean()) / max(float(count.std()), 1e-9), np.float64)
    return Factors(of_users, of_items, bias, mean, popularity, names)


def _ridge(row: NDArray[np.integer], x: Numbers, y: Numbers, rows: int, regularisation: float) -> Numbers:
    """Solve one regression of y on x for each row: row (N,), x (N, K), y (N,) -> (rows, K)."""
    rank = x.shape[1]
    left = np.zeros((rows, rank, rank))
    np.add.at(left, row, x[:, :, None] * x[:, None, :])
    right = np.zeros((rows, rank))
    np.add.at(right, row, x * y[:, None])
    return np.asarray(np.linalg.solve(left + regularisation * np.eye(rank), right[..., None])[..., 0], np.float64)


def read_ratings(path: str | Path, rank: int = 8) -> Factors:
    """Read a CSV file with the columns user, item and rating, and fit its factors.

    Raises DataError: the file or a column is missing, a rating is no finite number, or there are fewer than 100 rows.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"ratings: expected a CSV file with the columns user, item and rating, but {error}") from error
    missing = {"user", "item", "rating"} - set(rows[0] if rows else ())
    if missing:
        raise DataError(
            f"{path}: expected the columns user, item and rating, got none named {', '.join(sorted(missing))}"
        )
    if len(rows) < 100:
        raise DataError(f"{path}: expected at least 100 ratings, got {len(rows)}")
    try:
        rating = np.array([float(row["rating"]) for row in rows])
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: rating: expected numbers, but {error}") from error
    if not np.isfinite(rating).all():
        raise DataError(f"{path}: rating: expected finite numbers, got {rating[~np.isfinite(rating)][0]}")
    _, user = np.unique([row["user"] for row in rows], return_inverse=True)
    names, item = np.unique([row["item"] for row in rows], return_inverse=True)
    return fit_factors(user, item, rating, tuple(names.tolist()), rank)
