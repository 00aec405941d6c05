"""The Open Inference Protocol, version 2 (KServe, Triton): health, metadata, and inference with sequences.

An inference request with a `sequence_id` is one step of the session of that name, as in Triton's sequence batcher:
`sequence_start` opens it (in place of an open one), `sequence_end` closes it after the step. Without one, each row is decided
as the first step of a session of its own. Inputs are the leaves of the observation (or the columns of a table),
and optionally `reward`, `action_mask`, `previous_action`; outputs are `action` and `scores`.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from seqel.serving.errors import InvalidRequest, NotFound, Unavailable
from seqel.serving.http.describe import body, replies
from seqel.serving.http.direct import HotRoute
from seqel.serving.http.keys import Client
from seqel.serving.http.v1 import client_of, json_of, reply
from seqel.serving.served import Served
from seqel.serving.service import Service
from seqel.version import __version__

__all__ = ["add_v2"]

DATATYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1", "INT16": "i2", "INT32": "i4",
    "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8", "BYTES": "O",
}  # fmt: skip
NAMED = {np.dtype(code): name for name, code in DATATYPES.items()}
EXTRA = ("reward", "action_mask", "previous_action")
MOST_ROWS = 1_024


def add_v2(app: FastAPI, service: Service, name: str) -> list[HotRoute]:
    """Add the routes for a model of this name, and return the one that most requests take.

    The versions of the model are those of the service's agents.
    """

    @app.get("/v2/health/live", tags=["v2"], responses=replies(200, "Any"))
    async def live() -> Response:
        """Say that the process runs."""
        return reply({"live": True})

    @app.get("/v2/health/ready", tags=["v2"], responses=replies(200, "Any"))
    async def ready() -> Response:
        """Say whether the service takes requests: it has an agent, is not stopping, and reaches its store of sessions."""
        if service.stopping:
            raise Unavailable("the service is stopping")
        service.agent()
        await service.sessions()
        return reply({"ready": True})

    @app.get("/v2", tags=["v2"], responses=replies(200, "Any"))
    async def server() -> Response:
        """Describe the server."""
        return reply({"name": "seqel", "version": __version__, "extensions": ["sequence"]})

    @app.get("/v2/models/{model}", tags=["v2"], responses=replies(200, "Any", 404))
    @app.get("/v2/models/{model}/versions/{version}", tags=["v2"], responses=replies(200, "Any", 404))
    async def metadata(model: str, version: str = "") -> Response:
        """Describe a model: its inputs and outputs."""
        served = _served(service, name, model, version)
        return reply(_metadata(served, name, list(service.agents)))

    @app.get("/v2/models/{model}/ready", tags=["v2"], responses=replies(200, "Any", 404))
    @app.get("/v2/models/{model}/versions/{version}/ready", tags=["v2"], responses=replies(200, "Any", 404))
    async def model_ready(model: str, version: str = "") -> Response:
        """Say whether a model takes requests."""
        served = _served(service, name, model, version)
        return reply({"name": name, "version": served.version, "ready": True})

    @app.post(
        "/v2/models/{model}/infer",
        tags=["v2"],
        openapi_extra=body("Infer"),
        responses=replies(200, "Any", 404, 409, 410),
    )
    @app.post(
        "/v2/models/{model}/versions/{version}/infer", tags=["v2"], openapi_extra=body("Infer"),
        responses=replies(200, "Any", 404, 409, 410),
    )  # fmt: skip
    async def infer(model: str, request: Request, version: str = "") -> Response:
        """Decide: one step of a sequence, or independent first steps."""
        found = await decide(await request.body(), client_of(request), model, version)
        return Response(found, media_type="application/json")

    async def decide(data: bytes, client: Client, model: str, version: str = "") -> bytes:
        served = _served(service, name, model, version)
        given = json_of(data)
        found, served = await _infer(service, served, given, client.name, version)
        return orjson.dumps(
            {"model_name": name, "model_version": served.version, "id": str(given.get("id", "")), "outputs": found}
        )

    return [HotRoute("/v2/models/{model}/infer", decide)]


def _served(service: Service, name: str, model: str, version: str) -> Served:
    if model != name:
        raise NotFound(f"no model {model!r:.80}; there is {name!r}")
    return service.agent(version)


async def _infer(
    service: Service, served: Served, given: dict[str, Any], owner: str, version: str
) -> tuple[list[dict[str, Any]], Served]:
    parameters = given.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidRequest("parameters: expected an object")
    rows = _rows(served, given.get("inputs"))
    sequence = parameters.get("sequence_id", 0)
    if isinstance(sequence, bool) or not isinstance(sequence, int | str):
        raise InvalidRequest(f"sequence_id: expected a number or a text, got {sequence!r:.80}")
    if sequence in (0, ""):
        answers = await asyncio.gather(*(service.act_once(row | {"agent": served.version}) for row in rows))
    else:
        if len(rows) != 1:
            raise InvalidRequest(f"inputs: expected 1 row for a sequence, got {len(rows)}")
        session = str(sequence)
        if parameters.get("sequence_start"):
            await service.create(session, version, owner)
        answers = [await service.act(session, rows[0], owner)]
        if parameters.get("sequence_end"):
            await service.close(session, owner)
    decisions = [orjson.loads(answer) for answer in answers]
    decided = service.agents.get(decisions[0]["agent"], served)
    spec = decided.backend.action_spec
    action = np.array([one["action"] for one in decisions]).reshape(
        len(decisions), *([spec.dims] if spec.dims > 1 else [])
    )
    scores: list[Any] = []
    for one in decisions:
        for row in one["scores"] if spec.dims > 1 else [one["scores"]]:
            scores += row + [None] * (spec.actions - len(row))
    shape = [len(decisions), *([spec.dims] if spec.dims > 1 else []), spec.actions]
    outputs = [
        {"name": "action", "datatype": "INT64", "shape": list(action.shape), "data": action.ravel().tolist()},
        {"name": "scores", "datatype": "FP32", "shape": shape, "data": scores},
    ]
    return outputs, decided


def _rows(served: Served, inputs: Any) -> list[dict[str, Any]]:
    """Return the request of each row, as /v1 takes it. Raises InvalidRequest."""
    if not isinstance(inputs, list) or not inputs or not all(isinstance(one, dict) for one in inputs):
        raise InvalidRequest("inputs: expected a list of tensors")
    tensors = {str(one.get("name")): _tensor(one) for one in inputs}
    sizes = {len(one) for one in tensors.values()}
    if len(sizes) != 1:
        raise InvalidRequest(f"inputs: expected the same number of rows in each, got {sorted(sizes)}")
    (size,) = sizes
    if not 0 < size <= MOST_ROWS:
        raise InvalidRequest(f"inputs: expected 1 to {MOST_ROWS} rows, got {size}")
    extra = {name: tensors.pop(name) for name in EXTRA if name in tensors}
    keys = {leaf.path: leaf.keys for leaf in served.backend.observation_spec.leaves}
    known = set(served.encoding.schema.observation) if served.encoding is not None else set(keys)
    if set(tensors) - known:
        raise InvalidRequest(
            f"inputs: expected among {sorted(known)} and {list(EXTRA)}, got {sorted(set(tensors) - known)}"
        )
    rows = []
    for row in range(size):
        observation: Any = {}
        for name, tensor in tensors.items():
            value = tensor[row].tolist() if isinstance(tensor[row], np.ndarray) else tensor[row]
            value = value.item() if isinstance(value, np.generic) else value
            if served.encoding is not None:
                observation[name] = value
            elif not keys[name]:
                observation = value
            else:
                _place(observation, keys[name], value)
        found: dict[str, Any] = {"observation": observation}
        for name, tensor in extra.items():
            value = np.asarray(tensor[row]).tolist()
            found["mask" if name == "action_mask" else name] = value
        rows.append(found)
    return rows


def _place(observation: dict[Any, Any], keys: tuple[str | int, ...], value: Any) -> None:
    for key in keys[:-1]:
        observation = observation.setdefault(key, {})
    observation[keys[-1]] = value


def _tensor(given: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Return a tensor of the protocol as an array. Raises InvalidRequest."""
    name, shape, kind, data = (given.get(key) for key in ("name", "shape", "datatype", "data"))
    if not isinstance(kind, str) or kind not in DATATYPES:
        raise InvalidRequest(f"input {name!r:.80}: expected a datatype of {', '.join(DATATYPES)}, got {kind!r:.80}")
    sizes = shape if isinstance(shape, list) and 0 < len(shape) <= 8 and all(map(_is_size, shape)) else []
    if not sizes or not isinstance(data, list):
        raise InvalidRequest(f"input {name!r:.80}: expected a shape and a list of data")
    try:
        array = np.asarray(data, dtype=DATATYPES[kind])
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequest(f"input {name!r:.80}: expected {kind} data, but {error}") from error
    if array.size != math.prod(sizes):
        raise InvalidRequest(
            f"input {name!r:.80}: expected {math.prod(sizes)} numbers for shape {shape}, got {array.size}"
        )
    return array.reshape(sizes)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def _metadata(served: Served, name: str, versions: list[str]) -> dict[str, Any]:
    spec, actions = served.backend.observation_spec, served.backend.action_spec
    if served.encoding is not None:
        inputs = [{"name": column, "datatype": "BYTES", "shape": [-1]} for column in served.encoding.schema.observation]
    else:
        inputs = [
            {
                "name": leaf.path,
                "datatype": "BYTES" if leaf.kind == "text" else NAMED.get(np.dtype(leaf.dtype), "FP32"),
                "shape": [-1, *(() if leaf.kind == "text" else leaf.given or leaf.shape)],
            }
            for leaf in spec.leaves
        ]
    dims = [actions.dims] if actions.dims > 1 else []
    return {
        "name": name,
        "versions": versions,
        "platform": f"seqel_{served.backend.name}",
        "inputs": [*inputs, {"name": "reward", "datatype": "FP32", "shape": [-1]}],
        "outputs": [
            {"name": "action", "datatype": "INT64", "shape": [-1, *dims]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, *dims, actions.actions]},
        ],
    }
