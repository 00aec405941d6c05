"""Settings: names, types, ranges, presets, and TOML."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from seqel.errors import ConfigError
from seqel.training.config import RunConfig, preset, with_settings
from seqel.training.config_file import load_config, save_config
from seqel.training.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_unchanged_by_toml(name: str, tmp_path: Path) -> None:
    config = preset(name, env="seqel/TMaze-v0", env_args={"length": 9}, **{"validation.threshold": 0.5})
    save_config(config, tmp_path / "run.toml")
    assert load_config(tmp_path / "run.toml") == config


def test_there_is_no_other_preset() -> None:
    assert {*PRESETS} == {
        "default", "offline-cql", "offline-iql", "offline-bcq", "supervised-q", "behaviour-cloning", "offline-online",
        "monitoring", "next-item",
    }  # fmt: skip
    assert preset("default") == RunConfig()


@pytest.mark.parametrize("name", ["immediate", "control", "search"])
def test_a_removed_preset_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"preset '{name}' was removed, because one default replaces it: leave out the preset"
    ):
        preset(name)


def test_settings_are_set_by_dotted_name_and_as_text() -> None:
    config = with_settings(
        RunConfig(), {"learner.learning_rate": "3e-4", "network.width": "128", "learner.betas": "[0.8, 0.9]"}
    )
    assert (config.learner.learning_rate, config.network.width, config.learner.betas) == (3e-4, 128, (0.8, 0.9))
    assert preset(network__trunk="gru").network.trunk == "gru"
    assert with_settings(RunConfig(), {"replay.capacity": 5e4}).replay.capacity == 50_000


def test_a_file_may_name_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('preset = "supervised-q"\nsteps = 5_000\n[learner]\nlearning_rate = 1e-4\n')
    config = load_config(path)
    assert config.objective.lambda_ == 0.0 and config.steps == 5_000 and config.learner.learning_rate == 1e-4
    path.write_text('preset = "search"\n')
    with pytest.raises(ConfigError, match=r"run\.toml: preset 'search' was removed"):
        load_config(path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"learner.learning_rat": 1.0}, "did you mean learner.learning_rate"),
        ({"nonsense": 1}, "unknown setting nonsense"),
        ({"steps": -5}, "steps: expected an integer of at least 1, got -5"),
        ({"steps": 2.5}, "an integer"),
        ({"steps": True}, "an integer"),
        ({"learner.learning_rate": float("nan")}, "a finite number"),
        ({"learner.learning_rate": -1.0}, "at least"),
        ({"learner.betas": (0.9, 1.0)}, r"betas\[1\]: expected a finite number of at least 0 and below 1"),
        ({"learner.betas": (0.9,)}, "learner.betas"),
        ({"learner.momentum": -0.1}, "learner.momentum: expected a finite number of at least 0"),
        ({"learner.target_rate": 0.0}, "target_rate: expected a finite number above 0 and at most 1"),
        ({"learner.final_fraction": 1.5}, "final_fraction: expected a finite number from 0 to 1"),
        (
            {"learner.gradient_accumulation_steps": 0},
            "learner.gradient_accumulation_steps: expected an integer of at least 1",
        ),
        ({"network": 3}, "a table of settings"),
        ({"network.trunk": "lstm"}, "one of 'transformer', 'gru', 'pretrained'"),
        ({"network.width": 63}, "multiple of 2"),
        ({"objective.discount": 1.5}, "discount: expected a finite number from 0 to 1"),
        ({"objective.lambda_": 0.5, "objective.n_step": 3}, "one or the other"),
        ({"exploration.low": 0.0}, "exploration.low: expected a finite number above 0"),
        ({"replay.replay_ratio": 0.0}, "above 0"),
        ({"validation.episodes": 0}, "at least 1"),
        ({"learner.compile": "maybe"}, "one of 'auto', 'on', 'off'"),
        ({"memoryless": "maybe"}, "true or false"),
        ({"learner.lr": 1e-3}, "did you mean learner.learning_rate"),
        ({"gamma": 0.9}, "did you mean objective.discount"),
        ({"learner.gamma": 0.9}, "did you mean objective.discount"),
        ({"learning_rate": 1e-3}, "did you mean learner.learning_rate"),
        ({"objective.lambda": 0.5}, "did you mean objective.lambda_"),
        ({"replay.every": 3}, r"did you mean (validation|offline)\.every"),
    ],
)
def test_invalid_settings_are_refused_by_name(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        with_settings(RunConfig(), settings)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    with pytest.raises(ConfigError, match="no such file"):
        load_config(path)
    path.write_bytes(b"\xff\xfe = 3")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(path)
    path.write_text("[learner]\nspeed = 3\n")
    with pytest.raises(ConfigError, match=r"run\.toml: unknown setting learner\.speed"):
        load_config(path)
    with pytest.raises(ConfigError, match="preset: expected one of"):
        preset("best")
    with pytest.raises(ConfigError, match="did you mean offline-bcq"):
        preset("offline-bqc")


def test_every_setting_is_reachable_by_its_name() -> None:
    def walk(config: Any, prefix: str) -> list[tuple[str, Any]]:
        found = []
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            name = f"{prefix}{field.name}"
            found += walk(value, f"{name}.") if dataclasses.is_dataclass(value) else [(name, value)]
        return found

    for name, value in walk(RunConfig(), ""):
        if value is not None:
            with_settings(RunConfig(), {name: value})


# -- files that are not what we expect -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"learner = 5", "learner: expected a table"),
        (b'learner = 5\n"learner.warmup" = 1', "learner: expected a table"),
        (b"seed = 9223372036854775808", r"seed: expected .* less than 2\^63"),
        (b"seed = " + b"9" * 5000, "not valid TOML"),
        (b"learner = { learning_rate = " + b"9" * 400 + b" }", r"learner.learning_rate: expected .* less than 2\^63"),
        (b"steps = 1e30", "steps: expected an integer"),
        (b"preset = [1]", "preset: expected a name"),
        (b"env = 3", "env: expected a string"),
        (b"env_args = 3", "env_args: expected a table"),
        (b"offline = { files = [3] }", r"offline.files\[0\]: expected a string"),
        (b"x = " + b"[" * 5000, "not valid TOML"),
        (b"\xff\xfe", "not valid TOML"),
        (b"unheard = 1", "unknown setting unheard"),
    ],
)
def test_toml_that_is_not_a_config_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load_config(tmp_path / "run.toml")


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert load_config(tmp_path / "run.toml").seed == 3


@pytest.mark.parametrize("path", ["x" * 300, "a\0b"], ids=["300 characters", "a NUL"])
def test_an_impossible_path_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        load_config(path)


def test_arguments_that_toml_cannot_hold_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="env_args: expected values that TOML can hold"):
        save_config(RunConfig(env="a", env_args={"x": object()}), tmp_path / "run.toml")
    assert not list(tmp_path.iterdir())
