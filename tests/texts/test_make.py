from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqel.errors import ConfigError
from seqel.spaces.text_readers import TextReader
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader, reader_from_json
from tiny_models import TEXTS, tiny_encoder

HARD = ["", "x" * 100_000, "🎉", "银行", "\x00\x01", "\ud800", *TEXTS]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def made(**settings: Any) -> TextReader:
    found = make_reader(TextConfig(**settings), TEXTS)
    assert found is not None
    return found


def pretrained(tuning: str) -> TextReader:
    return made(encoder="pretrained", model=str(tiny_encoder()), tuning=tuning)


def test_hashed_trigrams_need_no_reader() -> None:
    assert make_reader(TextConfig()) is None


@pytest.mark.parametrize("tuning", ["tokens", "frozen", "lora", "prefix", "full"])
def test_a_reader_can_be_made_again_from_what_an_agent_stores(tuning: str) -> None:
    reader = made(encoder="tokens") if tuning == "tokens" else pretrained(tuning)
    again = reader_from_json(reader.to_json())
    assert again.name == reader.name and again.leaf("p", ("p",)) == reader.leaf("p", ("p",))
    codes = reader.read(HARD)
    assert codes.shape == (len(HARD), *reader.shape) and codes.dtype == np.dtype(reader.dtype)
    np.testing.assert_array_equal(codes, again.read(HARD))


def test_a_frozen_model_gives_the_mean_of_its_states() -> None:
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(tiny_encoder()) for kind in (AutoModel, AutoTokenizer))
    found = pretrained("frozen").read(list(TEXTS))
    for row, text in zip(found, TEXTS, strict=True):
        with torch.no_grad():
            states = model.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(row, states.mean(dim=0).numpy(), atol=1e-5)


def test_padding_does_not_change_an_embedding() -> None:
    together = pretrained("frozen").read(["hi", "a much longer text about the red box"])
    alone = pretrained("frozen").read(["hi"])
    np.testing.assert_allclose(together[0], alone[0], atol=1e-5)


def test_long_texts_are_cut_and_the_rest_is_counted() -> None:
    reader = pretrained("lora")
    assert reader.shape == (48,)  # the model reads no more, although 256 tokens are asked for
    text = "the blue ball " * 40
    assert 0 < reader.unread(text) < len(text) and reader.unread("the ball") == 0
    changed = text[:-20] + "different at the end"
    np.testing.assert_array_equal(*reader.read([text, changed]))


def test_a_function_and_its_setting_need_each_other() -> None:
    with pytest.raises(ConfigError, match="need each other"):
        make_reader(TextConfig(encoder="callable"))
    with pytest.raises(ConfigError, match="need each other"):
        make_reader(TextConfig(encoder="tokens"), embed=lengths)


def lengths(texts: Sequence[str]) -> Any:
    return np.array([[len(text), 1.0] for text in texts])


def test_an_agent_recognises_its_function() -> None:
    reader = make_reader(TextConfig(encoder="callable"), embed=lengths)
    assert reader is not None
    stored = reader.to_json()
    assert reader_from_json(stored, lengths).name == reader.name
    with pytest.raises(ConfigError, match="pass the same function"):
        reader_from_json(stored)
    with pytest.raises(ConfigError, match="expected the function that the agent was trained with"):
        reader_from_json(stored, lambda texts: 2 * lengths(texts))


@pytest.mark.parametrize(
    "data",
    [
        None, [], {}, {"encoder": "os.system"}, {"encoder": "tokens"},
        {"encoder": "tokens", "vocabulary": "{}", "length": -1},
        {"encoder": "pretrained", "model": "/etc/passwd", "tuning": "frozen", "rank": 8, "prefix": 16, "length": 8},
        {"encoder": "pretrained", "model": {"name": "x", "checksum": "../x"}, "tuning": "frozen", "rank": 8, "prefix": 1,
         "length": 8},
    ],
    ids=str,
)  # fmt: skip
def test_a_description_from_elsewhere_is_checked(data: Any) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        reader_from_json(data)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"encoder": "pretrained"}, "needs text.model"), ({"model": "x"}, "needs text.encoder = 'pretrained'"),
        ({"tuning": "lora"}, "needs text.encoder"), ({"encoder": "x"}, "text.encoder"), ({"vocabulary": 10}, "vocabulary"),
        ({"rank": 0}, "rank"), ({"length": -1}, "length"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(settings: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TextConfig(**settings)
