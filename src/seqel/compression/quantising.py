"""An exported agent with 8-bit weights: dynamic quantisation by onnxruntime, one scale per output channel.

Weights are rounded once (Jacob et al. 2018, arXiv:1712.05877), activations at every step, by their range at that step, so no
calibration data are needed. Matrices with a small share of the parameters stay in 32 bits: to quantise them would save
nothing, and the first and last layers, which are among them, need the precision most.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from seqel.deployment.runtime import METADATA
from seqel.errors import CheckpointError
from seqel.extras import require
from seqel.integrity import sealed_model, unsealed_model
from seqel.storage import atomic_write

__all__ = ["quantise"]

SMALL = 0.01  # share of the parameters below which a matrix stays as it is
OPERATORS = ("MatMul", "Gemm", "Gather")


def quantise(source: str | Path, target: str | Path) -> Path:
    """Write the exported agent `source` with 8-bit weights to `target` and return its path. Needs the extra `serve`.

    The description in the file is the same, and so is the memory that a caller keeps; the seal is computed again.

    Raises:
        CheckpointError: `source` is not an exported agent, or is damaged.
        MissingExtraError: onnx or onnxruntime is not installed.
        StorageError: the file could not be written; an existing file is untouched.
    """
    onnx = require("onnx", "serve", "quantisation")
    quantization = require("onnxruntime.quantization", "serve", "quantisation")
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{source} cannot be read ({error.strerror})") from error
    if not unsealed_model(data):
        raise CheckpointError(
            f"{source}: expected an exported agent with the checksum of its content, got another file"
        )
    model = onnx.load_from_string(data)
    described = {entry.key: entry.value for entry in model.metadata_props}
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        del model.metadata_props[:]
        onnx.save_model(model, str(before))
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it advises preprocessing, which changes nothing here
        try:
            quantization.quantize_dynamic(
                before, after, op_types_to_quantize=list(OPERATORS), per_channel=True,
                weight_type=quantization.QuantType.QInt8, nodes_to_exclude=_small(model, onnx),
            )  # fmt: skip
        finally:
            logging.getLogger().setLevel(level)
        small = onnx.load_model(str(after))
    del small.metadata_props[:]
    onnx.helper.set_model_props(small, {METADATA: described[METADATA]})
    path = Path(target)
    atomic_write(path, sealed_model(small.SerializeToString()))
    return path


def _small(model: Any, onnx: Any) -> list[str]:
    """Return the nodes whose weights are a small share of all."""
    sizes = {one.name: int(np.prod(one.dims)) for one in model.graph.initializer}
    total = sum(sizes.values())
    found = []
    for node in model.graph.node:
        held = max((sizes.get(name, 0) for name in node.input), default=0)
        if node.op_type in OPERATORS and held < SMALL * total:
            found.append(node.name)
    return found
