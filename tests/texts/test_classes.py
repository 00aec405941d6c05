"""Texts as log-probabilities of classes: who reads what, what is stored, training from end to end, what is refused."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

import seqel
from seqel.errors import CheckpointError, ConfigError
from seqel.integrity import read_sealed, sealed_line
from seqel.spaces import text_readers
from seqel.spaces.text_readers import TextReader
from seqel.tasks.opinion.monitoring import OpinionMonitoring
from seqel.tasks.opinion.stream import Setting
from seqel.texts.classes import FOLDS, ClassReader, LabelledTexts, fit_classes
from seqel.texts.config import TextConfig
from seqel.texts.embeddings import Embed
from seqel.texts.make import make_reader, reader_from_json
from support_customers import corpus
from support_opinion import opinions

NAMES = ("a", "b", "c")


def first_letter(texts: Sequence[str]) -> Any:
    """Two numbers, so that the three classes are separable."""
    places = {"a": (1.0, 0.0), "b": (0.0, 1.0), "c": (-1.0, -1.0)}
    return np.array([places.get(text[:1], (0.0, 0.0)) for text in texts], np.float32)


def labelled(count: int = 40) -> LabelledTexts:
    train, held = ([f"{name}{number}" for name in NAMES for number in some] for some in (range(count), range(90, 99)))
    return LabelledTexts(NAMES, (train, np.repeat([0, 1, 2], count)), (held, np.repeat([0, 1, 2], 9)))


def vectors(embed: Embed) -> TextReader:
    found = make_reader(TextConfig(encoder="callable"), embed=embed)
    assert found is not None
    return found


def made() -> ClassReader:
    return fit_classes(vectors(first_letter), labelled())


def test_it_reads_the_classes_and_is_made_again_from_what_is_stored() -> None:
    reader = made()
    found = reader.read(["a new text", "b", "c", "", "🎉", "x" * 100_000])
    assert found.dtype == np.float32 and found.shape == (6, 3)
    assert found[:3].argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, atol=1e-3)
    again = reader_from_json(reader.to_json(), first_letter)
    assert again.name == reader.name and again.unread("a") == reader.unread("a") == 0
    np.testing.assert_array_equal(again.read(["a", "c1", ""]), reader.read(["a", "c1", ""]))


def test_a_text_is_read_by_the_classifier_that_has_not_seen_its_fold() -> None:
    """The weights of fold k say "class k" for all texts: so what is read says which fold's weights were used."""
    weight = np.zeros((3, 3, 3), np.float32)
    weight[:, :, -1] = np.eye(3)
    texts = [f"text {number}" for number in range(50)]
    found = ClassReader(vectors(first_letter), NAMES, weight).read(texts)
    expected = [zlib.crc32(text.encode()) % 3 for text in texts]
    assert found.argmax(axis=1).tolist() == expected and len(set(expected)) == 3
    np.testing.assert_allclose(found[0], log_softmax(np.eye(3)[expected[0]]), rtol=1e-6)


def test_training_texts_are_not_read_more_surely_than_new_ones() -> None:
    """The vectors say nothing about the classes, which are drawn: a classifier that had seen a text would know its class."""
    rng = np.random.default_rng(0)
    known = {f"t{number}": rng.normal(size=60) for number in range(400)}
    base = vectors(lambda texts: [known.get(text, np.zeros(60)) for text in texts])
    texts, labels = list(known), rng.integers(2, size=400)
    found = fit_classes(base, LabelledTexts(("x", "y"), (texts[:300], labels[:300]), (texts[300:], labels[300:])))
    right = found.read(texts[:300]).argmax(axis=1) == labels[:300]
    assert 0.35 < right.mean() < 0.65
    one = ClassReader(base, ("x", "y"), found._weight[:1])  # a single classifier, which has seen four fifths of them
    assert (one.read(texts[:300]).argmax(axis=1) == labels[:300]).mean() > 0.65


@pytest.mark.parametrize(
    "change",
    [
        {"weight": "no base64!"}, {"weight": "AAAA"}, {"folds": 0}, {"folds": 2}, {"names": ["a"]}, {"base": "callable"},
        {"weight": "AADAfw==" * 45, "folds": 5},
    ],
)  # fmt: skip
def test_what_is_stored_is_checked(change: dict[str, Any]) -> None:
    data = copy.deepcopy(made().to_json()) | change
    with pytest.raises((ValueError, TypeError, LookupError)):
        reader_from_json(data, first_letter)


def test_classes_of_classes_are_refused() -> None:
    data = made().to_json()
    with pytest.raises(ValueError, match="an encoder below the classes"):
        reader_from_json(data | {"base": data}, first_letter)


def test_settings_that_contradict_each_other() -> None:
    for settings in (
        {"encoder": "hashed"},
        {"encoder": "tokens"},
        {"encoder": "pretrained", "model": "m", "tuning": "full"},
    ):
        with pytest.raises(ConfigError, match=r"text\.classes needs a frozen encoder"):
            TextConfig(classes=True, **settings)  # type: ignore[arg-type]


def test_a_class_with_too_few_texts_is_named() -> None:
    few = LabelledTexts(("a", "b"), (["a1", "a2", "b1"], np.array([0, 0, 1])), (["a3", "b3"], np.array([0, 1])))
    with pytest.raises(ConfigError, match="an example of each class, got none of"):
        fit_classes(vectors(first_letter), few)


def test_codes_are_not_vectors() -> None:
    tokens = make_reader(TextConfig(encoder="tokens"), ["a text"])
    assert tokens is not None
    with pytest.raises(ConfigError, match="read as vectors of a frozen encoder"):
        fit_classes(tokens, labelled())


def first_word(texts: Sequence[str]) -> Any:
    """What stands for a pretrained encoder: numbers of the first word."""
    return np.array([[len(text.split(" ")[0]), text.count("e"), text.count("s")] for text in texts], np.float32)


SETTINGS = {
    "text.classes": True, "network.width": 16, "network.layers": 1, "network.context": 8, "environments": 2,
    "learner.compile": "off", "threads": 1, "device": "cpu",
}  # fmt: skip


def test_an_agent_is_trained_saved_loaded_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = partial(OpinionMonitoring, opinions(), "train", Setting(companies=2), hours=12.0)
    agent = seqel.train(
        make,
        steps=600,
        settings=SETTINGS,
        out=tmp_path / "run",
        text_encoder=first_word,
        preset="monitoring",
        progress=False,
    )
    (leaf,) = agent.observation_spec.texts
    assert leaf.shape == (3,) and leaf.reader.startswith("classes-3-")
    observation = {name: [value] for name, value in make().reset(seed=0)[0].items()}
    expected = agent.act(observation)[0].q
    monkeypatch.setattr(text_readers, "_registered", {})  # as in another process
    loaded = seqel.Agent.load(tmp_path / "run" / "agent", text_encoder=first_word)
    np.testing.assert_array_equal(loaded.act(observation)[0].q, expected)
    more = seqel.resume(tmp_path / "run", env=make, steps=800, text_encoder=first_word, progress=False)
    assert more.observation_spec.texts[0].reader == leaf.reader
    path = tmp_path / "run" / "text-reader.json"
    data, _, _ = read_sealed(path.read_bytes())
    path.write_text(sealed_line(data[0] | {"folds": FOLDS + 1}) + "\n")
    with pytest.raises(CheckpointError, match="damaged"):
        seqel.resume(tmp_path / "run", env=make, steps=900, text_encoder=first_word, progress=False)


def test_customer_service_knows_the_intents_and_what_is_out_of_scope() -> None:
    from seqel.tasks.customers import CustomerService

    found = CustomerService(corpus()).labelled_texts()
    assert found.names[-1] == "out of scope" and len(found.names) == len(corpus().intents) + 1
    for texts, labels in (found.train, found.validation):
        assert len(texts) == len(labels) and set(labels.tolist()) == set(range(len(found.names)))
    assert not set(found.train[0]) & set(found.validation[0])


def test_an_environment_without_labels_is_refused(tmp_path: Path) -> None:
    class Plain(OpinionMonitoring):
        labelled_texts = None  # type: ignore[assignment]

    with pytest.raises(ConfigError, match=r"text\.classes: expected an environment that knows the classes"):
        seqel.train(
            lambda: Plain(opinions(), "train", Setting(companies=2)), steps=100, settings=SETTINGS, out=tmp_path / "run",
            text_encoder=first_word, progress=False,
        )  # fmt: skip
