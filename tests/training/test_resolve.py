"""What a config leaves at "auto" is chosen once, before the run starts; nothing else is changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqel
from seqel.environments.probe import Probe, probe
from seqel.environments.resolve import resolve
from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.settings import unresolved
from seqel.training import resolve as resolving
from seqel.training.config import RunConfig, preset, with_settings
from seqel.training.config_file import load_config, save_config
from seqel.training.resolve import (
    for_environment,
    for_episodes,
    for_length,
    on_this_machine,
    unused_network_settings,
    with_network_of,
)  # fmt: skip
from seqel.training.trainer import Trainer
from support import Scripted

MACHINE = {"device", "threads", "learner.compile"}


@pytest.fixture(scope="module")
def maze() -> Probe:
    return probe(resolve("seqel/TMaze20-v0"))


def test_the_steps_decide_the_replay_ratio_unless_it_is_set(maze: Probe) -> None:
    assert for_environment(preset(steps=800_000), maze).replay.replay_ratio == 16.0
    longer = with_settings(for_environment(preset(), maze), {"steps": 3_200_000})
    assert for_environment(longer, maze).replay.replay_ratio == 32.0, "a resumed run does not choose again"
    chosen = preset(steps=800_000, **{"replay.replay_ratio": 0.5})
    assert for_environment(chosen, maze).replay.replay_ratio == 0.5


def test_an_environment_decides_the_lengths_and_the_discount_and_nothing_else(maze: Probe) -> None:
    pole = probe(resolve("CartPole-v1"))
    found = for_environment(preset(), maze)
    assert (found.network.context, found.replay.window, found.objective.discount) == (21, 21, 1.0)
    assert set(unresolved(found)) == MACHINE | {"vectorization"}
    found = for_environment(preset(**{"network.context": 8}), maze)
    assert (found.network.context, found.replay.window) == (8, 16), "twice the context, so that attention is limited"
    found = for_environment(preset(), pole)
    assert (found.network.context, found.replay.window, found.objective.discount) == (64, 128, 0.99)
    assert for_environment(found, maze) == found, "a resumed run does not choose again"
    chosen = preset(**{"network.context": 9, "replay.window": 30, "objective.discount": 0.0})
    assert for_environment(chosen, maze) == for_length(with_settings(chosen, {"objective.novelty_weight": 0.0})), (
        "a discount of 0 is a choice"
    )
    blind = for_environment(preset(memoryless=True, **{"network.trunk": "gru"}), maze).network
    assert (blind.trunk, blind.context) == ("transformer", 1)
    assert not (blind.previous_action or blind.previous_reward or blind.first_step or blind.clock)


class Lengths:
    """As much of recorded episodes as the choice of lengths looks at."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = np.array(lengths)


@pytest.mark.parametrize(
    ("lengths", "context", "chosen"),
    [((3, 7), "auto", (8, 7)), ((500, 20), "auto", (128, 256)), ((500, 20), 10, (10, 20)), ((6,), 10, (10, 6))],
)
def test_recorded_episodes_decide_the_lengths(lengths: tuple[int, ...], context: Any, chosen: tuple[int, int]) -> None:
    recorded: EpisodeBuffer = Lengths(*lengths)  # type: ignore[assignment]
    found = for_episodes(preset("offline-cql", **{"network.context": context}), recorded)
    assert (found.network.context, found.replay.window) == chosen
    assert found.objective.discount == 0.99 and set(unresolved(found)) == MACHINE
    assert for_episodes(found, recorded) == found


@pytest.mark.parametrize(
    ("name", "learning_rate"),
    [
        ("offline-cql", 1e-3), ("offline-iql", 1e-3), ("offline-bcq", 1e-3), ("supervised-q", 1e-3),
        ("behaviour-cloning", 1e-3), ("offline-online", 2e-4),
    ],
)  # fmt: skip
def test_the_presets_for_recorded_data_keep_what_they_were_tuned_with(
    name: str, learning_rate: float, maze: Probe
) -> None:
    """Whatever the defaults are: the figures in docs/benchmarks.md rest on these settings."""
    recorded: EpisodeBuffer = Lengths(3, 7)  # type: ignore[assignment]
    started = preset(name, steps=3_200_000)
    online = name == "offline-online"
    found = for_environment(started, maze) if online else for_episodes(started, recorded)
    assert (found.objective.trace, found.replay.batch_tokens) == ("peng", 1_664)
    assert (found.learner.learning_rate, found.learner.target_rate) == (learning_rate, 0.01)
    if online:
        assert found.replay.replay_ratio == 32.0, "not 8, which the default would be for so many steps"


def test_the_machine_decides_device_threads_and_compilation(monkeypatch: pytest.MonkeyPatch, maze: Probe) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(resolving, "available_cores", lambda: 6)
    small = on_this_machine(for_environment(preset(), maze))
    assert (small.device, small.threads, small.learner.compile) == ("cpu", 1, "off")
    large = for_environment(preset(**{"network.width": 256}), maze)
    assert on_this_machine(large).threads == 4, "no more than torch was allowed to use"
    assert on_this_machine(with_settings(large, {"threads": 3})).threads == 3
    assert unresolved(small) == ["vectorization"] and on_this_machine(small) == small


def test_a_trainer_refuses_a_config_that_leaves_something_open() -> None:
    class Nothing(Trainer):
        total, best = 1, None
        update = accept = lambda *_: None  # type: ignore[assignment]

    with pytest.raises(
        ConfigError,
        match=(
            r"still 'auto': .*threads, text\.length, network\.context, objective\.discount, objective\.novelty_weight, "
            r"replay\.w.*ratio"
        ),
    ):
        Nothing(preset())


TINY: dict[str, Any] = {
    "environments": 2, "network.width": 16, "network.heads": 2, "network.layers": 1, "replay.learning_starts": 20,
    "replay.batch_tokens": 32, "validation.episodes": 1,
}  # fmt: skip


def test_a_run_records_every_choice_and_a_resumed_one_says_when_its_device_is_missing(tmp_path: Path) -> None:
    seqel.train(Scripted, steps=60, settings=TINY, out=tmp_path / "run", progress=False)
    written = load_config(tmp_path / "run" / "config.toml")
    assert unresolved(written) == [] and "auto" not in (tmp_path / "run" / "config.toml").read_text()
    assert written.replay.replay_ratio == 32.0
    elsewhere = with_settings(written, {"device": "cuda:7"})  # as if it had been started on a larger machine
    save_config(elsewhere, tmp_path / "run" / "config.toml")
    notes: list[str] = []
    seqel.resume(
        tmp_path / "run", env=Scripted, steps=90, trust=True, progress=lambda record: notes.extend(record.notes)
    )
    assert any("the run was on cuda:7, which is not available here: it continues on" in note for note in notes), notes
    assert load_config(tmp_path / "run" / "config.toml").device == written.device


def test_bf16_is_refused_where_it_is_slow_unless_the_run_began_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = {"avx2": True}, {"avx2": True, "avx512_bf16": True}
    settings = TINY | {"learner.precision": "bf16", "device": "cpu"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: slow)
    with pytest.raises(ConfigError, match=r"this processor \(AVX2\) lacks: .* Set learner\.precision = 'float32'"):
        seqel.train(Scripted, steps=60, settings=settings, out=tmp_path / "refused", progress=False)
    assert not (tmp_path / "refused").exists()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: fast)
    notes: list[str] = []
    keep: Any = lambda record: notes.extend(record.notes)  # noqa: E731
    seqel.train(Scripted, steps=60, settings=settings, out=tmp_path / "run", progress=keep)
    assert not any("bf16" in note for note in notes)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: slow)
    seqel.resume(tmp_path / "run", env=Scripted, steps=90, progress=keep)
    assert any("this processor (AVX2) lacks" in note and "continues in bf16" in note for note in notes), notes
    assert load_config(tmp_path / "run" / "config.toml").learner.precision == "bf16"


def test_a_run_that_is_extended_keeps_its_replay_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 steps resolve to 32 * sqrt(15 / 60) = 16 where the full ratio ends at 15 steps; 240 would resolve to 8."""
    monkeypatch.setattr(resolving, "SHORT_RUN", 15)
    seqel.train(Scripted, steps=60, settings=TINY, out=tmp_path / "run", progress=False)
    assert load_config(tmp_path / "run" / "config.toml").replay.replay_ratio == 16.0
    seqel.resume(tmp_path / "run", env=Scripted, steps=240, progress=False)
    resumed = load_config(tmp_path / "run" / "config.toml")
    assert (resumed.steps, resumed.replay.replay_ratio) == (240, 16.0)


def test_a_config_with_open_settings_is_unchanged_by_toml(tmp_path: Path) -> None:
    save_config(RunConfig(env="x"), tmp_path / "open.toml")
    text = (tmp_path / "open.toml").read_text()
    assert 'discount = "auto"' in text and 'threshold = "none"' in text and "inf" not in text.replace("info", "")
    assert load_config(tmp_path / "open.toml") == RunConfig(env="x")


@pytest.mark.parametrize(
    ("steps", "tokens", "ratio", "target_rate", "rate"),
    [
        (10_000, 416, 32.0, 0.05, 5e-4),
        (200_000, 416, 32.0, 0.05, 5e-4),
        (800_000, 832, 16.0, 0.025, 7.07e-4),  # four times as long: twice the batch, half the ratio
        (3_200_000, 1_664, 8.0, 0.0125, 1e-3),
    ],
)
def test_longer_runs_take_larger_and_slower_steps(
    steps: int, tokens: int, ratio: float, target_rate: float, rate: float
) -> None:
    config = for_length(RunConfig(steps=steps))
    assert (config.replay.batch_tokens, config.replay.replay_ratio) == (tokens, ratio)
    assert (config.learner.target_rate, config.learner.learning_rate) == (target_rate, rate)


def test_what_is_set_is_kept_and_the_learning_rate_follows_the_batch() -> None:
    config = with_settings(
        RunConfig(), {"steps": 3_200_000, "replay.batch_tokens": 1_664 * 4, "learner.target_rate": 0.5}
    )
    found = for_length(config)
    assert (found.replay.batch_tokens, found.learner.target_rate, found.learner.learning_rate) == (6_656, 0.5, 2e-3)
    still = for_length(with_settings(config, {"learner.learning_rate": 0.0, "replay.replay_ratio": 1.0}))
    assert (still.learner.learning_rate, still.replay.replay_ratio) == (0.0, 1.0)


def test_novelty_is_learned_where_it_can_be_and_somebody_explores(maze: Probe) -> None:
    found = for_environment(preset(), maze)
    assert found.objective.novelty_weight == 0.1 and found.network.novelty
    for settings in (
        {"exploration.novelty": 0.0}, {"objective.discount": 0.0}, {"learner.gradient_accumulation_steps": 2},
        {"objective.novelty_weight": 0.0},
    ):  # fmt: skip
        found = for_environment(preset(**settings), maze)
        assert found.objective.novelty_weight == 0.0 and not found.network.novelty, settings
    recorded = for_episodes(preset(), Lengths(10, 12))  # type: ignore[arg-type]
    assert recorded.objective.novelty_weight == 0.0 and not recorded.network.novelty


def test_a_run_has_the_network_that_it_starts_from_and_what_can_be_changed() -> None:
    start = NetworkConfig(width=48, policy_head="greedy", value_weight=2.0, dropout=0.2)
    assert with_network_of(RunConfig(), start).network == start
    assert unused_network_settings(NetworkConfig(), start) is None

    asked = NetworkConfig(
        width=16, clock=False, policy_head="greedy", value_weight=8.0, dropout=0.1, step_dropout=0.3, item_dropout=0.4,
        value_gradient=False, bcq_threshold=0.5,
    )  # fmt: skip
    used = with_network_of(RunConfig(network=asked), start).network
    assert used == dataclasses.replace(asked, width=48, clock=True)
    assert unused_network_settings(asked, used) == (
        "network.width = 16 is not used: the agent to start from has 48; "
        "network.clock = False is not used: the agent to start from has True"
    )
    with pytest.raises(ConfigError, match="policy_head = 'greedy', got 'auxiliary'"):
        with_network_of(RunConfig(network=asked), NetworkConfig(policy_head="auxiliary")).network.require_policy()
