"""Decisions to monitor: episodes with a slow and a fast number, a number that may be missing, and a category."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from seqel.monitoring.calibration import DECISIONS, distribution_thresholds
from seqel.monitoring.collect import Decisions
from seqel.monitoring.features import FeatureMap
from seqel.spaces import ActionSpec, ObservationSpec

SPACE = gym.spaces.Dict({
    "colour": gym.spaces.Discrete(4),
    "seen": gym.spaces.Box(-np.inf, np.inf, (3,), np.float32),
})  # fmt: skip
NAMES = ["colour", "seen[0]", "seen[1]", "seen[2]", "action", "q_max"]
SLOW, FAST, PERHAPS = 1, 2, 3  # features: autocorrelated; independent; often missing


def feature_map() -> FeatureMap:
    return FeatureMap(ObservationSpec.from_space(SPACE), ActionSpec((3,), (0,)))


def decisions(episodes: int = 150, seed: int = 0) -> Decisions:
    """Episodes of 20 to 60 steps. A first-order autoregression with coefficient 0.95, whose variance is 1, is slow."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(20, 61, size=episodes)
    count = int(lengths.sum())
    slow = np.empty(count)
    place = 0
    for length in lengths.tolist():
        value = rng.normal()
        for _ in range(length):
            slow[place] = value
            value = 0.95 * value + np.sqrt(1 - 0.95**2) * rng.normal()
            place += 1
    seen = np.stack([slow, rng.normal(size=count), rng.exponential(size=count)], axis=1)
    seen[rng.random(count) < 0.05, 2] = np.nan
    colour = rng.choice(4, size=(count, 1), p=[0.55, 0.3, 0.1, 0.05])
    action = rng.integers(3, size=count)
    q_max = 1.0 + 0.3 * slow + 0.1 * rng.normal(size=count)
    rows = feature_map().rows({"colour": colour, "seen": seen}, action, q_max)
    return Decisions(feature_map(), rows, rng.normal(size=count), lengths)


def batches(rows: NDArray[np.float64], size: int = 16) -> list[NDArray[np.float64]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


@contextmanager
def quick_calibration() -> Iterator[None]:
    """Let monitors calibrate their thresholds on a quarter of the calm decisions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqel.monitoring.detectors.DECISIONS", DECISIONS // 8)
        patch.setattr(
            "seqel.monitoring.drift.distribution_thresholds",
            lambda reference, rate, windows: distribution_thresholds(
                reference, rate, windows, decisions=DECISIONS // 4
            ),
        )
        yield


@contextmanager
def served(answer: Callable[[], bytes], status: int = 200) -> Iterator[str]:
    """Answer requests on the loopback interface. Yields the address, without a path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
            """Be silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
