"""Watches messages about companies with a trained agent: reads them as they arrive, raises alerts, keeps its state.

messages     a line of JSON as a message; duplicates; clocks that go backwards
recording    streams in which a rule gave the alerts, to learn from
calibration  the threshold of a number of false alarms; the sentiment of a text
rows         which companies share a row of the agent's memory, and what the agent observes of them
watcher      the agent's numbers, alerts and their causes
trends       messages and sentiments per hour, with intervals
session      a file or standard input, from where the last session stopped
page         the day as an HTML page
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.watching.calibration import Calibration, calibrate, parse_budget
    from seqel.watching.messages import Message
    from seqel.watching.recording import record_streams
    from seqel.watching.watcher import Alert, Watcher

__all__ = ["Alert", "Calibration", "Message", "Watcher", "calibrate", "parse_budget", "record_streams"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Alert": "seqel.watching.watcher",
        "Calibration": "seqel.watching.calibration",
        "Message": "seqel.watching.messages",
        "Watcher": "seqel.watching.watcher",
        "calibrate": "seqel.watching.calibration",
        "parse_budget": "seqel.watching.calibration",
        "record_streams": "seqel.watching.recording",
    },
)
