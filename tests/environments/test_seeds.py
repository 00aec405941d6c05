"""Ranges of seeds."""

from __future__ import annotations

import itertools

import pytest

from seqel.environments.seeds import (
    CONFIRMATION,
    REPORTS,
    TRAINING,
    VALIDATION,
    FreshSeeds,
    episode_seed,
    require_for_reports,
)
from seqel.errors import ConfigError


def test_the_ranges_are_disjoint_and_fit_a_signed_32_bit_number() -> None:
    ranges = [REPORTS, VALIDATION, CONFIRMATION, TRAINING]
    assert all(0 <= part.start < part.stop <= 1 << 31 for part in ranges)
    assert all(one.stop <= other.start for one, other in itertools.pairwise(ranges))


@pytest.mark.parametrize("run", [0, 1, 1 << 31, (1 << 63) + 5])
def test_training_seeds_stay_in_their_range_and_differ(run: int) -> None:
    seeds = [episode_seed(run, environment, number) for environment in range(10) for number in range(50)]
    assert all(seed in TRAINING for seed in seeds) and len(set(seeds)) == len(seeds)
    assert seeds[0] == episode_seed(run, 0, 0) != episode_seed(run + 1, 0, 0)


def test_no_episode_of_a_report_leaves_the_range() -> None:
    require_for_reports(REPORTS.stop - 10, 10)
    with pytest.raises(ConfigError, match="are used in training"):
        require_for_reports(REPORTS.stop - 10, 11)
    with pytest.raises(ConfigError, match="expected 0 to"):
        require_for_reports(-1, 1)
    for episodes, limit in ((0, 5), (-1, 1), (3, 0)):
        with pytest.raises(ConfigError, match=f"got episodes={episodes} and limit={limit}"):
            require_for_reports(0, episodes, limit)


def test_seeds_are_handed_out_once_until_the_range_ends() -> None:
    seeds = FreshSeeds(range(100, 110))
    assert [seeds.take(count) for count in (4, 3, 3)] == [100, 104, 107] and seeds.used == 10
    assert seeds.take(4) == 100 and seeds.take(4) == 104
    assert seeds.take(3) == 100, "two are left, which are too few"
    other = FreshSeeds(range(100, 110))
    other.used = seeds.used
    assert other.take(5) == seeds.take(5) == 103
