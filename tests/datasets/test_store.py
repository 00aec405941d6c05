from __future__ import annotations

import json
import os
import random
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqel.datasets import store
from seqel.datasets.dataset import Dataset, StoreWarning, load
from seqel.datasets.importing import rows as importing
from seqel.datasets.importing.episodes import stable_order
from seqel.datasets.reading import chunks as lines
from seqel.errors import ConfigError, DataError
from seqel.integrity import checksum
from seqel.spaces.text_readers import hash_text


def contents(dataset: Dataset) -> dict[str, Any]:
    found = {name: np.array(column) for name, column in dataset.buffer.slots.columns.items()}
    return {**found, "episodes": dataset.buffer.table.numbers.copy(), "sessions": np.array(dataset.sessions)}


def same(one: Dataset, two: Dataset) -> None:
    a, b = contents(one), contents(two)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert one.encoding is not None and two.encoding is not None
    assert one.encoding.to_json() == two.encoding.to_json()


def episode(dataset: Dataset, session: str) -> dict[str, Any]:
    """A session's slots."""
    row = dataset.sessions.index(session)
    slot, length, _, terminated, _ = dataset.buffer.table.numbers[row].tolist()
    columns = {
        name: np.array(column[slot : slot + length + 1]) for name, column in dataset.buffer.slots.columns.items()
    }
    return {**columns, "length": length, "terminated": terminated}


def test_an_example_worked_by_hand(tables: Any) -> None:
    dataset = load(tables.csv(tables.rows), tables.schema())
    assert sorted(dataset.sessions) == ["ann", "bo", "cé"]
    assert dataset.actions == ["go", "stay"]
    assert dataset.action.sizes == (2,)
    assert dataset.encoding is not None
    assert dataset.encoding.vocabularies == {"kind": ("blue", "red", "黄")}
    found = episode(dataset, "ann")
    assert (found["length"], found["terminated"]) == (3, 1)
    # T = 3 transitions, 4 slots: the last one repeats the observation, without action and reward
    np.testing.assert_array_equal(found["observation/numbers"], [[3], [13], [23], [23]])
    np.testing.assert_array_equal(found["observation/categories"], [[2], [1], [2], [2]])
    np.testing.assert_array_equal(
        found["observation/text/say"], [hash_text("hi"), hash_text("你好 😀"), hash_text(""), hash_text("")]
    )
    np.testing.assert_array_equal(found["action"], [[0], [1], [0], [0]])
    np.testing.assert_array_equal(found["reward"], np.array([0, 0.5, 1, 0], np.float32))
    np.testing.assert_array_equal(found["by_agent"], [True, True, True, False])
    assert np.isnan(found["behaviour_prob"]).all()
    assert episode(dataset, "bo")["length"] == 1
    assert len(dataset) == 3 + 1 + 4
    # slots follow each other without gaps
    slot, length = dataset.buffer.table.numbers[:, 0], dataset.buffer.lengths
    np.testing.assert_array_equal(slot, np.concatenate([[0], np.cumsum(length + 1)[:-1]]))


def test_a_truncated_session_loses_its_last_transition(tables: Any) -> None:
    dataset = load(tables.csv(tables.rows), tables.schema(ends="truncated"))
    found = episode(dataset, "ann")
    assert (found["length"], found["terminated"]) == (2, 0)
    np.testing.assert_array_equal(found["observation/numbers"], [[3], [13], [23]])
    np.testing.assert_array_equal(found["action"], [[0], [1], [0]])
    np.testing.assert_array_equal(found["reward"], np.array([0, 0.5, 0], np.float32))
    assert sorted(dataset.sessions) == ["ann", "cé"]  # bo has a single row, so no transition is left
    assert dataset.report["dropped_sessions"] == 1
    assert dataset.report["dropped_steps"] == 3


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_a_last_row_without_action_and_reward_is_the_final_observation(tables: Any, ends: str) -> None:
    rows = [*tables.rows, {"who": "ann", "step": 3, "x": 99.0, "kind": "red", "say": "end", "do": None, "gain": None}]
    dataset = load(tables.csv(rows), tables.schema(ends=ends))
    found = episode(dataset, "ann")
    assert (found["length"], found["terminated"]) == (3, int(ends == "terminated"))
    np.testing.assert_array_equal(found["observation/numbers"], [[3], [13], [23], [99]])
    np.testing.assert_array_equal(found["action"], [[0], [1], [0], [0]])
    np.testing.assert_array_equal(found["reward"], np.array([0, 0.5, 1, 0], np.float32))
    assert dataset.report["final_rows"] == 1


def test_columns_say_how_a_session_ends(tables: Any) -> None:
    rows = [{**row, "over": row["who"] == "ann" and row["step"] == 2, "cut": row["who"] == "cé" and row["step"] == 3}
            for row in tables.rows]  # fmt: skip
    dataset = load(tables.csv(rows), tables.schema(terminated="over", truncated="cut"))
    assert (episode(dataset, "ann")["length"], episode(dataset, "ann")["terminated"]) == (3, 1)
    assert (episode(dataset, "cé")["length"], episode(dataset, "cé")["terminated"]) == (3, 0)
    assert "bo" not in dataset.sessions
    dataset = load(tables.csv(rows), tables.schema(truncated="cut"))  # sessions that are not truncated have ended
    assert (episode(dataset, "bo")["length"], episode(dataset, "bo")["terminated"]) == (1, 1)
    assert (episode(dataset, "cé")["length"], episode(dataset, "cé")["terminated"]) == (3, 0)
    with pytest.raises(DataError, match=r"t\.csv, line 2, column 'over': the session ends here, but it has rows after"):
        load(tables.csv([{**row, "over": row["step"] == 0} for row in tables.rows]), tables.schema(terminated="over"))


def test_the_flag_may_be_at_the_last_action_or_the_final_observation(tables: Any) -> None:
    for at in (2, 3):
        rows = [{**row, "over": int(row["step"] == at)} for row in tables.rows if row["who"] == "ann"]
        rows.append({**rows[-1], "step": 3, "do": None, "gain": None, "over": int(at == 3)})
        found = episode(load(tables.csv(rows), tables.schema(terminated="over")), "ann")
        assert (found["length"], found["terminated"]) == (3, 1)


def test_csv_jsonl_parquet_and_gzip_give_the_same_store(tables: Any) -> None:
    schema = tables.schema()
    one = load(tables.csv(tables.rows), schema)
    same(one, load(tables.jsonl(tables.rows), schema))
    same(one, load(tables.parquet(tables.rows), schema))
    same(one, load(tables.csv(tables.rows, "z.csv.gz"), schema))
    same(one, load(tables.jsonl(tables.rows, "z.jsonl.gz"), schema))
    half = [tables.csv(tables.rows[:3], "p1.csv"), tables.jsonl(tables.rows[3:], "p2.jsonl")]
    same(one, load(half, schema))
    tables.csv(tables.rows[3:], "p2.csv")
    same(one, load(str(tables.directory / "p*.csv"), schema))


def test_vectors_masks_flags_and_probabilities_are_the_same_from_every_format(tables: Any) -> None:
    rows = [
        {
            **row,
            "v": [0.5, row["step"]],
            "mask": [True, row["step"] == 1],
            "p": 0.25 * (1 + row["step"] % 2),
            "z": row["step"],
        }
        for row in tables.rows
    ]
    rows[2]["v"] = None
    schema = tables.schema(
        observation={"v": "vector", "x": "number", "z": "category"}, mask="mask", behaviour_probability="p"
    )
    one = load(tables.parquet(rows), schema)
    same(one, load(tables.jsonl(rows), schema))
    flat = [{**row, "v": None if row["v"] is None else str(row["v"]), "mask": str(row["mask"]).lower()} for row in rows]
    same(one, load(tables.csv(flat), schema))
    found = episode(one, "ann")
    np.testing.assert_array_equal(found["observation/vector/v"], [[0.5, 0, 0], [0.5, 1, 0], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(found["action_mask"], [[True, False], [True, True], [True, False], [True, False]])
    np.testing.assert_array_equal(found["behaviour_prob"], np.array([0.25, 0.5, 0.25, np.nan], np.float32))
    columns = [{**row, "may_go": 1, "may_stay": int(row["step"] == 1)} for row in flat]
    wide = load(tables.csv(columns), tables.schema(observation={"x": "number"}, mask=["may_go", "may_stay"]))
    np.testing.assert_array_equal(episode(wide, "ann")["action_mask"], found["action_mask"])


def test_rows_in_any_order_give_the_same_store(tables: Any) -> None:
    schema = tables.schema()
    one = load(tables.csv(tables.rows), schema)
    shuffled = [tables.rows[i] for i in np.random.default_rng(0).permutation(len(tables.rows))]
    two = load(tables.csv(shuffled, "s.csv"), schema)
    same(one, two)
    assert one.report["out_of_order"] == 0
    assert two.report["out_of_order"] > 0


def test_without_an_order_the_file_s_order_counts(tables: Any) -> None:
    rows = [row for row in tables.rows if row["who"] == "ann"][::-1]
    dataset = load(tables.csv(rows), replace(tables.schema(), order=None))
    np.testing.assert_array_equal(episode(dataset, "ann")["observation/numbers"][:, 0], [23, 13, 3, 3])


@pytest.mark.parametrize(
    "times",
    [
        ["2026-01-01T10:00:00", "2026-01-01T10:00:00.5", "2026-01-02T09:00:00"],
        ["2026-01-01T10:00:00Z", "2026-01-01T13:00:00+02:00", "2026-01-02T00:00:00+03:00"],
        ["2026-01-01", "2026-01-02", "2026-01-03"],
        ["0.5", "1e0", "7"],
        ["9007199254740992", "9007199254740993", "9007199254740994"],  # float64 cannot distinguish the first two
    ],
)
def test_orders_are_numbers_or_dates(tables: Any, times: list[str]) -> None:
    lines_ = "\n".join(f"s,{times[i]},{i},a,0" for i in (1, 2, 0))
    path = tables.text(f"who,step,x,do,gain\n{lines_}\n")
    dataset = load(path, tables.schema(observation={"x": "number"}))
    np.testing.assert_array_equal(dataset.buffer.slots.columns["observation/numbers"][:, 0], [0, 1, 2, 2])
    frame = pl.read_csv(path, try_parse_dates=True)
    frame.write_parquet(tables.directory / "t.parquet")
    same(dataset, load(tables.directory / "t.parquet", tables.schema(observation={"x": "number"})))


def test_an_order_that_is_observed_keeps_its_digits(tables: Any) -> None:
    rows = [{"who": "a", "step": 9007199254740992 + i, "do": "go", "gain": True} for i in (1, 0)]
    for path in (tables.csv(rows), tables.jsonl(rows), tables.parquet(rows)):
        dataset = load(path, tables.schema(observation={"step": "number"}))
        assert dataset.report["out_of_order"] == 1
        np.testing.assert_array_equal(dataset.buffer.slots.columns["reward"], [1, 1, 0])


def many(rows: int = 3_000, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "who": [f"user {i}" for i in rng.integers(0, 150, rows)],
            "step": np.arange(rows),
            "x": rng.normal(size=rows),
            "kind": [f"k{i}" for i in rng.zipf(1.5, rows) % 50],
            "say": [f'line one\nline, {i % 7} "two"' if i % 3 else "short" for i in range(rows)],
            "do": rng.integers(0, 4, rows),
            "gain": rng.normal(size=rows).round(3),
        }
    )
    return frame.with_columns(x=pl.when(pl.col("step") % 10 == 0).then(None).otherwise("x"))


def test_many_batches_and_buckets_give_the_same_as_one(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tables.directory / "m.csv"
    many().write_csv(path)
    many().write_parquet(tables.directory / "m.parquet")
    one = load(path, tables.schema(), tables.directory / "one")
    sizes: list[int] = []
    original = importing._Pass.take

    def take(self: Any, batch: Any) -> None:
        sizes.append(len(batch.rows))
        original(self, batch)

    monkeypatch.setattr(importing._Pass, "take", take)
    monkeypatch.setattr(lines, "BLOCK", 4_096)
    monkeypatch.setattr(importing, "BUCKET", 16_384)
    buckets: list[int] = []
    assemble = vars(store)["assemble"]

    def counted(records: Any, *rest: Any) -> Any:
        buckets.append(len(records))
        return assemble(records, *rest)

    monkeypatch.setattr(store, "assemble", counted)
    same(one, load(path, tables.schema(), tables.directory / "two"))
    assert len(sizes) > 20 and max(sizes) < 300  # a batch is a block of the file, never all of it
    assert len(buckets) > 5 and max(buckets) < 1_500
    buckets.clear()
    same(one, load(tables.directory / "m.parquet", tables.schema(), tables.directory / "three"))
    assert len(buckets) > 5
    assert one.report["missing"]["x"] == 300
    assert one.observation.leaves[0].shape == (2,)


def test_the_second_start_opens_the_store_and_reads_no_table(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tables.csv(tables.rows)
    one = load(path, tables.schema())
    assert one.directory is not None and one.directory.parent == path.parent / ".seqel"
    monkeypatch.setattr(store, "build", lambda *args: pytest.fail("imported again"))
    two = load(path, tables.schema())
    same(one, two)
    assert two.report == one.report
    assert isinstance(two.buffer.slots.columns["reward"], np.memmap)


def test_a_changed_file_or_schema_or_a_damaged_store_is_imported_again(tables: Any) -> None:
    path = tables.csv(tables.rows)
    one = load(path, tables.schema())
    assert one.directory is not None
    changed = [{**row, "gain": 7.0} for row in tables.rows]
    tables.csv(changed)
    assert contents(load(path, tables.schema()))["reward"].max() == 7.0
    tables.csv(tables.rows)
    os.utime(path, ns=(1, 1))
    two = load(path, tables.schema())
    same(one, two)
    assert load(path, tables.schema(observation={"x": "number"})).observation.leaves[0].path == "numbers"
    column = one.directory / "00.bin"
    content = column.read_bytes()
    column.unlink()  # `two` still has it mapped
    column.write_bytes(content[:-1])
    same(two, load(path, tables.schema()))
    (one.directory / "meta.json").write_text("{")
    same(two, load(path, tables.schema()))


def test_a_refused_file_leaves_no_store_and_the_old_one_untouched(tables: Any) -> None:
    path = tables.csv(tables.rows)
    load(path, tables.schema())
    before = sorted(file.name for file in (path.parent / ".seqel").rglob("*"))
    tables.csv([{**row, "gain": "x"} for row in tables.rows])
    with pytest.raises(DataError, match="line 2, column 'gain'"):
        load(path, tables.schema())
    assert sorted(file.name for file in (path.parent / ".seqel").rglob("*")) == before


def test_where_the_folder_cannot_be_written_the_store_is_elsewhere(
    tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tables.directory / "home"))
    path = tables.csv(tables.rows, "closed/t.csv")
    monkeypatch.setattr(os, "access", lambda *args: False)
    dataset = load(path, tables.schema())
    assert dataset.directory is not None
    assert dataset.directory.parent == tables.directory / "home" / "seqel" / "datasets"


def test_masks_that_do_not_fit_are_refused(tables: Any) -> None:
    rows = [{**row, "mask": [True, True, True]} for row in tables.rows]
    with pytest.raises(DataError, match="the action mask has 3 values per row, but there are 2 actions"):
        load(tables.jsonl(rows), tables.schema(mask="mask"))
    dataset = load(tables.jsonl(rows), tables.schema(mask="mask", actions=["stay", "go", "jump"]))
    assert dataset.actions == ["stay", "go", "jump"]
    assert dataset.action.actions == 3
    rows = [{**row, "mask": [False, True]} for row in tables.rows]
    with pytest.raises(
        DataError, match=r"t\.jsonl, line 1, column 'mask': expected a mask that allows the action taken"
    ):
        load(tables.jsonl(rows), tables.schema(mask="mask"))
    rows[4]["mask"] = [True]
    with pytest.raises(DataError, match=r"line 5, column 'mask': expected a list .* of length 2"):
        load(tables.jsonl(rows), tables.schema(mask="mask"))


def test_actions_that_the_schema_does_not_list_are_refused(tables: Any) -> None:
    with pytest.raises(DataError, match="expected one of the schema's actions \\['go'\\], got 'stay'"):
        load(tables.csv(tables.rows), tables.schema(actions=["go"]))


def test_split_is_by_session_and_stable(tables: Any) -> None:
    many().write_csv(tables.directory / "m.csv")
    dataset = load(tables.directory / "m.csv", tables.schema())
    train, held = dataset.split(0.2)
    assert len(np.intersect1d(train, held)) == 0
    assert len(train) + len(held) == dataset.buffer.episodes
    assert 0.1 < len(held) / dataset.buffer.episodes < 0.3
    names = {dataset.sessions[row] for row in held}
    many().filter(pl.col("step") % 2 == 0).sort("gain").write_csv(tables.directory / "other.csv")
    other = load(tables.directory / "other.csv", tables.schema())
    assert {other.sessions[row] for row in other.split(0.2)[1]} == names & set(other.sessions)
    assert set(dataset.split(0.2, seed=1)[1]) != set(held)
    assert len(dataset.buffer.subset(held)) == dataset.buffer.lengths[held].sum()
    few = load(tables.csv(tables.rows), tables.schema())
    for share in (1e-6, 1 - 1e-6):
        train, held = few.split(share)
        assert len(train) >= 1 and len(held) >= 1
    with pytest.raises(DataError, match="between 0 and 1"):
        few.split(1.5)
    one = load(tables.csv(tables.rows[:3], "one.csv"), tables.schema())
    assert one.buffer.episodes == 1
    with pytest.raises(DataError, match="at least two sessions"):
        one.split()


def test_the_store_is_what_a_learner_samples_from(tables: Any) -> None:
    many().write_csv(tables.directory / "m.csv")
    dataset = load(tables.directory / "m.csv", tables.schema())
    batch = dataset.buffer.sample(8, window=6, context=3, discount=0.9, rng=np.random.default_rng(0))
    assert batch.observation["numbers"].shape[1:] == (7, 2)
    assert batch.observation["categories"].dtype.is_floating_point is False
    total = sum(int(part.loss_mask.sum()) for part in dataset.buffer.batches(window=6, context=3, discount=0.9))
    assert total == len(dataset) == 3_000


@pytest.mark.parametrize("top", [1, 100, 1 << 16, 1 << 20, 1 << 40])
def test_the_sort_by_digits_is_stable(top: int) -> None:
    key = np.random.default_rng(0).integers(-top, top, 5_000)
    np.testing.assert_array_equal(stable_order(key), np.argsort(key, kind="stable"))


def test_a_kind_or_a_key_that_is_unknown(tables: Any) -> None:
    with pytest.raises(ConfigError, match="did you mean 'category'"):
        tables.schema(observation={"x": "categry"})


def test_candidates_by_name_are_a_mask(tables: Any) -> None:
    offered = [["go", "stay"], ["stay", "go"], None, ["go", "stay", "jump"]] * 2
    rows = [{**row, "offered": offer} for row, offer in zip(tables.rows, offered, strict=True)]
    schema = tables.schema(candidates="offered", actions=["stay", "go", "jump"])
    found = [load(tables.jsonl(rows), schema)]
    found.append(load(tables.parquet(rows), schema))
    flat = [{**row, "offered": row["offered"] and json.dumps(row["offered"])} for row in rows]
    found.append(load(tables.csv(flat), schema))
    for dataset in found:
        mask = dataset.buffer.slots.columns["action_mask"]
        np.testing.assert_array_equal(mask, found[0].buffer.slots.columns["action_mask"])
        assert dataset.buffer.layout.masked and not mask.all()
    for wrong, expected in (
        (
            ["go", "fly"],
            r"line 1, column 'offered': expected a list of one or more of the actions stay, go, jump, got 'fly'",
        ),
        ([], r"line 1, column 'offered': expected a list of one or more"),
        ("go", r"column 'offered': expected a list of one or more"),
        (["jump"], r"line 1, column 'offered': expected a mask that allows the action taken"),
    ):
        bad = [{**rows[0], "offered": wrong}, *rows[1:]]
        with pytest.raises(DataError, match=expected):
            load(tables.jsonl(bad), schema)
    with pytest.raises(ConfigError, match="candidates requires the names of all actions"):
        tables.schema(candidates="offered")
    with pytest.raises(ConfigError, match="expected candidates or mask, got both"):
        tables.schema(candidates="offered", mask="mask", actions=["stay", "go"])


# -- damage to the store ---------------------------------------------------------------------------------------------------


def flip(path: Path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("flips", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_a_flipped_bit_anywhere_in_the_store_is_found_and_the_table_imported_again(flips: int, tables: Any) -> None:
    file, schema = tables.csv(tables.rows), tables.schema()
    whole = load(file, schema)
    before = contents(whole)
    assert whole.directory is not None
    rng, silent = random.Random(0), 0
    files = sorted(path for path in whole.directory.iterdir() if path.stat().st_size)
    for count in range(flips):
        path = files[count % len(files)]
        flip(path, rng.randrange(path.stat().st_size), rng.randrange(8))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            again = load(file, schema)
        silent += not said
        found = contents(again)
        for name, column in before.items():
            np.testing.assert_array_equal(found[name], column, err_msg=f"{path.name}: {name}")
        assert again.encoding is not None and again.encoding.to_json() == whole.encoding.to_json()  # type: ignore[union-attr]
        assert again.report == whole.report
    assert silent <= flips // 60, (
        "a flip in the version's digit reads as another version, which is imported again without a warning"
    )


@pytest.mark.parametrize("name", ["meta.json", "encoding.json", "episodes.npy", "hashes.npy", "names.bin", "00.bin"])
@pytest.mark.parametrize("how", ["missing", "cut", "empty", "a folder", "a link out", "a pipe"])
def test_a_damaged_side_file_makes_the_table_be_imported_again(
    name: str, how: str, tables: Any, tmp_path: Path
) -> None:
    file, schema = tables.csv(tables.rows), tables.schema()
    one = load(file, schema)
    assert one.directory is not None
    path = one.directory / name
    data = path.read_bytes()
    path.unlink()
    if how in ("cut", "empty"):
        path.write_bytes(data[: len(data) // 2] if how == "cut" else b"")
    elif how == "a folder":
        path.mkdir()
    elif how == "a link out":
        (tmp_path / "outside").write_bytes(data)
        path.symlink_to(tmp_path / "outside")
    elif how == "a pipe":
        os.mkfifo(path)
    with pytest.warns(StoreWarning, match="damaged.*imported again"):
        two = load(file, schema)
    same(one, two)


def test_facts_that_name_paths_outside_are_not_followed(tables: Any, tmp_path: Path) -> None:
    """With a valid checksum, as an attacker would make it."""
    file, schema = tables.csv(tables.rows), tables.schema()
    one = load(file, schema)
    assert one.directory is not None
    meta = json.loads((one.directory / "meta.json").read_text())
    column = next(iter(meta["columns"].values()))
    (tmp_path / "outside.bin").write_bytes((one.directory / column["file"]).read_bytes())
    meta["files"]["../../outside.bin"] = meta["files"].pop(column["file"])
    column["file"] = "../../outside.bin"
    (one.directory / "meta.json").write_bytes(store._sealed(meta))
    with pytest.warns(StoreWarning, match="lists files that are not those of a store"):
        same(one, load(file, schema))


def test_episodes_beyond_the_slots_are_refused(tables: Any) -> None:
    file, schema = tables.csv(tables.rows), tables.schema()
    one = load(file, schema)
    assert one.directory is not None
    numbers = np.load(one.directory / "episodes.npy")
    numbers[0, 1] = 1 << 40
    np.save(one.directory / "episodes.npy", numbers)
    meta = json.loads((one.directory / "meta.json").read_text())
    meta["files"]["episodes.npy"] = list(checksum(one.directory / "episodes.npy"))
    (one.directory / "meta.json").write_bytes(store._sealed(meta))
    with pytest.warns(StoreWarning, match="within the"):
        same(one, load(file, schema))


def test_a_part_of_the_sessions_is_split_as_the_whole_is(tables: Any) -> None:
    """A session stays in its part: an agent that is evaluated on some sessions must not have been trained on them."""
    rows = [
        {"who": f"s{n}", "step": step, "x": 1.0, "kind": "a", "say": "hi", "do": "go", "gain": 1.0}
        for n in range(200)
        for step in range(2)
    ]
    whole = load(tables.csv(rows), tables.schema())
    held = {whole.sessions[row] for row in whole.split(0.3, 7)[1]}
    some = np.arange(3, 200, 2)
    part = whole.subset(some)
    assert part.sessions == [whole.sessions[row] for row in some]
    learned, left = part.split(0.3, 7)
    assert {part.sessions[row] for row in left} == held & set(part.sessions)
    assert {part.sessions[row] for row in learned} == set(part.sessions) - held
    assert {part.sessions[row] for row in part.held_out_rows(0.3, 7)} == held & set(part.sessions)
    twice = part.subset(np.arange(1, len(some), 3))
    assert {twice.sessions[row] for row in twice.split(0.3, 7)[1]} == held & set(twice.sessions)
