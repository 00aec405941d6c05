"""MovieLens-100k as a table with one row per rating, and agents that are trained on half of its users."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measured import train_or_resume

if TYPE_CHECKING:
    from seqel.agents.agent import Agent

__all__ = ["AGENTS", "BANDS", "train_agent", "write_tables"]

BANDS = ((25, "under 25"), (35, "25 to 34"), (50, "35 to 49"), (200, "50 and over"))
HALF: dict[str, Any] = {"offline.held_out": 0.5, "threads": 1, "device": "cpu"}
# name -> preset, updates, and settings; those of films are as in recommend.py, with batches of 2,048 items
AGENTS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "films": ("next-item", 600, {
        "network.context": 100, "replay.window": 200, "replay.batch_tokens": 2_048, "offline.every": 100,
        "offline.patience": 6,
    }),
    "genres": ("behaviour-cloning", 400, {"network.width": 32}),
}  # fmt: skip
# the next film, named by its number; for an agent of the preset next-item
FILMS = 'session = "user"\norder = "n"\naction = "item"\nreward = "rating"\nends = "truncated"\n'
# the first genre of the next film
GENRES = 'session = "user"\norder = "n"\naction = "genre"\nreward = "rating"\nends = "truncated"\n'


def write_tables(folder: Path) -> Path:
    """Write ratings.csv, films.toml and genres.toml into a folder, unless they exist. Returns the path of ratings.csv.

    Columns: user, n (how many ratings of the user came before), time (s), item, genre, rating (1 to 5), gender (F or M), age
    (years), age_band.
    """
    path = folder / "ratings.csv"
    if path.exists():
        return path
    data = Path(os.environ["SEQEL_DATA"]) / "ml-100k"
    genre = {row[0]: row[3].split()[0] for row in _rows(data / "ml-100k.item")}
    people = {row[0]: (int(row[1]), row[2]) for row in _rows(data / "ml-100k.user")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "films.toml").write_text(FILMS, encoding="utf-8")
    (folder / "genres.toml").write_text(GENRES, encoding="utf-8")
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["user", "n", "time", "item", "genre", "rating", "gender", "age", "age_band"])
        counts: Counter[str] = Counter()
        for user, item, rating, when in sorted(_rows(data / "ml-100k.inter"), key=lambda row: float(row[3])):
            age, gender = people[user]
            band = next(name for limit, name in BANDS if age < limit)
            table.writerow([user, counts[user], int(float(when)), item, genre[item], rating, gender, age, band])
            counts[user] += 1
    return path


def train_agent(name: str, folder: Path, seed: int = 0, updates: int = 0) -> tuple[Agent, Path]:
    """Train an agent of `AGENTS` in FOLDER/NAME-seedS, or load it if it is trained. Returns it, and its run's folder.

    updates: 0: as many as `AGENTS` says. Sessions that are held out are the same for all agents.
    """
    preset, usual, settings = AGENTS[name]
    table, run = write_tables(folder / "movielens"), folder / f"{name}-seed{seed}"
    schema = table.parent / f"{name}.toml"
    return train_or_resume(
        run, data=str(table), schema=schema, steps=updates or usual, seed=seed, preset=preset, settings=HALF | settings
    ), run


def _rows(path: Path) -> list[list[str]]:
    """Return the rows of a tab-separated file without its heading."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t") for line in lines]
