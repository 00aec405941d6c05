from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqel.datasets.dataset import load
from seqel.datasets.inspection.propose import draft, propose
from seqel.datasets.schema import Schema
from seqel.errors import ConfigError, DataError

FULL = """
session = "who"
order = "t"
action = "do"
reward = "gain"
terminated = "over"
truncated = "cut"
behaviour_probability = "p"
mask = ["m1", "m2"]
actions = ["go", "stay"]
ends = "truncated"

[observation]
x = "number"
"a b" = "category"
"""


def test_it_is_read_and_written_as_toml(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(FULL)
    schema = Schema.load(path)
    assert schema == Schema(
        "who", "do", "gain", {"x": "number", "a b": "category"}, "t", "over", "cut", "p", ("m1", "m2"), ("go", "stay"),
        "truncated",
    )  # fmt: skip
    path.write_text(schema.to_toml())
    assert Schema.load(path) == schema
    assert Schema.from_json(schema.to_json()) == schema
    assert schema.columns == ["who", "t", "do", "gain", "over", "cut", "p", "m1", "m2", "x", "a b"]
    path.write_bytes(b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode())
    assert Schema.load(path) == schema
    assert schema.digest != Schema("who", "do", "gain", {"x": "number"}).digest


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("reward =", "rewrd ="), "unknown key 'rewrd'; did you mean 'reward'"),
        (('session = "who"', ""), "session is missing"),
        (('"number"', '"float"'), "observation 'x' to be one of number, category, text, vector, entities, got 'float'"),
        (('"number"', '"Number"'), "did you mean 'number'"),
        (('"truncated"', '"stopped"'), 'expected ends = "terminated" or "truncated"'),
        (('order = "t"', "order = 3"), "expected order to be the name of a column, got 3"),
        (('["m1", "m2"]', "[1, 2]"), "expected mask to be a list of texts"),
        (('["m1", "m2"]', '["m1", "m1"]'), "mask names something twice"),
        (('x = "number"', 'gain = "number"'), "'gain' is both reward and an observation"),
        (('x = "number"', 'do = "number"'), "'do' is both the action and an observation"),
        (("[observation]", "[observations]"), "unknown key 'observations'; did you mean 'observation'"),
        (("ends", "= ends"), "expected a schema as TOML"),
    ],
)
def test_errors_name_what_is_wrong(tmp_path: Path, change: tuple[str, str], match: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(FULL.replace(*change))
    with pytest.raises(ConfigError, match=match):
        Schema.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Schema.load(tmp_path / "none.toml")


def test_nothing_need_be_observed() -> None:
    assert Schema("a", "b", "c").columns == ["a", "b", "c"]
    assert Schema.from_json({"session": "a", "action": "b", "reward": "c"}) == Schema("a", "b", "c")


@pytest.mark.parametrize(
    ("roles", "match"),
    [
        ({"action": "a"}, "column 'a' is both session and action"),
        ({"reward": "b"}, "column 'b' is both action and reward"),
        ({"order": "a"}, "column 'a' is both session and order.*or no order"),
        ({"terminated": "e", "truncated": "e"}, "column 'e' is both terminated and truncated"),
        ({"mask": ("m", "c")}, "column 'c' is both reward and mask"),
        ({"behaviour_probability": "c"}, "column 'c' is both reward and behaviour_probability"),
    ],
)
def test_a_column_with_two_roles_is_refused(roles: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Schema(**{"session": "a", "action": "b", "reward": "c", **roles})


@pytest.mark.parametrize("length", [0, -1, 10**6, 2.5, True, "64"])
def test_an_invalid_text_length_is_refused(length: Any) -> None:
    with pytest.raises(ConfigError, match="expected text_length from 1 to 4096"):
        Schema("a", "b", "c", text_length=length)


def test_the_text_length_of_a_schema_is_that_of_the_hash() -> None:
    from seqel.datasets import schema
    from seqel.spaces.text_readers import LONGEST_TEXT, TEXT_LENGTH

    assert (schema.TEXT_LENGTH, schema.LONGEST_TEXT) == (TEXT_LENGTH, LONGEST_TEXT)
    assert "text_length" not in Schema("a", "b", "c").to_toml()  # stores of earlier schemas stay valid


def log(rows: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "User-ID": [f"u{i // 8}" for i in range(rows)],
            "timestamp": [f"2026-01-01T00:{i // 60:02}:{i % 60:02}" for i in range(rows)],
            "Action": rng.choice(["a", "b"], rows),
            "reward": rng.normal(size=rows),
            "done": [i % 8 == 7 for i in range(rows)],
            "propensity": np.full(rows, 0.5),
            "age": rng.normal(size=rows) * 10,
            "level": rng.integers(0, 3, rows),
            "country": rng.choice(["de", "fr"], rows),
            "message": [f"this is message number {i}, quite long" for i in range(rows)],
            "embedding": [str(v) for v in rng.normal(size=(rows, 2)).round(3).tolist()],
            "next_age": rng.normal(size=rows),
            "row_id": np.arange(rows),
            "same": np.ones(rows),
            "seen": ["2026-01-01"] * rows,
            "void": [None] * rows,
        }
    )


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_schema_is_proposed_from_names_and_values(tables: Any, kind: str) -> None:
    path = tables.directory / f"t.{kind}"
    write: dict[str, Any] = {"csv": log().write_csv, "parquet": log().write_parquet, "jsonl": log().write_ndjson}
    write[kind](path)
    proposal = propose(path)
    schema = proposal.schema
    assert (schema.session, schema.order, schema.action, schema.reward) == ("User-ID", "timestamp", "Action", "reward")
    assert (schema.terminated, schema.behaviour_probability) == ("done", "propensity")
    assert schema.observation == {
        "age": "number", "level": "category", "country": "category", "message": "text", "embedding": "vector"
    }  # fmt: skip
    unsure = "\n".join(proposal.unsure)
    for text in (
        "level: 3 different integers",
        "next_age: left out",
        "row_id: left out",
        "same: left out",
        "seen: left out",
    ):
        assert text in unsure
    assert load(path, schema).buffer.episodes == 50


def test_a_table_without_a_session_or_a_reward(tables: Any) -> None:
    for missing, role in (("User-ID", "session"), ("Action", "action"), ("reward", "reward")):
        path = tables.directory / "t.csv"
        log().drop(missing).write_csv(path)
        with pytest.raises(DataError, match=f"no column looks like the {role}; the columns are"):
            propose(path)
    with pytest.raises(DataError, match="no rows"):
        propose(tables.text("session,action,reward\n", "e.csv"))


def test_a_log_of_user_item_rating_time_needs_nothing_else(tables: Any) -> None:
    rows = "".join(f"u{n // 5},film {n % 7},{n % 3 + 1},{n}\n" for n in range(50))
    proposal = propose(tables.text("user,item,rating,time\n" + rows))
    assert proposal.schema == Schema(
        "user", "item", "rating", order="time", ends="truncated"
    )  # users could have continued
    assert any("the agent only sees the history" in doubt for doubt in proposal.unsure)
    dataset = load(tables.directory / "t.csv", proposal.schema)
    assert dataset.encoding is not None
    assert len(dataset.buffer) == 50 and set(dataset.buffer.lengths) == {5}  # the last choice of a user is kept
    assert sum(int(batch.discount.sum()) for batch in dataset.buffer.batches(window=9, context=9, discount=1.0)) == 50
    assert [str(leaf) for leaf in dataset.observation.leaves] == ["constant: vector [1] uint8"]
    found = dataset.encoding.row({"user": "u1"})
    np.testing.assert_array_equal(found["constant"], dataset.buffer.slots.columns["observation/constant"][0])


@pytest.mark.parametrize(
    ("header", "values", "roles"),
    [
        ("dialogue_id,user_intent,system_act,reward", "d{s},ask,{a},1.5", ("dialogue_id", "system_act", "reward")),
        ("student,skill,correct,hint", "s{s},{a},{f},x{a}", ("student", "skill", "correct")),
        ("customer,shown,bought,age", "c{s},{a},{f},{n}", ("customer", "shown", "bought")),
        ("ticker,decision,pnl,volume", "T{s},{a},{n}.5,{n}", ("ticker", "decision", "pnl")),
        ("session,act,label_score,x", "s{s},{a},{n},{n}", ("session", "act", "label_score")),
        ("episode,text,label,reward", "s{s},hello {n} you,{a},{f}", ("episode", "label", "reward")),
    ],
)
def test_common_column_names_are_recognised(tables: Any, header: str, values: str, roles: tuple[str, str, str]) -> None:
    lines = [values.format(s=n // 5, a=["buy", "sell", "wait"][n % 3], f=n % 2, n=n) for n in range(60)]
    schema = propose(tables.text("\n".join([header, *lines]) + "\n")).schema
    assert (schema.session, schema.action, schema.reward) == roles


def test_an_unclear_role_is_left_open_with_the_possible_columns(tables: Any) -> None:
    lines = [f"s{n // 5},{'ab'[n % 2]},{n}.25,{n * 3}" for n in range(60)]
    path = tables.text("\n".join(["session,what,one,two", *lines]) + "\n")
    found = draft(path)
    assert found.schema is None
    assert found.roles == {"session": "session"}
    assert found.open == {"action": ["what", "two"], "reward": ["one", "two"]}
    written = tables.text(found.to_toml(), "s.toml")
    assert 'action = "?"  # one of: what, two' in written.read_text()
    with pytest.raises(ConfigError, match='action = "\\?" is still open'):
        Schema.load(written)
    written.write_text(
        written.read_text().replace('"?"  # one of: what', '"what"  #').replace('"?"  # one of: one', '"one"  #')
    )
    with pytest.raises(ConfigError, match="column 'one' is both reward and an observation"):
        Schema.load(written)  # the columns that were chosen are still to be taken out of [observation]
    found = draft(path, {"action": "what", "reward": "one"})
    assert found.schema == Schema("session", "what", "one", {"two": "number"})
    with pytest.raises(DataError, match="--reward: there is no column 'ones'; did you mean 'one'"):
        draft(path, {"reward": "ones"})
    with pytest.raises(DataError, match="--reward: column 'what' has another role already"):
        draft(path, {"action": "what", "reward": "what"})


def test_uncertain_guesses_are_listed(tables: Any) -> None:
    proposal = propose(tables.text("episode,user_id,the_action,score,x\na,u,b,1,0.5\na,u,c,2,0.25\n"))
    assert proposal.schema.session == "episode"
    unsure = "\n".join(proposal.unsure)
    assert "session: episode was chosen, but user_id looks like it too" in unsure
    assert "the_action was chosen" in unsure
    assert "no column looks like an order" in unsure
    assert "how a session ends" in unsure


def test_a_probability_and_short_sentences_are_recognised(tables: Any) -> None:
    lines = ["session,action,reward,probability,message,genre"]
    lines += [f"s{n // 3},b,1,0.5,my number is {n % 20},Science Fiction {n % 3}" for n in range(60)]
    proposal = propose(tables.text("\n".join(lines) + "\n"))
    assert proposal.schema.behaviour_probability == "probability"
    assert proposal.schema.observation == {"message": "text", "genre": "category"}
    assert any("probability was chosen; if it is not the probability" in doubt for doubt in proposal.unsure)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_list_of_names_is_no_mask(tables: Any, kind: str) -> None:
    rows = [{**row, "available_actions": ["go", "stay"]} for row in tables.rows]
    path = (
        tables.jsonl(rows)
        if kind == "jsonl"
        else tables.csv([{**r, "available_actions": '["go", "stay"]'} for r in rows])
    )
    text = path.read_text().replace("who", "session").replace("gain", "reward").replace('"do"', '"action"')
    path.write_text(text.replace(",do,", ",action,"))
    proposal = propose(path)
    assert proposal.schema.mask is None and "available_actions" not in proposal.schema.observation
    assert any("set candidates" in doubt for doubt in proposal.unsure)


def test_the_only_column_of_dates_is_the_order(tables: Any) -> None:
    """A table of purchases: nothing is left to observe, and each choice has a rating."""
    rows = [f"u{n // 5},lamp {n % 7},2026-{12 - n % 5:02}-01T10:00:00,{n % 5}" for n in range(50)]
    proposal = propose(tables.text("\n".join(["customer_id,product,bought_at,stars", *rows]) + "\n"))
    assert proposal.schema == Schema("customer_id", "product", "stars", order="bought_at", ends="truncated")
    assert any("order: bought_at was chosen, the only column of dates" in doubt for doubt in proposal.unsure)
    assert any("--preset next-item" in doubt for doubt in proposal.unsure)
    two = [f"{row},2026-01-01" for row in rows]
    proposal = propose(tables.text("\n".join(["customer_id,product,bought_at,stars,sent_at", *two]) + "\n"))
    assert proposal.schema.order is None and any("no column looks like an order" in doubt for doubt in proposal.unsure)


def test_choices_without_a_reward(tables: Any) -> None:
    found = draft(tables.text("user,item,time\n" + "".join(f"u{n // 5},lamp {n % 7},{n}\n" for n in range(50))))
    assert found.open == {"reward": []} and any("seqel.ranking.read_interactions" in doubt for doubt in found.unsure)


def test_recorded_conversations_are_no_table_yet(tables: Any) -> None:
    turns = [{"role": "customer", "text": "hi"}, {"role": "agent", "action": "greet"}]
    found = draft(tables.jsonl([{"id": f"c{n}", "outcome": n % 2, "turns": turns} for n in range(20)]))
    assert found.schema is None and "turns" not in found.observation
    assert any(
        "turns: left out: a list of objects" in doubt and "seqel data dialogues" in doubt for doubt in found.unsure
    )
