"""A stopped estimate continues from its saved fits and gives the same numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqel.ope.estimation import OffPolicyEvaluation, estimate_policies
from seqel.ope.fqe import FQETrainer
from seqel.ope.plot import draw_estimate
from seqel.ope.policies import ConstantAction
from test_exactness import GAMMA
from test_exactness_offline import poor_data

POLICIES = [ConstantAction(0, 2, "always 0"), ConstantAction(1, 2, "always 1")]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch, small_fits: None) -> list[int]:
    """The seed of each fit that is started."""
    begun: list[int] = []
    make = FQETrainer.__init__

    def spy(self: Any, config: Any, *rest: Any) -> None:
        begun.append(config.seed)
        make(self, config, *rest)

    monkeypatch.setattr(FQETrainer, "__init__", spy)
    return begun


def estimated(saved: Path | None, **changes: Any) -> OffPolicyEvaluation:
    return estimate_policies(POLICIES, poor_data(1, 60), discount=GAMMA, saved=saved, **{"updates": 20, **changes})


def test_a_killed_estimate_continues_with_its_finished_fits(tmp_path: Path, fits: list[int]) -> None:
    whole = estimated(None)
    assert fits == [0, 1]

    def kill(record: Any) -> None:
        if record.progress > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimated(tmp_path, progress=kill)
    assert fits[2:] == [0, 1]
    assert repr(asdict(estimated(tmp_path))) == repr(asdict(whole))
    assert fits[4:] == [1], "the first fit was done"
    assert repr(asdict(estimated(tmp_path))) == repr(asdict(whole))
    assert len(fits) == 5, "both were"


def test_a_fit_of_another_estimate_or_a_damaged_one_is_fitted_again(tmp_path: Path, fits: list[int]) -> None:
    whole = estimated(tmp_path)
    estimated(tmp_path, updates=25)
    assert len(fits) == 4
    estimated(tmp_path, updates=25, seed=1)
    assert len(fits) == 6
    estimated(tmp_path)
    assert len(fits) == 8
    file = max((tmp_path / "fit-0").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    assert repr(asdict(estimated(tmp_path))) == repr(asdict(whole))
    assert len(fits) == 9


def test_an_unsupported_policy_has_a_short_reason_and_a_plot(tmp_path: Path, fits: list[int]) -> None:
    few = estimate_policies(POLICIES, poor_data(1, 12), discount=GAMMA, updates=10)
    assert fits
    for row in few.policies:
        assert not row.supported
        assert row.reason in ("inaccurate fitted values", "too few sessions")
        assert len(row.reason) <= 30
    draw_estimate(few, tmp_path / "estimate.png", "title")
    assert (tmp_path / "estimate.png").read_bytes().startswith(b"\x89PNG")
    assert np.isfinite(few.recorded.value.value)
