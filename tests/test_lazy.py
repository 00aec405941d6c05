"""Packages with lazy names: light to import, complete, and not shadowed by their submodules."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = [
    "seqel",
    "seqel.datasets",
    "seqel.deployment",
    "seqel.evaluation",
    "seqel.explanation",
    "seqel.monitoring",
    "seqel.ope",
    "seqel.spaces",
]


def test_importing_the_packages_loads_neither_torch_nor_numpy() -> None:
    code = f"import {', '.join(PACKAGES)}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "polars", "onnxruntime", "gymnasium"} & set(done.stdout.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_exists_and_is_listed(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


def test_a_public_function_wins_over_the_submodule_of_the_same_name() -> None:
    code = (
        "import seqel.deployment.export, seqel.ope.estimation, seqel.deployment, seqel.ope\n"
        "from seqel.deployment import export; from seqel.ope import estimate\n"
        "print(callable(export), callable(estimate), callable(seqel.deployment.export), callable(seqel.ope.estimate))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 4


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones() -> None:
    module = importlib.import_module("seqel.datasets")
    with pytest.raises(AttributeError, match=r"no attribute 'lod'.*Schema.*load"):
        _ = module.lod


def test_load_takes_the_path_of_a_schema(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    from seqel.datasets import Schema, load

    table, schema = tmp_path / "log.csv", tmp_path / "schema.toml"
    table.write_text("who,x,what,gain\na,1,stay,0\na,2,go,1\nb,1,go,0\nb,3,stay,1\n")
    schema.write_text('session = "who"\naction = "what"\nreward = "gain"\n[observation]\nx = "number"\n')
    one, other, third = load(table, schema), load(table, str(schema)), load(table, Schema.load(schema))
    assert len(one) == len(other) == len(third) == 4
    assert one.actions == ["go", "stay"]
