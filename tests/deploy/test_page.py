"""The commands on the page about deployment are those of the program, and the files that it names exist."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import tyro
import yaml

from seqel.cli.serve import Arguments
from seqel.serving.config import ServiceConfig
from seqel.serving.ray_serve import ScaleConfig
from support_deploy import ROOT, routes

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
ON_RAY = {"run", "redis", "keys", "name", "backend", "device", "threads", "log"}
ON_RAY |= {field.name for kind in (ServiceConfig, ScaleConfig) for field in fields(kind)}


def commands(program: str) -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line)[len(program.split()) :] for line in lines if line.startswith(program + " ")]


def test_every_command_of_the_service_can_be_read() -> None:
    found = commands("seqel serve")
    assert len(found) >= 2
    for given in found:
        tyro.cli(Arguments, args=given)


def test_every_argument_on_ray_is_known() -> None:
    (given,) = commands("serve run")
    application, *more = given
    (config,) = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    (described,) = config["applications"]
    assert application == described["import_path"] == "seqel.serving.ray_serve:application"
    assert {one.partition("=")[0] for one in more} <= ON_RAY
    assert set(described["args"]) <= ON_RAY


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`?((?:deploy|benchmarks)/[\w./@-]+\w)`?", PAGE))
    assert len(named) > 6
    for name in named:
        assert (ROOT / name).exists(), name


def test_every_route_that_is_named_exists() -> None:
    found = routes() | {path.replace("{session}", "NAME") for path in routes()}
    for name in set(re.findall(r"`(?:GET |POST )?(/v[12][\w/]*|/metrics|/openapi\.json)`", PAGE)):
        assert name in found or name == "/openapi.json" or name.rstrip("/") == "/v2", name


def test_the_unit_of_systemd_and_the_page_agree() -> None:
    unit = (ROOT / "deploy" / "systemd" / "seqel@.service").read_text()
    for place in ("/etc/seqel/agent", "/etc/seqel/keys", "/etc/seqel/environment", "/opt/seqel"):
        assert place in unit
        assert place in PAGE
    assert Path("/opt/seqel/bin/seqel").as_posix() in unit
