"""symlog and its inverse."""

from __future__ import annotations
