"""An observation that an agent accepts, for examples that work as they are printed."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqel.serving.served import Served

__all__ = ["example_observation"]


def example_observation(served: Served) -> Any:
    """Return an observation as JSON holds it: zeros, first categories and short texts."""
    if served.encoding is not None:
        encoding = served.encoding
        examples: dict[str, Any] = {"number": 0.0, "text": "hello"}
        row: dict[str, Any] = {}
        for column, kind in encoding.schema.observation.items():
            if kind == "category":
                row[column] = next(iter(encoding.vocabularies[column]), "")
            elif kind == "vector":
                row[column] = [0.0] * encoding.widths[column]
            elif kind == "entities":
                row[column] = [[0.0] * encoding.widths[column]]
            else:
                row[column] = examples[kind]
        return row
    found: Any = {}
    for leaf in served.backend.observation_spec.leaves:
        if leaf.kind == "text":
            value: Any = "hello"
        elif leaf.kind == "entities":
            value = [[0.0] * leaf.shape[-1]]
        else:
            start = np.asarray(leaf.offset or 0.0)
            value = (np.zeros(leaf.given or leaf.shape) + _fits(start, leaf.given or leaf.shape)).tolist()
            value = _whole(value) if np.dtype(leaf.dtype).kind in "iu" else value
        if not leaf.keys:
            return value
        part = found
        for key in leaf.keys[:-1]:
            part = part.setdefault(key, {})
        part[leaf.keys[-1]] = value
    return found


def _fits(start: np.ndarray[Any, Any], shape: tuple[int, ...]) -> Any:
    return start.reshape(shape) if start.size == int(np.prod(shape)) else float(start.ravel()[0])


def _whole(value: Any) -> Any:
    return [_whole(one) for one in value] if isinstance(value, list) else int(value)
