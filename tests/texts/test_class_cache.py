"""The cache of fitted classifiers: the same reader without a second fit, and never one of other texts or a damaged file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqel.spaces.text_readers import TextReader
from seqel.texts import class_cache
from seqel.texts.class_cache import fit_classes_once
from seqel.texts.classes import LabelledTexts, fit_classes
from seqel.texts.config import TextConfig
from seqel.texts.make import make_class_reader, make_reader
from tiny_models import tiny_encoder

NAMES = ("a", "b", "c")


def letters(texts: Sequence[str]) -> Any:
    return np.array([[text.count(name) for name in "abcdef"] for text in texts], np.float32)


def labelled(last: int = 40) -> LabelledTexts:
    train, held = ([f"{name}{number}" for name in NAMES for number in some] for some in (range(last), range(90, 99)))
    return LabelledTexts(NAMES, (train, np.repeat([0, 1, 2], last)), (held, np.repeat([0, 1, 2], 9)))


def base() -> TextReader:
    found = make_reader(TextConfig(encoder="callable"), embed=letters)
    assert found is not None
    return found


@pytest.fixture
def fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[LabelledTexts]:
    """An empty cache, and the calls of `fit_classes`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls: list[LabelledTexts] = []

    def counted(reader: TextReader, given: LabelledTexts) -> Any:
        calls.append(given)
        return fit_classes(reader, given)

    monkeypatch.setattr(class_cache, "fit_classes", counted)
    return calls


def test_it_is_fitted_once_and_reads_the_same(fits: list[LabelledTexts]) -> None:
    first, second = (fit_classes_once(base(), labelled()) for _ in range(2))
    assert len(fits) == 1 and first.name == second.name
    texts = ["a1", "b200", "new", ""]
    assert np.array_equal(first.read(texts), second.read(texts))


@pytest.mark.parametrize("other", ["texts", "labels", "names", "validation"])
def test_anything_else_is_fitted_again(fits: list[LabelledTexts], other: str) -> None:
    given = labelled()
    (train, labels), held = given.train, given.validation
    changed = {
        "texts": LabelledTexts(NAMES, ([*train[:-1], "c and more"], labels), held),
        "labels": LabelledTexts(NAMES, (train, labels[::-1].copy()), held),
        "names": LabelledTexts(("x", "y", "z"), (train, labels), held),
        "validation": LabelledTexts(NAMES, (train, labels), (held[0], held[1][::-1].copy())),
    }[other]
    fit_classes_once(base(), given)
    found = fit_classes_once(base(), changed)
    assert len(fits) == 2 and found.name == fit_classes(base(), changed).name


@pytest.mark.parametrize("damage", ["truncated", "a weight", "another name", "no file"])
def test_a_damaged_file_is_fitted_again(fits: list[LabelledTexts], tmp_path: Path, damage: str) -> None:
    good = fit_classes_once(base(), labelled())
    (path,) = (tmp_path / "cache" / "seqel" / "classifiers").iterdir()
    stored = json.loads(path.read_text())
    if damage == "truncated":
        path.write_text(path.read_text()[:100])
    elif damage == "a weight":
        path.write_text(json.dumps(stored | {"weight": "AACA" + stored["weight"][4:]}))
    elif damage == "another name":
        path.write_text(json.dumps(stored | {"names": ["a", "c", "b"]}))
    else:
        path.unlink()
    again = fit_classes_once(base(), labelled())
    assert len(fits) == 2 and again.name == good.name
    assert json.loads(path.read_text()) == stored  # replaced


def test_without_a_folder_to_write_nothing_is_kept(
    fits: list[LabelledTexts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        fit_classes_once(base(), labelled())
    assert len(fits) == 2


def test_pretrained_encoders_use_it_and_functions_do_not(fits: list[LabelledTexts], tmp_path: Path) -> None:
    pretrained = TextConfig(encoder="pretrained", model=str(tiny_encoder()))
    for _ in range(2):
        make_class_reader(pretrained, labelled())
    assert len(fits) == 1
    make_class_reader(TextConfig(encoder="callable"), labelled(), letters)
    assert len(fits) == 1 and len(list((tmp_path / "cache" / "seqel" / "classifiers").iterdir())) == 1
