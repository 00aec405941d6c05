"""The OpenAPI description of requests and replies, with examples. Bodies are read by hand, which is faster than by models."""

from __future__ import annotations

from typing import Any

__all__ = ["body", "replies", "schemas"]

NUMBERS = {"type": "array", "items": {"type": ["number", "null"]}}
ANY: dict[str, Any] = {
    "description": "As in the environment's observation space, with lists for arrays, or a row as an object of columns."
}
ACTION = {
    "oneOf": [
        {"type": "integer"},
        {"type": "array", "items": {"type": "integer"}},
        {"type": "string"},
        {"type": "object"},
    ],
    "description": "A number, one number per action dimension, or the name of an action of a table.",
}
STEP = {"type": "integer", "minimum": 0, "description": "The number of this step in the session, from 0 on."}
REWARD = {"type": "number", "description": "The reward of the last action."}
MASK = {"type": "array", "description": "For each action, whether it is allowed.", "items": {}}
ACT = {
    "observation": ANY,
    "reward": REWARD,
    "step": STEP,
    "previous_action": ACTION | {"description": "The last action, if it was not the agent's decision."},
    "mask": MASK,
    "candidates": {"type": "array", "minItems": 1, "items": ACTION, "description": "The actions to choose among."},
}
PAST = {
    "type": "object",
    "required": ["observation", "action"],
    "properties": {"observation": ANY, "action": ACTION, "reward": REWARD},
}


def _object(properties: dict[str, Any], required: list[str] | None = None, example: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = required
    if example is not None:
        found["examples"] = [example]
    return found


TEXT = {"type": "string"}
REQUESTS = {
    "NewSession": _object(
        {"session": {"type": "string", "pattern": "^[A-Za-z0-9._:@-]{1,128}$"}, "agent": TEXT},
        example={"session": "anna-1"},
    ),
    "Act": _object(ACT, ["observation"], {"observation": [0.1, 0.0, -0.2, 0.0], "reward": 1.0, "step": 3}),
    "ActOnce": _object(
        ACT | {"agent": TEXT, "history": {"type": "array", "items": PAST}},
        ["observation"],
        {
            "history": [{"observation": [0.1, 0.0, -0.2, 0.0], "action": 1, "reward": 1.0}],
            "observation": [0.1, 0.2, -0.2, 0.1],
        },
    ),
    "Batch": _object(
        {"requests": {"type": "array", "minItems": 1, "items": _object(ACT | {"session": TEXT}, ["observation"])}},
        ["requests"],
        {"requests": [{"session": "anna-1", "observation": [0.1, 0.0, -0.2, 0.0]}]},
    ),
    "Feedback": _object({"step": STEP, "reward": REWARD}, ["step", "reward"], {"step": 3, "reward": 1.0}),
    "Rank": _object(
        {
            "history": {"type": "array", "items": {"type": ["string", "integer"]}},
            "k": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 20},
            "rewards": {"type": "array", "items": {"type": "number"}},
            "candidates": {"type": "array", "items": {"type": ["string", "integer"]}},
            "exclude_seen": {"type": "boolean", "default": True},
            "agent": TEXT,
        },
        None,
        {"history": ["Toy Story", "GoldenEye"], "k": 10},
    ),
    "NewAgent": _object({"name": TEXT}, example={"name": "2026-11-29"}),
    "Infer": _object(
        {
            "id": TEXT,
            "parameters": {"type": "object"},
            "inputs": {
                "type": "array",
                "items": _object(
                    {
                        "name": TEXT,
                        "shape": {"type": "array", "items": {"type": "integer"}},
                        "datatype": TEXT,
                        "data": {"type": "array"},
                    },
                    ["name", "shape", "datatype", "data"],
                ),
            },
        },
        ["inputs"],
        {
            "parameters": {"sequence_id": 7, "sequence_start": True},
            "inputs": [{"name": "observation", "shape": [1, 4], "datatype": "FP32", "data": [0.1, 0.0, -0.2, 0.0]}],
        },
    ),
}
DECISION = _object(
    {
        "session": TEXT,
        "step": STEP,
        "agent": TEXT,
        "action": ACTION,
        "name": {"type": "object"},
        "scores": {"type": "array", "description": "Of every action; null where it is not allowed."},
        "abstain": {
            "type": "boolean",
            "description": "Whether a calibrated agent abstains; action is then what it would have done.",
        },
        "uncertainty": {"type": ["number", "null"], "description": "The uncertainty that abstention is based on."},
    },
    ["step", "agent", "action", "scores"],
    {"session": "anna-1", "step": 3, "agent": "cartpole-1c291ca3", "action": 1, "scores": [41.2, 44.9]},
)
VERSION = _object({"version": TEXT}, ["version"])
REPLIES = {
    "Session": _object(
        {"session": TEXT, "agent": TEXT, "step": STEP, "time_to_live": {"type": "number"}}, ["session", "agent", "step"]
    ),
    "Decision": DECISION,
    "Batch": _object({"answers": {"type": "array", "items": {"type": "object"}}}, ["answers"]),
    "Feedback": _object(
        {"session": TEXT, "step": STEP, "reward": REWARD, "will_be_read": {"type": "boolean"}},
        ["session", "step", "reward"],
    ),
    "Timeline": _object(
        {"session": TEXT, "agent": TEXT, "steps": STEP, "history": {"type": "array", "items": {"type": "object"}}},
        ["session", "agent", "steps", "history"],
    ),
    "Influence": _object(
        {"session": TEXT, "step": STEP, "influence": {"type": "array", "items": {"type": "object"}}},
        ["session", "step", "influence"],
    ),
    "Ranking": _object({"agent": TEXT, "items": {"type": "array"}, "scores": NUMBERS}, ["agent", "items", "scores"]),
    "Agents": _object(
        {"active": TEXT, "previous": {"type": ["string", "null"]}, "agents": {"type": "array"}}, ["active", "agents"]
    ),
    "Version": VERSION,
    "Any": {"type": "object"},
}
ERROR = _object(
    {"error": _object({"type": TEXT, "message": TEXT, "request": TEXT}, ["type", "message", "request"])}, ["error"]
)
MEANINGS = {
    400: "The request cannot be read.",
    401: "No API key, or an unknown one.",
    403: "The key has no admin rights.",
    404: "There is no such session or agent.",
    405: "There is no such method.",
    408: "The body did not arrive in time.",
    409: "The session is at another step.",
    410: "The session was closed, has expired, or was evicted.",
    413: "The body is too large.",
    422: "The content does not fit the agent.",
    429: "More requests than the rate allows; see Retry-After.",
    503: "The service is overloaded, stopping, or without its store; see Retry-After.",
    504: "No answer in time; ask again with the same step.",
}
RETRIED = (429, 503)
RETRY_AFTER = {"description": "Seconds after which to ask again.", "schema": {"type": "integer", "minimum": 1}}
COMMON = (400, 401, 405, 408, 413, 422, 429, 503, 504)


def schemas() -> dict[str, Any]:
    """Return the schemas for the description's components."""
    return REQUESTS | {f"{name}Reply": schema for name, schema in REPLIES.items()} | {"Error": ERROR}


def body(name: str, required: bool = True) -> dict[str, Any]:
    """Return the description of a request's body."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def replies(status: int, name: str, *errors: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of a route's replies: the successful one, and its errors besides those of every route."""

    def content(schema: str) -> dict[str, Any]:
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}

    found: dict[int | str, dict[str, Any]] = {
        code: {"description": MEANINGS[code], "content": content("Error")} for code in sorted({*COMMON, *errors})
    }
    for code in RETRIED:
        found[code]["headers"] = {"Retry-After": RETRY_AFTER}
    return {status: {"description": "Success.", "content": content(f"{name}Reply")}} | found
