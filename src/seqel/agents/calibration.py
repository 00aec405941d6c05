"""The threshold of abstention in an agent's description, and for which agent it holds. No torch here."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, cast

from seqel.agents.info import AgentInfo
from seqel.errors import ConfigError
from seqel.safety.abstention import Abstention

__all__ = ["ABSTENTION", "abstention_in", "fingerprint", "require_calibrated", "without_calibration"]

ABSTENTION = "abstention"  # key of an agent's description


def abstention_in(info: Mapping[str, Any]) -> Abstention | None:
    """Return the threshold in an agent's description; None if there is none. Raises ConfigError if it is damaged."""
    return None if info.get(ABSTENTION) is None else Abstention.from_json(info[ABSTENTION])


def fingerprint(weights: str, info: Mapping[str, Any]) -> str:
    """Return what a calibration holds for: the checksum of the weights, and that of the rules."""
    return f"{weights}-{zlib.crc32(str(info.get('shield', '')).encode()):08x}"


def require_calibrated(abstention: Abstention | None, weights: str, info: Mapping[str, Any]) -> None:
    """Raise ConfigError if a threshold was calibrated for other weights or rules."""
    if abstention is not None and abstention.agent != fingerprint(weights, info):
        raise ConfigError("abstention: it was calibrated for other weights or rules: run `seqel calibrate` again")


def without_calibration(info: AgentInfo) -> AgentInfo:
    """Return a description for an agent with other weights: its threshold has to be calibrated again."""
    return cast(AgentInfo, {name: value for name, value in info.items() if name != ABSTENTION})
