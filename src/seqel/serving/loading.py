"""Loads agents into a service: a run's folder, an agent's folder, or an exported file."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seqel.errors import CheckpointError, ConfigError, MissingExtraError
from seqel.monitoring.drift import DriftMonitor
from seqel.monitoring.reference import FILE, Reference
from seqel.safety.audit import AuditLog
from seqel.safety.review import ReviewQueueFile
from seqel.serving.backends.base import Backend, Inputs
from seqel.serving.batching import Batcher
from seqel.serving.observing import DecisionLog, Observing
from seqel.serving.records import StepFormat
from seqel.serving.reviewing import Reviewing
from seqel.serving.served import Served
from seqel.serving.service import Service
from seqel.spaces import FlatObservation
from seqel.storage import cache_folder
from seqel.version import __version__

if TYPE_CHECKING:
    from seqel.agents.agent import Agent

__all__ = ["BackendName", "load_served", "make_backend"]

BackendName = Literal["auto", "onnx", "torch"]


def load_served(
    path: Path,
    service: Service,
    *,
    backend: BackendName = "auto",
    device: str = "auto",
    threads: int = 1,
    log: DecisionLog | None = None,
    audit: AuditLog | None = None,
    review: ReviewQueueFile | None = None,
) -> Served:
    """Load the agent in `path` for a service, without adding it. It takes seconds: use a thread.

    backend: "onnx" exports the agent and runs it in onnxruntime, several times as fast as torch on a CPU; "auto" does so
    where it can be exported and runs on the CPU. device: of torch; "auto": a GPU if there is one.

    Raises:
        CheckpointError: there is no agent, or it is damaged. ConfigError: it cannot be exported but "onnx" was asked for.
        MissingExtraError: as for the export.
    """
    config = service.config
    made, agent, checksum = make_backend(path, config.slots or None, config.memory, config.batch, config.sessions,
                                         backend=backend, device=device, threads=threads)  # fmt: skip
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name.removesuffix(".onnx")) or "agent"
    version = f"{name[:60]}-{checksum:08x}"
    form = StepFormat(made.observation_spec, made.action_spec)
    queue = None if review is None else Reviewing(review, version, made)
    observer = Observing(service.metrics, form, _drift(path, service), log, queue, made.action_spec.offset)
    batcher = Batcher(
        version, made, service.store, observer, most=config.batch, queue=config.queue, wait=config.wait,
        adopt=lambda other: service.adopts(version, other), idle=service.idle, audit=audit,
    )  # fmt: skip
    return Served(version, made, batcher, agent, str(path))


def make_backend(
    path: Path,
    slots: int | None,
    memory: int,
    least: int,
    most: int,
    *,
    backend: BackendName = "auto",
    device: str = "auto",
    threads: int = 1,
) -> tuple[Backend, Agent | None, int]:
    """Return what computes decisions, the agent if it was loaded, and the CRC-32 of its weights.

    slots: sessions whose memory is held; None: what fits into `memory` bytes, but at least `least` and at most `most`.
    """
    if path.suffix == ".onnx":
        from seqel.deployment.runtime import ExportedAgent
        from seqel.serving.backends.onnx_agent import OnnxBackend

        exported = ExportedAgent(path, threads)
        size = exported.layout.bytes_per_row
        found: Backend = OnnxBackend(exported, slots or _slots(size, memory, least, most))
        _warm(found, 2 * least)
        return found, None, zlib.crc32(path.read_bytes())
    import torch

    from seqel.agents.agent import Agent

    torch.set_num_threads(threads)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    agent = Agent.load(path, chosen)
    checksum = _checksum(agent)
    size = sum(tensor.nbytes for tensor in agent.network.initial_state(1).values())
    slots = slots or _slots(size, memory, least, most)
    found = _of_agent(agent, slots, backend, checksum, threads)
    _warm(found, 2 * least)
    return found, agent, checksum


def _of_agent(agent: Agent, slots: int, backend: BackendName, checksum: int, threads: int) -> Backend:
    from seqel.serving.backends.torch_agent import TorchBackend

    if backend == "torch" or (backend == "auto" and agent.device.type != "cpu"):
        return TorchBackend(agent, slots)
    try:
        from seqel.deployment.runtime import ExportedAgent
        from seqel.serving.backends.onnx_agent import OnnxBackend

        return OnnxBackend(ExportedAgent(_exported(agent, checksum), threads), slots, agent, threads)
    except (ConfigError, MissingExtraError):
        if backend == "onnx":
            raise
        return TorchBackend(agent, slots)


def _exported(agent: Agent, checksum: int) -> Path:
    """Return the agent's exported file in the user's cache folder; made there if it is missing or damaged."""
    from seqel.deployment.export import export
    from seqel.deployment.runtime import ExportedAgent

    path = cache_folder("exports") / f"{checksum:08x}-{__version__}.onnx"
    try:
        ExportedAgent(path)
    except CheckpointError:
        export(agent, path)
    return path


def _checksum(agent: Agent) -> int:
    """Return a CRC-32 of everything that decides: the weights, the settings, the spaces, and the rules of a shield."""
    from seqel.agents.artifact import weights_checksum

    described = agent.network.config, agent.observation_spec, agent.action_spec, weights_checksum(agent.network)
    rules = agent.info.get("shield", "")
    return zlib.crc32(repr((*described, rules) if rules else described).encode())


def _slots(size: int, memory: int, least: int, most: int) -> int:
    return max(least, min(most, memory // max(1, size)))


def _warm(backend: Backend, most: int) -> None:
    """Take a few steps of the largest batch, so that the first requests are not slower than others.

    The system gives a process its memory page by page, at its first use: half a second for a large agent.
    """
    spec, rows = backend.action_spec, min(most, backend.slots)
    for first in (True, False):
        observation: dict[str, Any] = {
            path: np.zeros((rows, *shape), dtype) for path, (shape, dtype) in backend.observation_spec.storage.items()
        }
        backend.step(
            np.arange(rows),
            Inputs(
                FlatObservation(observation),
                np.zeros((rows, spec.dims), np.int64),
                np.zeros(rows, np.float32),
                np.full(rows, first),
                np.repeat(spec.available[None], rows, axis=0),
            ),
        )


def _drift(path: Path, service: Service) -> DriftMonitor | None:
    """Return a monitor that compares live input with the run's reference, if it has one."""
    folder = path if path.is_dir() else path.parent
    for place in (folder, folder.parent):
        if (place / FILE).is_file():
            reference = Reference.load(place)
            service.metrics.reference(*reference.q_range, reference.top_action_share, reference.names)
            return DriftMonitor(reference)
    return None
