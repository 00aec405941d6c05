"""The table of a compression: sizes, times, returns and decisions of the full agent and of its smaller versions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seqel.compression.measuring import RelativeDrop

if TYPE_CHECKING:
    from seqel.agents.agent import Agent

__all__ = ["Compression", "Variant"]


@dataclass(slots=True)
class Variant:
    """One version of an agent. Figures that do not exist are None."""

    name: str
    parameters: int
    bytes: int  # of the weights in 32 bits; for int8, of the ONNX file
    torch_ms: float | None = None  # median time of a decision of one row on one core, uncompiled
    onnx_ms: float | None = None
    mean: float | None = None  # mean return
    interval: tuple[float, float] | None = None  # 95 %
    success: float | None = None
    agreement: float | None = (
        None  # share of steps at which it decides as the full agent does, after the same histories
    )
    recorded: float | None = None  # share of steps at which it decides as in the recorded data
    held_out: float | None = None  # score on held-out episodes; larger is better
    drop: RelativeDrop | None = None  # in return or agreement, relative to the full agent
    kept: bool = False  # whether the drop is small enough


@dataclass(slots=True)
class Compression:
    """The result of `compress`."""

    variants: list[Variant]
    shape: dict[str, int]  # layers, heads, head_dim, hidden, width of the pruned network
    parameters: dict[str, int]  # of the full agent, by their place
    target_size: float
    max_drop: float
    strict: bool
    metric: str  # what a drop is measured in: "return" or "agreement"
    episodes: int
    seed: int
    temperature: float | None  # of the decision policy, in return scales
    loss: float | None  # of distillation, at its end
    agent: Agent | None = None  # the distilled agent, if it was kept
    saved: dict[str, str] = field(default_factory=dict)  # what is in which file
    notes: list[str] = field(default_factory=list)

    @property
    def any_kept(self) -> bool:
        """Whether the drop of a smaller version is small enough."""
        return any(one.kept for one in self.variants[1:])

    @property
    def rule(self) -> str:
        """The rule by which a version is saved, as a sentence."""
        what = "mean return" if self.metric == "return" else "agreement with the full agent on recorded histories"
        which = "the upper end of its 95 % interval" if self.strict else "the estimate"
        return f"A version is saved if its drop in {what} is at most {self.max_drop:.1%}: {which} decides."

    def as_json(self) -> dict[str, Any]:
        """Return everything but the agent."""
        found = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "agent"}
        found["variants"] = [dataclasses.asdict(one) for one in self.variants]
        return found | {"rule": self.rule}
