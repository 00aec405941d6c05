"""The names in the configs, which do not import torch, are those of the registries, which do."""

from __future__ import annotations

import dataclasses
from typing import Any, cast, get_args

import pytest

from seqel.losses.config import ObjectiveConfig
from seqel.losses.terms.registry import TERMS, active_terms
from seqel.losses.terms.term import Term
from seqel.networks.config import ImageName, NetworkConfig, TrunkName, ValueName
from seqel.networks.encoders.registry import ENCODERS, IMAGE_ENCODERS
from seqel.networks.heads.registry import HEADS
from seqel.networks.trunks.registry import TRUNKS, trunks_with
from seqel.spaces.kinds.registry import KINDS
from seqel.training.required_heads import with_heads
from seqel.types import QOutput
from seqel.values.registry import VALUES, make_values


def test_names_are_those_of_the_registries() -> None:
    assert set(get_args(TrunkName)) == set(TRUNKS)
    assert set(get_args(ValueName)) == set(VALUES)
    assert set(get_args(ImageName)) == set(IMAGE_ENCODERS)
    assert set(KINDS) == set(ENCODERS)
    assert {entry.field for entry in HEADS.values()} <= {field.name for field in dataclasses.fields(QOutput)}


def test_trunks_declare_their_abilities() -> None:
    assert {name for name, trunk in TRUNKS.items() if trunk.packs_rows} == {"transformer", "pretrained"}
    assert trunks_with("has_attention") == "'transformer' or 'pretrained'"
    assert trunks_with("exportable") == "'transformer' or 'gru'"
    config = NetworkConfig(width=4, heads=2, layers=3, context=3)
    assert TRUNKS["gru"].flops(config, 2, 4) == 3 * 2 * 8 * 6 * 16


@pytest.mark.parametrize("name", get_args(ValueName))
def test_every_kind_of_value_says_how_many_outputs_it_needs(name: str) -> None:
    values = make_values(name, 7, 10.0)
    assert values.outputs == (1 if name == "scalar" else 7)
    assert values.needs_next_outputs == (name in ("c51", "quantile"))
    assert values.linear == (name in ("scalar", "quantile"))


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_a_term_is_enabled_by_its_setting_and_gets_its_head(term: Term) -> None:
    plain, on = ObjectiveConfig(0.9), ObjectiveConfig(0.9, **cast(Any, {term.setting: 0.5}))
    assert active_terms(plain) == () and active_terms(on) == (term,)
    network = with_heads(NetworkConfig(), on)
    wanted = {name for name, entry in HEADS.items() if entry.wanted(network)}
    assert wanted == ({term.head} if term.head else set())
