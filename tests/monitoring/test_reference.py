"""The reference: what it holds, how it is saved, and that damage is found."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqel.errors import CheckpointError, DataError
from seqel.integrity import crc32
from seqel.monitoring import reference as module
from seqel.monitoring.reference import FILE, Reference
from seqel.monitoring.summary import QUANTILES, FeatureSummary
from support_monitoring import FAST, NAMES, PERHAPS, decisions, feature_map


@pytest.fixture(scope="module")
def made() -> Reference:
    return decisions(40).reference({"from": "play", "env": "Some-v0"})


def test_it_describes_the_decisions(made: Reference) -> None:
    given = decisions(40)
    assert made.names == NAMES and made.decisions == len(given.rows) and made.episodes == 40
    np.testing.assert_array_equal(made.counts, made.bins.counts(made.bins.index(given.rows)))
    np.testing.assert_array_equal(made.sample, made.bins.index(given.rows))
    np.testing.assert_array_equal(made.lengths, given.lengths)
    column = given.rows[:, PERHAPS]
    summary, missing = made.summaries[PERHAPS], np.isnan(column)
    assert summary.missing == pytest.approx(missing.mean()) and summary.mean == column[~missing].mean()
    assert summary.quantiles == tuple(np.quantile(column[~missing], QUANTILES))
    assert made.shares(PERHAPS)[made.bins.missing] == missing.mean()
    assert made.reward is not None and made.reward.mean == pytest.approx(given.rewards.mean())
    assert made.top_action_share == np.bincount(given.rows[:, 4].astype(int)).max() / len(given.rows)
    assert made.q_range == tuple(np.quantile(given.rows[:, -1], [0.01, 0.99]))
    assert made.effective_episodes == given.lengths.sum() ** 2 / (given.lengths**2).sum() < 40


def test_it_is_read_as_it_was_written(made: Reference, tmp_path: Path) -> None:
    assert made.save(tmp_path) == tmp_path / FILE
    again = Reference.load(tmp_path)
    assert again.save(tmp_path / "again.json").read_bytes() == (tmp_path / FILE).read_bytes()
    assert again.names == made.names and again.bins.limits == made.bins.limits and again.made == made.made
    assert again.summaries == made.summaries and again.reward == made.reward
    for name in ("counts", "sample", "values", "lengths"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    rows = again.features.rows({"colour": [[2]], "seen": [[1.5, -2.0, 0.0]]}, [1], [0.5])
    np.testing.assert_array_equal(again.bins.index(rows), made.bins.index(rows))


def test_names_of_columns_are_kept(tmp_path: Path) -> None:
    given = decisions(5)
    given.features.names[FAST] = "amount"
    assert Reference.load(given.reference().save(tmp_path)).names[FAST] == "amount"


def test_a_feature_without_values_is_unknown() -> None:
    given = decisions(5)
    given.rows[:, -1] = np.nan
    found = given.reference()
    assert found.known.tolist() == [True] * 5 + [False]
    assert all(np.isnan(one) for one in found.q_range)
    assert FeatureSummary.of(np.array([])).missing == 1.0


def test_whole_episodes_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DECISIONS", 300)
    given = decisions(40)
    found = given.reference()
    assert found.lengths.sum() <= 300 and len(found.lengths) >= 5
    assert found.decisions == len(given.rows) and found.counts[0].sum() == len(given.rows), (
        "the shares are those of all"
    )
    begin = np.cumsum(given.lengths) - given.lengths
    index = found.bins.index(given.rows)
    episodes = {index[start : start + length].tobytes() for start, length in zip(begin, given.lengths, strict=True)}
    start = 0
    for length in found.lengths.tolist():
        assert found.sample[start : start + length].tobytes() in episodes
        start += length
    monkeypatch.setattr(module, "MOST_DECISIONS", 10)
    assert given.reference().lengths.tolist() == [10], "a single episode may be cut"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows, lengths, reward: (rows[:0], lengths[:0], reward), r"rows \(N, 6\) of at least one decision"),
        (lambda rows, lengths, reward: (rows[:, :5], lengths, reward), r"rows \(N, 6\)"),
        (lambda rows, lengths, reward: (rows, lengths[1:], reward), "lengths of episodes with"),
        (lambda rows, lengths, reward: (rows, lengths, reward[1:]), "one reward for each of"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change: Callable[..., Any], message: str) -> None:
    given = decisions(5)
    with pytest.raises(DataError, match=message):
        Reference.from_rows(feature_map(), *change(given.rows, given.lengths, given.rewards))


def test_every_altered_or_missing_byte_is_found(made: Reference, tmp_path: Path) -> None:
    path = made.save(tmp_path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(len(good) - 1, size=200).tolist():
        damaged = bytearray(good)
        damaged[place] ^= 1 << int(rng.integers(7))
        path.write_bytes(damaged)
        try:
            found = Reference.load(path)
        except CheckpointError:
            continue
        assert found.save(tmp_path / "again.json").read_bytes() == good, "the same JSON, written otherwise"
    for place in (0, 1, len(good) // 2, len(good) - 3):
        path.write_bytes(good[:place])
        with pytest.raises(CheckpointError, match="damaged"):
            Reference.load(path)


def resealed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a file and its checksum, as only someone who means to would."""
    body = json.loads(path.read_bytes())
    del body["crc32"]
    change(body)
    seal = crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
    path.write_text(json.dumps({**body, "crc32": seal}))


def set_in(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in keys[:-1]:
            body = body[key]
        body[keys[-1]] = value

    return change


BOMB = base64.b64encode(zlib.compress(bytes(50_000_000))).decode()


@pytest.mark.parametrize(
    "change",
    [
        set_in("sample", "bins", value=BOMB),
        set_in("sample", "bins", value="no base64!"),
        set_in("sample", "lengths", value=[10**15]),
        set_in("sample", "lengths", value=[-1, 2]),
        set_in("sample", "q_max", value=None),
        set_in("features", value=[]),
        set_in("features", 0, "kind", value="number"),
        set_in("features", 1, "limits", value=[0.0]),
        set_in("features", 1, "limits", value=[0.0, 2.0, 1.0]),
        set_in("features", 1, "counts", value=[1]),
        set_in("features", 1, "counts", value=[-1] * 13),
        set_in("features", 0, "counts", 8, value=5),
        set_in("features", 1, "quantiles", value=[1]),
        set_in("observation", value=[{"path": "x"}]),
        set_in("action", value={"sizes": "many", "start": [0]}),
        set_in("episodes", value="many"),
        set_in("made", value=3),
    ],
)
def test_a_resealed_file_with_nonsense_is_refused(
    change: Callable[[dict[str, Any]], None], made: Reference, tmp_path: Path
) -> None:
    path = made.save(tmp_path)
    resealed(path, change)
    with pytest.raises(CheckpointError, match="is damaged"):
        Reference.load(path)


def test_other_files_are_refused(made: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="make it with `seqel monitor reference RUN`"):
        Reference.load(tmp_path)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="expected the format 'seqel-reference', version 1"):
        Reference.load(tmp_path / "list.json")
    path = made.save(tmp_path)
    resealed(path, set_in("version", value=2))
    with pytest.raises(CheckpointError, match="version 1, got something else"):
        Reference.load(path)
    monkeypatch.setattr(module, "LIMIT", 100)
    with pytest.raises(CheckpointError, match="expected at most 100 bytes"):
        Reference.load(path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE).symlink_to(path)
    with pytest.raises(CheckpointError, match="a link that leads out of its folder"):
        Reference.load(tmp_path / "run")
