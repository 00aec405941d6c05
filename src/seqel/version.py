"""The version of Seqel, the only place from which the package, the build and saved files read it."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
