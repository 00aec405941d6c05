"""Write docs/cli.md from the output of `seqel COMMAND --help`, so that the page never differs from the program.

`make docs` runs it before the pages are built. It needs nothing but the installed package.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from seqel.cli.main import COMMANDS

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# Command line

<!-- Written by docs/generate_cli.py from the program's own help: change the program, then run `make docs`. -->

`ENV` is a registered id (`CartPole-v1`), `module:Id-v0`, or a class as `module:ClassName`. Every command takes
`--json`: one JSON object on standard output, progress on standard error. A failure prints one message and returns a
nonzero [exit code](exit-codes.md), without a traceback.
"""


def help_of(*command: str) -> str:
    """The output of `seqel COMMAND --help`, without colours and trailing blanks."""
    done = subprocess.run(
        [sys.executable, "-c", "from seqel.cli.main import main; main()", *command, "--help"],
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"docs/generate_cli.py: `seqel {' '.join(command)} --help` failed:\n{done.stderr}")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).replace("usage: -c ", "usage: seqel ")
    return "\n".join(line.rstrip() for line in plain.strip().splitlines())


def main() -> None:
    """Write the page if it has changed."""
    parts = [HEAD, f"```text\n{help_of()}\n```\n"]
    parts += [f"## seqel {command}\n\n```text\n{help_of(command)}\n```\n" for command in COMMANDS]
    page = "\n".join(parts)
    if not PAGE.exists() or PAGE.read_text() != page:
        PAGE.write_text(page)
        print(f"docs    {PAGE.name} updated")


if __name__ == "__main__":
    main()
