"""Checks of an agent's description: types and sizes, before memory is allocated or a value is used.

Checksums detect damage, but an intact agent from another machine may still claim anything.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqel.datasets.encoding import Encoding
from seqel.errors import CheckpointError
from seqel.networks.qnetwork import QNetwork
from seqel.spaces.kinds.registry import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from seqel.networks.config import NetworkConfig
    from seqel.spaces import ActionSpec, ObservationSpec

__all__ = ["check_info", "check_leaves", "require_same_weights"]

HEADER_LIMIT = 100_000_000  # bytes of a safetensors header, the limit of the library itself
LEAF_LIMIT = 1 << 31  # elements of one observation


def check_info(info: Any, path: Path) -> None:
    """Check the types of the entries of an agent's `info` that Seqel reads; other keys belong to the user.

    Raises CheckpointError, which names the entry.
    """
    if not isinstance(info, dict):
        raise CheckpointError(f"{path}: expected info to be an object, got {type(info).__name__}")
    held, validation = info.get("held_out"), info.get("validation")
    wrong = {
        "env": not isinstance(info.get("env", ""), str | None),
        "env_args": not isinstance(info.get("env_args", {}), dict),
        "seed": not _whole(info.get("seed", 0)),
        "discount": not (_number(info.get("discount", 0.0)) and 0.0 <= info.get("discount", 0.0) <= 1.0),
        "data": not (isinstance(info.get("data", []), list) and all(isinstance(n, str) for n in info.get("data", []))),
        "encoding": not isinstance(info.get("encoding", {}), dict),
        "language": not isinstance(info.get("language", {}), dict),
        "shield": not isinstance(info.get("shield", ""), str),
        "abstention": not isinstance(info.get("abstention", {}), dict),
        "held_out": held is not None
        and not (
            isinstance(held, dict)
            and _number(held.get("share"))
            and 0.0 < held["share"] < 1.0
            and _whole(held.get("seed"))
        ),
        "validation": validation is not None
        and not (
            isinstance(validation, dict)
            and isinstance(validation.get("mean", 0.0), int | float)
            and all(_whole(validation.get(name, 0)) for name in ("steps", "updates"))
        ),
    }
    if "encoding" in info and not wrong["encoding"]:
        try:
            Encoding.from_json(info["encoding"])
        except (LookupError, TypeError, AttributeError, ValueError):
            wrong["encoding"] = True
    for name, bad in wrong.items():
        if bad:
            raise CheckpointError(f"{path}: info.{name} has an unexpected type or value: got {info[name]!r:.120}")


def check_leaves(spec: ObservationSpec) -> None:
    """Check kinds, dtypes and shapes of observations. Raises ValueError or TypeError."""
    leaf: Any  # as a file describes it
    for leaf in spec.leaves:
        if not isinstance(leaf.path, str) or leaf.kind not in KINDS:
            raise ValueError(f"an observation has an unknown kind: {leaf.kind!r:.80}")
        if not isinstance(leaf.dtype, str) or np.dtype(leaf.dtype).kind not in "biuf":
            raise ValueError(f"an observation has the dtype {leaf.dtype!r:.80}")
        sizes = [*leaf.shape, *leaf.given, *leaf.sizes]
        if not all(_whole(size) and size >= 0 for size in sizes) or math.prod(leaf.shape) > LEAF_LIMIT:
            raise ValueError(f"an observation has the shape {leaf.shape!r:.80}")


def require_same_weights(config: NetworkConfig, spec: ObservationSpec, action: ActionSpec, weights: bytes) -> None:
    """Check that the described network has exactly the stored tensors, before memory is allocated for it.

    weights: the content of a safetensors file. Raises ValueError.
    """
    length = int.from_bytes(weights[:8], "little")
    if len(weights) < 8 or length > min(HEADER_LIMIT, len(weights) - 8):
        raise ValueError(f"the weights' header is damaged: {length:,} bytes in a file of {len(weights):,}")
    header = json.loads(weights[8 : 8 + length])
    stored = {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    if config.layers > len(stored):
        raise ValueError(f"it has {config.layers:,} layers, but the file holds {len(stored):,} tensors")
    with torch.device("meta"):  # shapes without memory
        wanted = {name: tuple(tensor.shape) for name, tensor in QNetwork(config, spec, action).state_dict().items()}
    for name in wanted.keys() | stored.keys():
        if wanted.get(name) != stored.get(name):
            raise ValueError(
                f"weights {name!r:.80}: expected the shape {wanted.get(name)}, got {stored.get(name)!s:.80} in the file"
            )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
