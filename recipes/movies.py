"""From a table to a policy: check MovieLens 100k as recorded sessions, train on it, and evaluate.

    SEQEL_DATA=/folder/of/data python recipes/movies.py [--out runs/movies] [--updates 3000]

Each user is a session. At each step the recommender knows the user and the film rated last, chooses a main genre, and is
rewarded by the rating that the user gave to the next film. The data are GroupLens's MovieLens 100k, in the atomic files of
RecBole; this program looks for `ml-100k/ml-100k.{inter,item,user}` in the folder that SEQEL_DATA names.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

# ten films ahead is far enough: one genre does not decide whether a user stays for hundreds of films
SETTINGS = ["--set", "objective.discount=0.9"]
COLUMNS = ["user", "step", "age", "gender", "occupation", "last_title", "last_year", "last_genre", "genre", "rating"]


def folder() -> Path:
    """Return the folder of the data."""
    found = Path(os.environ.get("SEQEL_DATA", "")) / "ml-100k"
    if not (found / "ml-100k.inter").exists():
        sys.exit(
            f"no ml-100k.inter in {found}: set SEQEL_DATA to the folder that holds ml-100k/ (get the data from "
            "https://grouplens.org/datasets/movielens/100k/, or as atomic files from RecBole)"
        )
    return found


def read(path: Path) -> list[dict[str, str]]:
    """Read a tab-separated file whose header has a kind after each column name (`age:token`)."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    return [dict(zip((name.split(":")[0] for name in head), row, strict=True)) for row in rows]


def write_sessions(data: Path, out: Path) -> None:
    """Write one row per rating, with what was known before it."""
    users = {row["user_id"]: row for row in read(data / "ml-100k.user")}
    films = {row["item_id"]: row for row in read(data / "ml-100k.item")}
    rated: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read(data / "ml-100k.inter"):
        rated[row["user_id"]].append(row)
    with out.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for user, rows in rated.items():
            rows.sort(key=lambda row: (int(row["timestamp"]), int(row["item_id"])))  # many have the same second
            last: dict[str, str] = {"movie_title": "", "release_year": "", "class": ""}
            for step, row in enumerate(rows):
                film, who = films[row["item_id"]], users[user]
                table.writerow(
                    {
                        "user": user,
                        "step": step,
                        **{name: who[name] for name in ("age", "gender", "occupation")},
                        "last_title": last["movie_title"],
                        "last_year": last["release_year"] if last["release_year"].isdigit() else "",
                        "last_genre": last["class"].split(" ")[0],
                        "genre": film["class"].split(" ")[0],
                        "rating": row["rating"],
                    }
                )
                last = film


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("runs/movies"))
    parser.add_argument("--updates", default="3000")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sessions, schema, run = (str(options.out / name) for name in ("sessions.csv", "schema.toml", "run"))
    write_sessions(folder(), Path(sessions))
    (options.out / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    for command in (
        ["data", "check", sessions, "--schema", schema],
        ["train", "--data", sessions, "--schema", schema, "--updates", options.updates, "--out", run, *SETTINGS],
        ["evaluate", run, "--data", sessions],
    ):
        print(f"\n$ seqel {' '.join(command)}", flush=True)
        subprocess.run([sys.executable, "-m", "seqel", *command], check=True)


SCHEMA = """\
session = "user"
order = "step"
action = "genre"
reward = "rating"
ends = "truncated" # a user stopped rating; that says nothing about what would have followed

[observation]
age = "number"
gender = "category"
occupation = "category"
last_title = "text"
last_year = "number"
last_genre = "category"
"""

if __name__ == "__main__":
    main()
