"""The description of an agent besides its network: where it was trained, on what, and how well it did. No torch here."""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = ["AgentInfo", "HeldOutShare", "ValidationInfo"]


class HeldOutShare(TypedDict):
    """Identifies the recorded episodes that were held out: `Dataset.split(share, seed)` finds them again."""

    share: float  # of the episodes, between 0 and 1
    seed: int


class ValidationInfo(TypedDict, total=False):
    """The validation that the weights were chosen by. It also has what `Evaluation.evidence` returns; on recorded data,
    what `HeldOut.evidence` returns."""

    steps: int  # environment steps when it took place; 0 for an agent trained on recorded data alone
    updates: int
    mean: float  # mean return of greedy episodes, or the score on held-out episodes


class AgentInfo(TypedDict, total=False):
    """Every entry is optional, and a user may add others: all of JSON's kinds. `agents/description.py` checks a file's.

    An agent of unknown origin has none of them.
    """

    env: str | None  # the environment's name; "" for an agent trained on recorded data alone
    env_args: dict[str, Any]
    seed: int  # of the run
    discount: float  # per step, from 0 to 1
    masked: bool  # trained with action masks: acting without one brings a warning
    data: list[str]  # the files that it was trained on
    held_out: HeldOutShare | None
    encoding: dict[str, Any]  # of a table: see `seqel.datasets.encoding.Encoding`
    language: dict[str, Any]  # of an agent that writes texts: see `seqel.language.generation`
    validation: ValidationInfo | None
    shield: str  # rules that veto actions, as TOML: see `seqel.safety.shield`
    abstention: dict[str, Any]  # the threshold of abstention: see `seqel.safety.abstention.Abstention`
    success: float | None  # share of that validation's episodes, where the environment reports it
