from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from seqel.errors import ConfigError
from seqel.pretrained.location import BaseModel, find, locate, remember
from tiny_models import tiny_encoder


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SEQEL_MODELS", raising=False)


def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder(), tmp_path / "models" / "copy"))


def test_the_checksum_is_that_of_what_the_model_computes(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    assert BaseModel.of(folder, str(folder)).checksum == BaseModel.of(tiny_encoder(), "x").checksum
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        before = BaseModel.of(folder, str(folder)).checksum
        data = bytearray((folder / name).read_bytes())
        data[-3] ^= 1
        (folder / name).write_bytes(data)
        assert BaseModel.of(folder, str(folder)).checksum != before
    (folder / "README.md").write_text("more")
    before = BaseModel.of(folder, str(folder)).checksum
    (folder / "README.md").write_text("other")
    assert BaseModel.of(folder, str(folder)).checksum == before


def test_a_model_is_found_where_training_used_it(tmp_path: Path) -> None:
    folder = locate(str(copy(tmp_path)))
    model = BaseModel.of(folder, str(folder))
    with pytest.raises(ConfigError, match=r"'copy' .* is not known on this machine. Set .* SEQEL_MODELS"):
        find(model)
    remember(model, folder)
    assert find(model) == folder
    (folder / "config.json").write_text("{}")  # another model now
    with pytest.raises(ConfigError, match="not known"):
        find(model)


def test_a_model_is_found_in_the_folders_that_the_user_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy(tmp_path)
    model = BaseModel.of(folder, str(folder))
    for value in (folder, folder.parent, f"/nowhere:{folder}"):
        monkeypatch.setenv("SEQEL_MODELS", str(value))
        assert find(model) == folder


def test_an_agent_cannot_make_a_path_be_opened(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    real = BaseModel.of(folder, str(folder))
    for name in (str(folder), "../models/copy", "models/copy"):
        with pytest.raises(ConfigError, match="not known on this machine"):
            find(BaseModel(name, real.checksum))


def test_weights_in_pickles_are_refused(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="pickle format can run code"):
        locate(str(folder))


@pytest.mark.parametrize("name", ["/nowhere/at/all", "..", "no-owner", "a/b/c", ""])
def test_what_is_no_model_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"text\.model: expected"):
        locate(name)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"a folder or a \.gguf file"):
        locate(str(tmp_path / "weights.pt"))


@pytest.mark.parametrize(
    "data", [None, "name", {}, {"name": "x"}, {"name": 1, "checksum": "0" * 64}, {"name": "x", "checksum": "y"}]
)
def test_a_description_from_elsewhere_is_checked(data: Any) -> None:
    with pytest.raises(ValueError, match="expected the name and checksum"):
        BaseModel.from_json(data)
