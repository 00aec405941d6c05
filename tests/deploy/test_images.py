"""The image, compose, the proxy, Prometheus and the systemd unit fit the service, as far as can be seen without Docker."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tyro
import yaml

from seqel.cli.monitor_arguments import Arguments as OfMonitor
from seqel.cli.serve import Arguments
from seqel.serving.running import GRACE
from support_deploy import DEPLOY, ROOT, routes

COMPOSE = DEPLOY / "compose"


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments, joined lines as one."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((COMPOSE / "compose.yaml").read_text()))


def substituted(text: str, **values: str) -> str:
    """Replace ${NAME}, ${NAME:-default} and ${NAME:?message} as compose does."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found[1], found[2], found[3]
        assert name in values or kind == "-", f"{name} is not set"
        return values.get(name, rest or "")

    return re.sub(r"\$\{(\w+)(?::([-?])([^}]*))?\}", value, text)


def ignored(path: str) -> bool:
    """Return whether .dockerignore leaves a path out."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            parts = path.split("/")
            if any(fnmatch.fnmatch("/".join(parts[:end]), pattern) for end in range(1, len(parts) + 1)):
                out = not line.startswith("!")
    return out


def requirements() -> list[str]:
    lines = (DEPLOY / "requirements-onnx.txt").read_text().splitlines()
    return [re.split(r"[><=]", line)[0] for line in lines if line and not line.startswith("#")]


# -- the image -------------------------------------------------------------------------------------------------------------


def test_the_image_is_built_from_files_that_exist_and_are_not_ignored() -> None:
    copied = [rest for kind, rest in instructions(DEPLOY / "Dockerfile") if kind == "COPY" and "--from" not in rest]
    sources = [source for rest in copied for source in rest.split()[:-1]]
    assert "src" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source
    for secret in ("keys.txt", ".git", "runs", ".env", "tests", "deploy/compose/compose.yaml"):
        assert ignored(secret), secret


def test_the_image_runs_the_service_without_rights() -> None:
    found = instructions(DEPLOY / "Dockerfile")
    base = [rest for kind, rest in found if kind == "FROM"]
    (version,) = [rest for kind, rest in found if kind == "ARG" and rest.startswith("PYTHON=")]
    assert re.fullmatch(r"PYTHON=3\.\d+\.\d+-slim-\w+", version)
    assert base == ["python:${PYTHON} AS build", "python:${PYTHON}"]
    last = found[found.index(("FROM", "python:${PYTHON}")) :]
    users = [rest for kind, rest in last if kind == "USER"]
    assert users == ["10001:10001"]
    (entry,) = [yaml.safe_load(rest) for kind, rest in last if kind == "ENTRYPOINT"]
    (command,) = [yaml.safe_load(rest) for kind, rest in last if kind == "CMD"]
    assert entry == ["seqel", "serve"]
    parsed = tyro.cli(Arguments, args=command)
    assert parsed.host == "0.0.0.0"
    assert [rest for kind, rest in last if kind == "EXPOSE"] == [str(parsed.port)]
    assert not [rest for kind, rest in found if re.search(r"(?i)secret|password|token", rest)]


def test_the_health_check_asks_a_route() -> None:
    (check,) = [rest for kind, rest in instructions(DEPLOY / "Dockerfile") if kind == "HEALTHCHECK"]
    url = re.search(r"http://127\.0\.0\.1:8000(/[\w/]+)", check)
    assert url is not None
    assert url[1] in routes()
    program = yaml.safe_load(check[check.index("[") :])
    assert program[:2] == ["python", "-c"]
    compile(program[2], "HEALTHCHECK", "exec")


def test_an_agent_is_added_where_the_service_looks_for_it() -> None:
    found = instructions(DEPLOY / "agent.Dockerfile")
    (place,) = [rest.split()[-1] for kind, rest in found if kind == "COPY"]
    (command,) = [yaml.safe_load(rest) for kind, rest in found if kind == "CMD"]
    assert tyro.cli(Arguments, args=command).run == Path(place) / "agent.onnx"
    assert place.endswith("/"), "a folder: AGENT may be one, and a file keeps its name"
    assert not ignored("agent.onnx")


def test_the_image_without_torch_has_what_the_package_needs_for_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {re.split(r"[><=]", one)[0].lower(): one for one in project["dependencies"]}
    for extra in ("serve", "monitor"):
        bounds |= {re.split(r"[><=]", one)[0].lower(): one for one in project["optional-dependencies"].get(extra, [])}
    for line in (DEPLOY / "requirements-onnx.txt").read_text().splitlines():
        name = re.split(r"[><=]", line)[0].lower()
        if name in bounds:
            assert line == bounds[name], "another bound than in pyproject.toml"
    assert "torch" not in requirements()
    assert {"numpy", "onnxruntime", "fastapi", "uvicorn", "redis", "orjson", "tyro"} <= set(requirements())


def test_an_exported_file_is_served_by_what_that_image_has(exported: Path) -> None:
    """The other libraries of the package cannot be imported, as if they were not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    missing = {re.split(r"[><=]", one)[0] for one in named} - set(requirements())
    assert "torch" in missing
    program = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(missing)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from seqel.cli.main import main
import seqel.serving.running as running
running.serve = lambda application, host, port: print("served", host, port)
sys.exit(main(["serve", {str(exported)!r}, "--redis", "redis://127.0.0.1:1/0", "--host", "0.0.0.0"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "served 0.0.0.0 8000" in done.stdout


# -- compose ---------------------------------------------------------------------------------------------------------------


def test_compose_starts_two_replicas_with_arguments_of_seqel_serve() -> None:
    service = compose()["services"]["seqel"]
    given = [substituted(one, SEQEL_AGENT="demo") for one in service["command"]]
    parsed = tyro.cli(Arguments, args=given)
    assert parsed.run == Path("/models/demo")
    assert parsed.redis == "redis://redis:6379/0"
    assert parsed.keys == Path("/run/secrets/keys")
    assert service["deploy"]["replicas"] == 2
    assert service["expose"] == [str(parsed.port)]
    assert int(service["stop_grace_period"].removesuffix("s")) > GRACE
    assert service["read_only"] is True
    build = service["build"]
    assert (COMPOSE / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    names = [rest.split("=")[0] for kind, rest in instructions(DEPLOY / "Dockerfile") if kind == "ARG"]
    assert set(build["args"]) <= set(names)


def test_compose_mounts_what_is_there() -> None:
    found = compose()
    for service in found["services"].values():
        for volume in service.get("volumes", []):
            source = substituted(volume, SEQEL_MODELS="/models").split(":")[0]
            if source.startswith("."):
                place = (COMPOSE / source).resolve()
                if "monitoring/rules" in source and not place.parent.exists():
                    continue
                assert place.exists(), source
            elif not source.startswith("/"):
                assert source in found["volumes"]
        assert set(service.get("networks", [])) <= set(found["networks"])
    assert found["networks"]["inside"]["internal"] is True
    assert found["services"]["redis"]["networks"] == ["inside"]
    assert "ports" not in found["services"]["redis"]
    assert "ports" not in found["services"]["seqel"]
    for image in (service["image"] for service in found["services"].values()):
        assert re.search(r":v?\d+\.\d+\.\d+|^seqel:", image), f"{image}: expected a version"


def test_redis_keeps_every_step() -> None:
    command = compose()["services"]["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--appendfsync") + 1] in ("everysec", "always")


def test_the_proxy_passes_every_route_to_the_replicas_but_metrics() -> None:
    text = re.sub(r"#.*", "", (COMPOSE / "Caddyfile").read_text())
    upstream = re.search(r"dynamic a \{\$\w+:(\w+)\} (\d+)", text)
    assert upstream is not None
    assert upstream[1] in compose()["services"]
    assert upstream[2] == compose()["services"]["seqel"]["expose"][0]
    assert "respond /metrics 404" in text
    assert "/metrics" in routes()
    sessions = re.search(r"reverse_proxy (\S+)\* \{[^}]*lb_policy uri_hash", text)
    assert sessions is not None
    assert any(route.startswith(sessions[1]) for route in routes())
    assert re.search(r"reverse_proxy \{[^}]*lb_policy round_robin", text)
    assert text.count("{") == text.count("}")


def test_prometheus_scrapes_the_job_that_the_rules_ask_for() -> None:
    config = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "seqel"
    (target,) = job["dns_sd_configs"]
    assert target["names"] == ["seqel"]
    assert str(target["port"]) == compose()["services"]["seqel"]["expose"][0]
    (rules,) = config["rule_files"]
    assert any(one.split(":")[1] == rules for one in compose()["services"]["prometheus"]["volumes"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_reads_the_configuration() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", str(COMPOSE / "prometheus.yml")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout


# -- systemd ---------------------------------------------------------------------------------------------------------------


def test_the_unit_starts_the_service_and_gives_it_time_to_stop() -> None:
    text = (DEPLOY / "systemd" / "seqel@.service").read_text()
    values = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    program, command, *given = shlex.split(values["ExecStart"])
    assert (Path(program).name, command) == ("seqel", "serve")
    replaced = [
        one.replace("%i", "8001")
        .replace("%d", "/run/credentials")
        .replace("${SEQEL_REDIS}", "redis://127.0.0.1:6379/0")
        for one in given
    ]
    parsed = tyro.cli(Arguments, args=replaced)
    assert (parsed.host, parsed.port) == ("127.0.0.1", 8001)
    assert parsed.keys == Path("/run/credentials/keys")
    assert values["LoadCredential"].startswith("keys:")
    assert int(values["TimeoutStopSec"]) > GRACE
    assert values["ExecReload"].endswith("-HUP $MAINPID")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / "seqel@.service").read_text()
    unit = tmp_path / "seqel@8001.service"
    unit.write_text(text.replace("/opt/seqel/bin/seqel", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    if "Failed to initialize manager" in done.stderr or "Failed to" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[0])
    assert done.stderr.strip() == ""
    assert done.returncode == 0


def test_the_report_of_systemd_reads_what_the_replicas_log() -> None:
    folder = DEPLOY / "systemd"
    unit = dict(re.findall(r"^(\w+)=(.+)$", (folder / "seqel@.service").read_text(), re.MULTILINE))
    more = dict(re.findall(r"^(\w+)=(.+)$", (folder / "seqel@.service.d" / "decisions.conf").read_text(), re.MULTILINE))
    report = dict(re.findall(r"^(\w+)=(.+)$", (folder / "seqel-report.service").read_text(), re.MULTILINE))
    assert more["ExecStart"] == unit["ExecStart"] + " --decisions %S/seqel/%i.jsonl"
    program, *command = shlex.split(report["ExecStart"].replace("%S", "/var/lib"))
    assert Path(program).name == "seqel" and command[0] == "monitor"
    parsed = tyro.cli(OfMonitor, args=command[1:])
    assert parsed.what == ("report", shlex.split(unit["ExecStart"])[2])
    assert fnmatch.fnmatch("/var/lib/seqel/8001.jsonl", parsed.decisions[0])
    assert parsed.html == Path("/var/lib/seqel/drift.html") and parsed.hours == 24 and parsed.fail_on_drift
    for name in ("User", "StateDirectory"):
        assert more[name] == report[name] == "seqel", "one user for all, or they could not read each other's files"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_reads_the_units_of_the_report(tmp_path: Path) -> None:
    for path in (DEPLOY / "systemd").rglob("*"):
        if path.is_file():
            copy = tmp_path / str(path.relative_to(DEPLOY / "systemd")).replace("@", "@8001")
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(path.read_text().replace("/opt/seqel/bin/seqel", sys.executable))
    units = [str(tmp_path / name) for name in ("seqel@8001.service", "seqel-report.service", "seqel-report.timer")]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False, timeout=60
    )
    if "Failed to" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[0])
    assert (done.stderr.strip(), done.returncode) == ("", 0)
