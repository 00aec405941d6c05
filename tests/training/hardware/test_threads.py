"""The number of threads follows what a process may really use; how they wait is set only by the owner of the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqel.training.hardware.threads import (
    available_cores,
    choose_threads,
    cores_by_affinity,
    cpu_quota,
    wait_passively,
)


def container(root: Path, own: str, **files: str) -> tuple[Path, Path]:
    """A tree like /sys/fs/cgroup, and a file like /proc/self/cgroup."""
    for name, text in files.items():
        path = root / "cgroup" / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (root / "cgroup").mkdir(exist_ok=True)
    (root / "own").write_text(own + "\n")
    return root / "cgroup", root / "own"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/", {"cpu_DOT_max": "150000 100000"}, 1.5),
        ("0::/", {"cpu_DOT_max": "max 100000"}, None),
        ("0::/a/b", {"cpu_DOT_max": "max 100000", "a__cpu_DOT_max": "50000 100000", "a__b__cpu_DOT_max": "max 100000"}, 0.5),
        ("0::/outside/of/the/container", {"cpu_DOT_max": "200000 100000"}, 2.0),
        ("1:cpu,cpuacct:/x", {"cpu,cpuacct__x__cpu_DOT_cfs_quota_us": "300000",
                              "cpu,cpuacct__x__cpu_DOT_cfs_period_us": "100000"}, 3.0),
        ("4:cpu:/gone", {"cpu__cpu_DOT_cfs_quota_us": "100000", "cpu__cpu_DOT_cfs_period_us": "50000"}, 2.0),
        ("4:cpu:/", {"cpu__cpu_DOT_cfs_quota_us": "-1", "cpu__cpu_DOT_cfs_period_us": "100000"}, None),
        ("4:memory:/", {}, None),
    ],
)  # fmt: skip
def test_the_containers_quota_is_found_in_both_cgroup_versions(
    own: str, files: dict[str, str], quota: float | None, tmp_path: Path
) -> None:
    assert cpu_quota(*container(tmp_path, own, **files)) == quota


def test_a_quota_rounds_up_and_never_gives_more_than_the_affinity(tmp_path: Path) -> None:
    assert available_cores(*container(tmp_path, "0::/", cpu_DOT_max="50000 100000")) == 1
    assert available_cores(*container(tmp_path, "0::/", cpu_DOT_max="99900000 100000")) == cores_by_affinity()


def test_a_small_network_gets_one_thread_everywhere() -> None:
    assert choose_threads(64, cores=64) == 1
    assert choose_threads(512, cores=6) == 6


def test_a_wait_policy_set_by_the_user_wins() -> None:
    nothing: dict[str, str] = {}
    assert wait_passively(nothing) and nothing == {"OMP_WAIT_POLICY": "PASSIVE"}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        given = {name: "7"}
        assert not wait_passively(given) and given == {name: "7"}


def ask(code: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]


def test_the_command_line_makes_threads_wait_passively() -> None:
    code = "import os\nfrom seqel.cli.main import main\nmain(['tasks'])\nprint(os.environ.get('OMP_WAIT_POLICY'))"
    assert ask(code) == "PASSIVE"
    assert ask(code, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"


def test_the_library_leaves_the_process_alone() -> None:
    code = (
        "import os; before = dict(os.environ)\n"
        "import seqel.training.online.trainer, seqel.training.offline.trainer, seqel.training.hardware.allocator as a\n"
        "print(dict(os.environ) == before, a._tuned)"
    )
    assert ask(code) == "True False"
