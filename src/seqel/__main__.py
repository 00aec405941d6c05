"""`python -m seqel`: the command line, for when `seqel` is not on the path."""

from __future__ import annotations

import os
import sys

# Python puts the current directory first in the path, so any file there would shadow a library of the same name. It is only
# searched for what the user names on the command line. (It stays if Seqel itself is run from its source folder.)
if sys.path and sys.path[0] in ("", os.getcwd()) and not os.path.isdir("seqel"):  # noqa: PTH109, PTH112
    del sys.path[0]

from seqel.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
