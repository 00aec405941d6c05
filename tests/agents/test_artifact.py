"""An agent on disk: it is restored bit for bit, any damage is found and named, and loading never runs code."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.agents import artifact
from seqel.agents.agent import Agent
from seqel.errors import CheckpointError, StorageError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from support import network

FILES = ("weights.safetensors", "config.json")

NESTED = gym.spaces.Dict(
    {
        "eye": gym.spaces.Box(0, 255, (24, 24, 3), np.uint8),
        "say": gym.spaces.Text(9),
        "rest": gym.spaces.Tuple((gym.spaces.Discrete(3, start=-1), gym.spaces.Box(-1, float("inf"), (2,)))),
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return artifact.save(tmp_path / "agent", network(), {"env": "somewhere"})


@pytest.mark.parametrize(
    "settings",
    [{}, {"trunk": "gru"}, {"dueling": True, "value": "hl-gauss", "bins": 11}, {"qk_norm": True, "clock": False}],
    ids=str,
)
def test_every_tensor_and_setting_is_restored(settings: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = NetworkConfig(**{"width": 16, "heads": 2, "context": 5, **settings})
    net = QNetwork(config, ObservationSpec.from_space(NESTED), ActionSpec((4,), (2,)))
    net.head.rescale(3.7)
    for encoder in net.tokens.vectors().values():
        encoder.observe(torch.ones(2) / 3, torch.ones(2) * 0.7)
    info: Any = {"env": "a", "numbers": [1, 2.5, None], "nested": {"é": "ö"}}
    back, loaded = artifact.load(artifact.save(tmp_path / "agent", net, info))
    assert loaded == info
    assert (back.config, back.observation_spec, back.action_spec) == (config, net.observation_spec, net.action_spec)
    one, other = net.state_dict(), back.state_dict()
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]), name
    assert "head.scale" in one and any(name.endswith(".mean") for name in one), "unit and statistics are included"


def test_an_agent_whose_settings_have_their_former_names_is_read(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    assert config["network"].pop("item_dropout") == 0.0
    config["network"]["forget_items"] = 0.25
    config["crc32"]["config.json"] = artifact._sum(config)
    path.write_text(json.dumps(config))
    assert artifact.load(folder)[0].config.item_dropout == 0.25


def test_the_info_of_an_agent_is_read_without_its_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    assert artifact.info(folder) == {"env": "somewhere"}
    assert folder.name == "agent" and artifact.info(folder.parent) == {"env": "somewhere"}, "a run's folder"
    with pytest.raises(CheckpointError, match="no agent"):
        artifact.info(folder / "nowhere")


def test_saving_again_replaces_the_whole(folder: Path) -> None:
    artifact.save(folder, network(trunk="gru"), {})
    assert artifact.load(folder)[0].config.trunk == "gru"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert [path.name for path in folder.parent.iterdir()] == ["agent"], "no other file is left"


def test_a_failed_save_leaves_the_existing_agent(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in FILES}
    with pytest.raises(StorageError):
        artifact.save(folder, network(trunk="gru"), {"env": cast(Any, object())})
    assert before == {name: (folder / name).read_bytes() for name in FILES}


def test_a_run_folder_loads_its_agent(folder: Path) -> None:
    assert artifact.load(folder.parent)[1] == {"env": "somewhere"}


# -- damage ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused(name: str, folder: Path) -> None:
    whole = (folder / name).read_bytes()
    for length in (0, 1, 7, 8, 9, len(whole) // 3, len(whole) // 2, len(whole) - 2):
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=str(name).replace(".", r"\.")):
            artifact.load(folder)


@pytest.mark.parametrize("flips", [60, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(name: str, flips: int, folder: Path) -> None:
    """Also in the middle of the weights, where every bit pattern is a valid number. Only layout may change unnoticed."""
    whole = (folder / name).read_bytes()
    rng = random.Random(0)
    places = sorted({0, 5, 8, len(whole) - 1, *rng.sample(range(len(whole)), flips)})
    refused = 0
    for at in places:
        (folder / name).write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
        try:
            _, info = artifact.load(folder)
        except CheckpointError:
            refused += 1
        else:
            assert name == "config.json" and whole[at : at + 1].isspace() and info == {"env": "somewhere"}
    assert refused == len(places) if name == FILES[0] else refused > 30


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "content", [b"\x00" * 64, b"\xff" * 64, b"[]", b"{}", b"null", b"NaN", b"[" * 100_000], ids=repr
)
def test_invalid_content_is_refused(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError):
        artifact.load(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "expected format 1, got 2"),
        ({"more": 1}, "expected the keys"),
        ({"network": {"width": 1}}, "altered|description"),
        ({"network": 3}, "altered|description"),
        ({"observation": [3]}, "altered|description"),
        ({"action": {"sizes": [], "start": []}}, "altered|description"),
        ({"info": {"env": "elsewhere"}}, "altered"),
    ],
    ids=str,
)
@pytest.mark.parametrize("sums", ["kept", "made to fit"])
def test_an_edited_description_is_refused(change: dict[str, Any], says: str, sums: str, folder: Path) -> None:
    """Invalid values are refused even if the checksums match."""
    edit(folder, change, fit=sums == "made to fit")
    if sums == "made to fit" and "info" in change:
        assert artifact.load(folder)[1] == change["info"], "a checksum detects damage, not malice"
        return
    with pytest.raises(CheckpointError, match=says):
        artifact.load(folder)


def edit(folder: Path, change: dict[str, Any], fit: bool = True) -> None:
    """Change a description, and make its checksum match."""
    config = json.loads((folder / "config.json").read_text())
    config.update(change)
    if fit:
        config["crc32"]["config.json"] = artifact._sum(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("missing", ["both", *FILES])
def test_a_missing_checksum_is_damage(missing: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    if missing == "both":
        del config["crc32"]
    else:
        del config["crc32"][missing]
    (folder / "config.json").write_text(json.dumps(config))
    for read in (artifact.load, artifact.info):
        with pytest.raises(CheckpointError, match=r"damaged: expected the keys .*crc32"):
            read(folder)


@pytest.mark.parametrize(
    "info",
    [
        3, {"env": 3}, {"env_args": []}, {"held_out": {"share": "much", "seed": 0}}, {"held_out": {"share": 0.1}},
        {"discount": "0.9"}, {"discount": float("nan")}, {"data": "a.csv"}, {"data": [3]}, {"encoding": 1}, {"encoding": {}},
        {"encoding": {"schema": 1}},
        {"validation": {"mean": "good"}}, {"seed": True},
    ],
    ids=str,
)  # fmt: skip
def test_entries_of_info_that_seqel_reads_must_have_their_types(info: Any, folder: Path) -> None:
    edit(folder, {"info": info})
    with pytest.raises(CheckpointError, match="info"):
        artifact.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"width": 1 << 40, "heads": 2}},
        {"network": {"layers": 1 << 40, "width": 16, "heads": 2}},
        {"network": {"width": 16, "heads": 2, "feedforward": 1 << 40}},
        {"action": {"sizes": [1 << 50], "start": [0]}},
        {"observation": [{"kind": "vector", "shape": [1 << 60]}]},
        {"observation": [{"kind": "strange"}]},
        {"observation": [{"dtype": "object"}]},
        {"observation": [{"shape": ["3"]}]},
    ],
    ids=str,
)
def test_a_description_of_a_huge_network_allocates_no_memory(change: dict[str, Any], folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for name, value in change.items():
        if name == "observation":
            change = {name: [{**config[name][0], **value[0]}]}
        elif name == "network":
            change = {name: {**config[name], **value}}
    edit(folder, change)
    with pytest.raises(CheckpointError, match="expected an agent's description"):
        artifact.load(folder)


def test_a_header_longer_than_the_file_is_refused(folder: Path) -> None:
    weights = (1 << 62).to_bytes(8, "little") + (folder / FILES[0]).read_bytes()[8:]
    (folder / FILES[0]).write_bytes(weights)
    config = json.loads((folder / "config.json").read_text())
    edit(folder, {"crc32": {**config["crc32"], FILES[0]: zlib.crc32(weights)}})
    with pytest.raises(CheckpointError, match="header is damaged"):
        artifact.load(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["a link out", "a device", "a pipe", "a broken link"])
def test_a_file_that_is_not_a_regular_file_of_the_agent_is_refused(
    name: str, kind: str, folder: Path, tmp_path: Path
) -> None:
    (folder / name).rename(tmp_path / name)
    if kind == "a pipe":
        os.mkfifo(folder / name)
    else:
        to = {"a link out": tmp_path / name, "a device": Path("/dev/zero"), "a broken link": Path("nowhere")}[kind]
        (folder / name).symlink_to(to)
    with pytest.raises(CheckpointError, match=r"leads out|regular file|broken link"):
        artifact.load(folder)


def test_a_link_within_the_folder_and_a_link_to_the_folder_are_fine(folder: Path, tmp_path: Path) -> None:
    (folder / FILES[0]).rename(folder / "blob")
    (folder / FILES[0]).symlink_to("blob")
    (tmp_path / "latest").symlink_to(folder)
    assert artifact.load(tmp_path / "latest")[1] == {"env": "somewhere"}


def test_a_huge_description_is_not_read(folder: Path) -> None:
    with (folder / "config.json").open("r+b") as file:
        file.truncate(artifact.CONFIG_LIMIT + 1)  # sparse
    with pytest.raises(CheckpointError, match="expected at most"):
        artifact.load(folder)


@pytest.mark.parametrize("path", ["x" * 300, "a\0b"], ids=["300 characters", "a NUL"])
def test_an_impossible_path_holds_no_agent(path: str) -> None:
    with pytest.raises(CheckpointError, match=r"no agent|cannot be read"):
        artifact.load(Path(path))


def test_weights_of_another_agent_are_refused(folder: Path, tmp_path: Path) -> None:
    other = artifact.save(tmp_path / "other", network(std=0.1), {})
    (folder / FILES[0]).write_bytes((other / FILES[0]).read_bytes())
    with pytest.raises(CheckpointError, match="checksum"):
        artifact.load(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("instead", ["nothing", "a folder"])
def test_a_missing_file_is_named(name: str, instead: str, folder: Path) -> None:
    (folder / name).unlink()
    if instead == "a folder":
        (folder / name).mkdir()
    with pytest.raises(CheckpointError, match=str(name).replace(".", r"\.")):
        artifact.load(folder)


# -- no code is run --------------------------------------------------------------------------------------------------------


class Evil:
    """Unpickling one touches a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("disguise", ["pickle", "torch.save"])
def test_a_pickle_in_place_of_a_file_runs_no_code(name: str, disguise: str, folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    buffer = io.BytesIO()
    if disguise == "pickle":
        pickle.dump(Evil(mark), buffer)
        pickle.loads(buffer.getvalue())
    else:
        torch.save({"weights": Evil(mark)}, buffer)
        assert zipfile.is_zipfile(buffer)
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert mark.exists(), "the trap works"
    mark.unlink()
    (folder / name).write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError):
        Agent.load(folder)
    assert not mark.exists()


def test_loading_calls_no_unpickler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("unpickled")

    for place, names in (
        (pickle, ("load", "loads", "Unpickler")),
        (torch, ("load",)),
        (sys.modules["_pickle"], ("loads",)),
    ):
        for name in names:
            monkeypatch.setattr(place, name, never)
    Agent.load(folder)
