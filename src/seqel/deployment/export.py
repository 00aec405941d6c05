"""Export of an agent to one ONNX file: the acting step as a pure function; metadata describe how to call it.

The memory is an input and what is new of it an output; `deployment/layouts.py` keeps it. Of a Transformer's ring of keys
and values, only the new ones are returned, so the memory is not copied through the model. Any program that can run ONNX
models can do the same.

    inputs   one per leaf of the observation (R, *shape), previous_action (R, M) int64, previous_reward (R,),
             first (R,) bool, the memory, mask (R, A) bool, or (R, M, A) if M > 1: allowed actions
    outputs  q (R, M, A), and what is new of the memory

The memory of a Transformer is keys and values (layers, R, H, context, d) and position (R,) int64, the number of steps so
far; its outputs are new_keys and new_values (R, layers, H, d), to be stored in slot position % context. That of a GRU is
hidden (R, layers, D), which new_hidden replaces. It begins as zeros.

The last metadata entry is the CRC-32 of the file up to it, which the runtime verifies.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqel.agents.agent import Agent
from seqel.agents.artifact import weights_checksum
from seqel.deployment.layouts import read_layout
from seqel.deployment.runtime import FORMAT, METADATA, PREFIX
from seqel.errors import ConfigError
from seqel.extras import require
from seqel.integrity import sealed_model
from seqel.networks.qnetwork import QNetwork
from seqel.networks.trunks.registry import trunks_with
from seqel.pretrained.adapted import Adapted
from seqel.storage import atomic_write
from seqel.version import __version__

__all__ = ["export"]

ROWS = 2  # rows of the traced example; the model takes any number of rows


class Step(nn.Module):
    """The acting step of a Q-network, without in-place operations."""

    def __init__(self, network: QNetwork) -> None:
        super().__init__()
        if not network.trunk.exportable:
            raise ConfigError(
                f"export: expected trunk = {trunks_with('exportable')}, got an agent with {network.config.trunk!r}"
            )
        if any(isinstance(part, Adapted) for part in network.modules()):
            raise ConfigError("export: expected text.tuning = 'frozen', got an agent that trains a pretrained model")
        self.network = network
        self.new = read_layout(network.trunk.memory).names  # of what it returns of the memory

    def forward(
        self,
        observation: dict[str, Tensor],
        previous_action: Tensor,
        previous_reward: Tensor,
        first: Tensor,
        state: dict[str, Tensor],
        mask: Tensor,
    ) -> tuple[Tensor, ...]:
        out, new = self.network.step_pure(observation, previous_action, previous_reward, first, state)
        allowed = mask if mask.ndim == 3 else mask[:, None]  # (R, M, A)
        return self.network.scores(out, allowed), *(new[name] for name in self.new)


def export(agent: Agent, path: str | Path) -> Path:
    """Write the agent to `path` (.onnx) for any number of rows, and return the path. Needs the extra `serve`.

    Raises:
        ConfigError: the trunk is a pretrained model, or a pretrained model that encodes texts is trained (`text.tuning`).
        MissingExtraError: onnx or onnxscript is not installed.
        StorageError: the file could not be written; an existing file is untouched.
    """
    onnx = require("onnx", "serve", "export")
    require("onnxscript", "serve", "export")  # torch's exporter uses it
    if agent.abstention is not None and agent.abstention.measure == "overlap":
        raise ConfigError(
            "export: expected an agent calibrated with --measure gap: an exported agent gives no distributions"
        )
    network = agent.network
    device, training = agent.device, network.training
    step = Step(network).to("cpu").eval()
    try:
        with _quiet():
            program = torch.onnx.export(
                step, _example(agent), dynamo=True, dynamic_shapes=_shapes(agent), verbose=False,
                input_names=[PREFIX + leaf.path for leaf in agent.observation_spec.leaves] + _inputs(agent),
                output_names=["q", *(f"new_{name}" for name in step.new)],
            )  # fmt: skip
    finally:
        network.to(device).train(training)
    assert program is not None
    model = program.model_proto
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # the exporter's stack traces: paths of this machine, and a third of a small file
    del model.graph.value_info[:]
    onnx.helper.set_model_props(model, {METADATA: json.dumps(describe(agent))})
    target = Path(path)
    atomic_write(target, sealed_model(model.SerializeToString()))
    return target


def describe(agent: Agent) -> dict[str, Any]:
    """Return what a caller must know besides the model."""
    reader = agent.observation_spec.text_reader
    return {
        "format": FORMAT,
        "observation": agent.observation_spec.to_json(),
        **({} if reader is None else {"text": reader.to_json()}),
        "action": dataclasses.asdict(agent.action_spec),
        **agent.network.trunk.memory,
        "versions": {"seqel": __version__, "torch": torch.__version__},
        "weights": weights_checksum(agent.network),
        "info": agent.info,
    }


def _inputs(agent: Agent) -> list[str]:
    state = agent.network.trunk.initial_state(1)
    return ["previous_action", "previous_reward", "first", *state, "mask"]


def _example(agent: Agent) -> tuple[Any, ...]:
    storage, state = agent.observation_spec.storage, agent.network.trunk.initial_state(ROWS, torch.device("cpu"))
    leaves = {path: torch.from_numpy(np.zeros((ROWS, *shape), dtype)) for path, (shape, dtype) in storage.items()}
    action = torch.zeros(ROWS, agent.action_spec.dims, dtype=torch.int64)
    flags = torch.zeros(ROWS), torch.zeros(ROWS, dtype=torch.bool)
    mask = torch.ones(ROWS, *agent.action_spec.unmasked.shape, dtype=torch.bool)
    return (leaves, action, *flags, state, mask)


def _shapes(agent: Agent) -> tuple[Any, ...]:
    rows = torch.export.Dim("rows", min=1)
    leaves = {path: {0: rows} for path in agent.observation_spec.storage}
    one, axes = {0: rows}, agent.network.trunk.row_axes
    state = {name: {axes[name]: rows} for name in agent.network.trunk.initial_state(1)}
    return (leaves, one, one, one, state, one)


@contextlib.contextmanager
def _quiet() -> Any:
    """Silence the exporter's messages, which are about torch's internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
