"""Settings are declared once, and every value is checked against its annotation and its range."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from seqel.agents.config import ExplorationConfig
from seqel.errors import ConfigError
from seqel.losses.config import ObjectiveConfig
from seqel.networks.config import NetworkConfig
from seqel.settings import (
    as_dict,
    as_toml,
    check,
    list_settings,
    parse,
    replace,
    section,
    setting,
    suggest,
    under_present_names,
    unresolved,
)  # fmt: skip
from seqel.texts.config import TextConfig
from seqel.training.config import LearnerConfig, OfflineConfig, ReplayConfig, RunConfig, ValidationConfig

SECTIONS = (
    TextConfig, NetworkConfig, ObjectiveConfig, ExplorationConfig, ReplayConfig, LearnerConfig, ValidationConfig,
    OfflineConfig, RunConfig,
)  # fmt: skip
FIELDS = [(kind, field) for kind in SECTIONS for field in dataclasses.fields(kind)]


@dataclass(frozen=True, slots=True)
class Inner:
    rate: float = setting(0.5, "A share.", unit="share", ge=0.0, le=1.0, known_as=("speed",), renamed_from=("pace",))

    def __post_init__(self) -> None:
        check(self, "inner")


@dataclass(frozen=True, slots=True)
class Outer:
    count: int = setting(3, "How many.", ge=1)
    choice: Literal["one", "two"] = setting("one", "Which.")
    power: float = setting(0.0, "Above 1, or off.", gt=1.0, or_zero=True)
    pair: tuple[float, float] = setting((0.1, 0.2), "Two.", ge=0.0, lt=1.0)
    names: tuple[str, ...] = setting((), "Any number.")
    goal: float = setting(math.inf, "Perhaps.", le=9.0, none=math.inf)
    reach: int = setting(0, "Chosen or given.", ge=1, auto=0)
    extra: dict[str, Any] = setting(factory=dict, meaning="Anything.")
    on: bool = setting(True, "Yes or no.")
    inner: Inner = section(Inner, "Inside.")

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"count": 0}, "count: expected an integer of at least 1, got 0"),
        ({"count": 2.5}, "count: expected an integer of at least 1, got 2.5"),
        ({"count": True}, "count: expected an integer"),
        ({"count": "3"}, "count: expected an integer"),
        ({"count": 2**63}, "count: expected an integer"),
        ({"count": 10**400}, "count: expected an integer"),
        ({"count": None}, "count: expected an integer"),
        ({"choice": "three"}, "choice: expected one of 'one', 'two', got 'three'"),
        ({"choice": ["one"]}, "choice: expected one of 'one', 'two'"),
        ({"power": 1.0}, "power: expected a finite number above 1, or 0, got 1.0"),
        ({"power": math.nan}, "power: expected a finite number"),
        ({"power": math.inf}, "power: expected a finite number"),
        ({"power": 10**400}, "power: expected a finite number"),
        ({"pair": (0.1, 1.0)}, r"pair\[1\]: expected a finite number of at least 0 and below 1, got 1.0"),
        ({"pair": (0.1,)}, "pair: expected a list of 2, each a finite number"),
        ({"names": "abc"}, "names: expected a list, each a string, got 'abc'"),
        ({"names": (1,)}, r"names\[0\]: expected a string, got 1"),
        ({"goal": None}, "goal: expected a finite number of at most 9, or 'none', got None"),
        ({"goal": "auto"}, "goal: expected a finite number of at most 9, or 'none', got 'auto'"),
        ({"goal": -math.inf}, "goal: expected a finite number"),
        ({"reach": -1}, "reach: expected an integer of at least 1, or 'auto', got -1"),
        ({"reach": False}, "reach: expected an integer of at least 1, or 'auto', got False"),
        ({"goal": 10.0}, "goal: expected a finite number of at most 9, or 'none', got 10.0"),
        ({"extra": 3}, "extra: expected a table, got 3"),
        ({"extra": {1: 2}}, "extra: expected a table"),
        ({"on": 1}, "on: expected true or false, got 1"),
        ({"inner": Outer}, "inner: expected a table of settings"),
    ],
)
def test_a_value_of_another_type_or_outside_its_range_is_refused_by_name(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Outer(**given)


def test_what_is_stored_is_of_the_annotated_type() -> None:
    made = Outer(count=np.int64(4), power=2, pair=[0, 0.5], names=["a"], goal=3)  # type: ignore[arg-type]
    assert (made.count, made.power, made.pair, made.names, made.goal) == (4, 2.0, (0.0, 0.5), ("a",), 3.0)
    assert [type(value) for value in (made.count, made.power, made.pair[0], made.goal)] == [int, float, float, float]
    assert Outer(count=4.0).count == 4 and Outer(power=0).power == 0.0  # type: ignore[arg-type]


def test_texts_are_read_as_toml_values_where_no_text_is_expected() -> None:
    changed = replace(
        Outer(), {"count": "7", "pair": "[0.3, 0.4]", "on": "false", "choice": "two", "inner": {"rate": "1"}}
    )
    assert changed == Outer(count=7, pair=(0.3, 0.4), on=False, choice="two", inner=Inner(1.0))
    with pytest.raises(ConfigError, match=r"inner\.rate: expected a finite number from 0 to 1, got 'fast'"):
        replace(Outer(), {"inner": {"rate": "fast"}})
    with pytest.raises(ConfigError, match="inner: expected a table of settings, got 3"):
        replace(Outer(), {"inner": 3})


def test_a_value_with_a_name_is_written_and_read_by_its_name() -> None:
    assert (Outer(reach="auto").reach, Outer(goal="none").goal) == (0, math.inf)  # type: ignore[arg-type]
    assert replace(Outer(reach=3, goal=1.0), {"reach": "auto", "goal": "none"}) == Outer()
    written = as_dict(Outer())
    assert (written["reach"], written["goal"], written["pair"]) == ("auto", "none", [0.1, 0.2])
    assert replace(Outer(reach=3), written) == Outer()
    shown = {info.name: (as_toml(info.default), info.expected) for info in list_settings(Outer)}
    assert shown["reach"] == ('"auto"', "an integer of at least 1, or 'auto'")
    assert shown["goal"] == ('"none"', "a finite number of at most 9, or 'none'")


def test_a_string_that_is_no_toml_value_is_kept() -> None:
    digits = "9" * 5_000  # more than Python reads
    assert [parse(text) for text in ("3", "true", "[1, 2]", "easy", digits)] == [3, True, [1, 2], "easy", digits]


def test_a_former_name_is_read_as_the_present_one() -> None:
    assert replace(Outer(), {"inner": {"pace": 0.25}}) == Outer(inner=Inner(0.25))
    for both in ({"pace": 0.25, "rate": 0.25}, {"rate": 0.25, "pace": 0.25}):
        with pytest.raises(
            ConfigError, match=r"inner\.pace is now called inner\.rate: expected one of the two, got both"
        ):
            replace(Outer(), {"inner": both})
    assert under_present_names(Inner, {"pace": 1.0, "other": 2}) == {"rate": 1.0, "other": 2}


@pytest.mark.parametrize("kind", SECTIONS, ids=lambda kind: kind.__name__)
def test_no_former_name_is_used_again(kind: type[Any]) -> None:
    """A file of an earlier version would otherwise be read as something else."""
    present = {field.name for field in dataclasses.fields(kind)}
    former = [name for field in dataclasses.fields(kind) for name in field.metadata["setting"].renamed_from]
    assert len(set(former)) == len(former) and not present & set(former)


def test_what_is_still_to_be_chosen_is_listed_by_name() -> None:
    assert unresolved(Outer()) == ["reach"] and unresolved(Outer(reach=2)) == []
    assert unresolved(RunConfig()) == [
        "vectorization", "device", "threads", "text.length", "network.context", "objective.discount",
        "objective.novelty_weight",
        "replay.window", "replay.batch_tokens", "replay.replay_ratio", "learner.learning_rate",
        "learner.pretrained_rate", "learner.target_rate", "learner.compile",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "meant"),
    [("inner.rat", "inner.rate"), ("rate", "inner.rate"), ("speed", "inner.rate"), ("cuont", "count"), ("zzz", None)],
)
def test_an_unknown_name_is_answered_with_the_one_that_was_meant(name: str, meant: str | None) -> None:
    assert suggest(name, Outer) == meant


def test_initials_and_the_names_of_other_libraries_are_understood() -> None:
    meant = {
        "learner.lr": "learner.learning_rate", "gamma": "objective.discount", "buffer_size": "replay.capacity",
        "n_envs": "environments", "tau": "learner.target_rate", "learner.tau": "learner.target_rate",
        "total_timesteps": "steps", "learner.grad_clip": "learner.max_grad_norm",
        "clip": "learner.max_grad_norm", "replay.bs": "replay.batch_size",
    }  # fmt: skip
    assert {name: suggest(name, RunConfig) for name in meant} == meant


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=[f"{kind.__name__}.{field.name}" for kind, field in FIELDS])
def test_every_setting_is_explained_and_checked(kind: type[Any], field: dataclasses.Field[Any]) -> None:
    """Each has a meaning; a value of a wrong type, an unknown choice, NaN and a value beyond each bound are refused."""
    declared, annotation = field.metadata["setting"], get_type_hints(kind)[field.name]
    assert declared.meaning.endswith(".") and len(declared.meaning) >= 10
    wrong: list[Any] = [object()]
    if get_origin(annotation) is Literal:
        wrong += ["foo", "??"]
        assert all(isinstance(choice, str) for choice in get_args(annotation))
    numbers = annotation in (int, float)
    if numbers:
        wrong += [math.nan, math.inf, "3", True]
        wrong += [bound - 1 for bound in (declared.ge,) if bound is not None]
        wrong += [bound + 1 for bound in (declared.le,) if bound is not None]
        wrong += [bound for bound in (declared.gt, declared.lt) if bound and not declared.or_zero]
        assert annotation is not int or declared.ge is not None, "a count has a smallest value"
    if annotation is int:
        wrong += [declared.ge + 0.5, 2**63]
    named = [meant for _, meant in declared.words]
    for value in [one for one in wrong if one not in named]:
        with pytest.raises(ConfigError, match=rf"\b{field.name}.*expected .*got "):
            kind(**{field.name: value})


def test_the_reviewed_examples_are_refused() -> None:
    for make in (
        lambda: LearnerConfig(schedule="foo"),  # type: ignore[arg-type]
        lambda: LearnerConfig(optimizer="nonsense"),  # type: ignore[arg-type]
        lambda: RunConfig(vectorization="??"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError, match="expected one of"):
            make()


def test_the_list_of_settings_is_complete() -> None:
    known = {info.name: info for info in list_settings(RunConfig)}
    assert len(known) == sum(
        1 for kind, field in FIELDS if not dataclasses.is_dataclass(get_type_hints(kind)[field.name])
    )
    rate = known["learner.target_rate"]
    assert rate.kind == "a finite number" and rate.expected == "a finite number above 0 and at most 1, or 'auto'"
    assert rate.default == "auto" and "tau" in rate.known_as and rate.unit == "fraction per update"
    assert known["env_args"].default == {}
    assert known["network.trunk"].expected == "one of 'transformer', 'gru', 'pretrained'"


def test_settings_need_neither_torch_nor_numpy() -> None:
    code = "import sys, seqel.training.config; sys.exit(bool({'torch', 'numpy'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
