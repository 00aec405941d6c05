"""`python -m seqel`: the command line, where `seqel` is not on the path."""

from __future__ import annotations

import sys

from seqel.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
