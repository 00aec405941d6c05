"""The process environment of all tests."""

from __future__ import annotations

import os
import signal
import tempfile

# A shell's background job ignores Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What `seqel train` notes of runs begun on this machine is the user's own; tests, and the programs they start, have theirs.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="seqel-state-")
