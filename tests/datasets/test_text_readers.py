"""Text columns with other readers than hashed trigrams: the import, the store, and rows in service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqel.datasets import Schema, load
from seqel.datasets.encoding import Encoding
from seqel.spaces import text_readers
from seqel.spaces.text_readers import TextReader, reader_from_name
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from tiny_models import tiny_encoder

SCHEMA = Schema("who", "did", "got", observation={"said": "text", "n": "number"})
TEXTS = [
    "my card is lost",
    "银行卡丢了",
    None,
    "",
    "my card, my card",
    "🎉",
    " ".join(map(str, range(300))),
    "the card is blocked",
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = 4 * len(TEXTS)
    frame = {"who": [f"s{k // 4}" for k in range(rows)], "did": ["a", "b"] * (rows // 2), "got": [1.0] * rows}
    path = tmp_path / "table.parquet"
    pl.DataFrame(frame | {"said": TEXTS * 4, "n": list(range(rows))}).write_parquet(path)
    return path


def configs() -> list[TextConfig]:
    model = str(tiny_encoder())
    return [
        TextConfig(encoder="tokens", length=8, vocabulary=300), TextConfig(encoder="pretrained", model=model),
        TextConfig(encoder="pretrained", model=model, tuning="lora"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(3))
def test_a_row_in_service_is_read_as_the_import_read_it(table: Path, number: int) -> None:
    dataset = load(table, SCHEMA, text=configs()[number])
    encoding = dataset.encoding
    assert encoding is not None and encoding.reader
    assert Encoding.from_json(encoding.to_json()) == encoding
    stored = np.asarray(dataset.buffer.slots.columns["observation/text/said"])
    rows = pl.read_parquet(table).to_dicts()
    expected = np.stack([encoding.row(row)["text/said"] for row in rows])
    order = {name: place for place, name in enumerate(dataset.sessions)}
    for place, row in enumerate(rows):
        slot = order[row["who"]] * 4 + place % 4 if len(stored) == len(rows) else order[row["who"]] * 5 + place % 4
        np.testing.assert_allclose(stored[slot], expected[place], atol=1e-5)


def test_the_store_keeps_the_vocabulary(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(table, SCHEMA, text=configs()[0])
    monkeypatch.setattr(text_readers, "_registered", {})
    monkeypatch.setattr("seqel.datasets.store.build", lambda *given: pytest.fail("imported again"))
    again = load(table, SCHEMA, text=configs()[0])
    assert again.observation == first.observation
    leaf = next(leaf for leaf in again.observation.leaves if leaf.kind == "text")
    assert reader_from_name(leaf.reader).read(["my card"]).any()


def test_readers_have_stores_of_their_own(table: Path) -> None:
    stores = {load(table, SCHEMA, text=text).directory for text in (None, TextConfig(), *configs())}
    assert len(stores) == 4  # the settings' default and None are the same


def test_an_agents_reader_reads_other_tables(table: Path) -> None:
    reader = make_reader(configs()[0], ["other words"])
    assert isinstance(reader, TextReader)
    dataset = load(table, SCHEMA, text=reader)
    assert {leaf.reader for leaf in dataset.observation.texts} == {reader.name}


def test_the_share_that_is_not_read_is_reported(table: Path) -> None:
    report = load(table, SCHEMA, text=configs()[0]).report["texts"]["said"]
    assert report["length"] == 8 and report["truncated"] >= 4 and 0 < report["unread"] < report["bytes"]
