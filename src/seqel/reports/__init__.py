"""The report of runs: recorded episodes, the figures that are computed from them, and the page that shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.reports.calibration import Calibration, calibrate, returns_to_go

__all__ = ["Calibration", "calibrate", "returns_to_go"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Calibration": "seqel.reports.calibration",
        "calibrate": "seqel.reports.calibration",
        "returns_to_go": "seqel.reports.calibration",
    },
)
