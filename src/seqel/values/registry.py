"""Kinds of value by name. To add one: a file in this folder, a line here, its name in `NetworkConfig.value`."""

from __future__ import annotations

from collections.abc import Callable

from seqel.values.base import ValueKind
from seqel.values.categorical import Categorical
from seqel.values.hl_gauss import HLGauss
from seqel.values.quantiles import Quantiles
from seqel.values.scalar import Scalar

__all__ = ["VALUES", "make_values"]

# each takes the number of outputs per action, and how many return scales the support extends to either side of 0
VALUES: dict[str, Callable[[int, float], ValueKind]] = {
    "scalar": lambda bins, reach: Scalar(),
    "hl-gauss": lambda bins, reach: HLGauss(bins, -reach, reach),
    "c51": lambda bins, reach: Categorical(bins, -reach, reach),
    "quantile": lambda bins, reach: Quantiles(bins),
}


def make_values(name: str, bins: int, reach: float) -> ValueKind:
    """Make the kind of value with this name.  bins: outputs per action; reach: return scales to either side of 0."""
    return VALUES[name](bins, reach)
