"""Seqel's own routes, /v1: sessions, decisions without a session, rankings, and agents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from seqel.errors import SeqelError
from seqel.serving.errors import InvalidRequest
from seqel.serving.http.answers import error_body
from seqel.serving.http.describe import body, replies
from seqel.serving.http.direct import HotRoute
from seqel.serving.http.gate import CLIENT, REQUEST_ID
from seqel.serving.http.keys import Client, Keys
from seqel.serving.http.route import PlainRoute
from seqel.serving.service import Service

__all__ = ["add_v1", "client_of", "json_of", "reply"]

Load = Callable[[str | None], Awaitable[str]]  # the name of a folder, or the folder that was served first -> version


def add_v1(app: FastAPI, service: Service, load: Load | None) -> list[HotRoute]:
    """Add the routes, and return those that most requests take. load: see POST /v1/agents: folder -> version of an agent."""
    hot = Hot(service)
    app.include_router(_sessions(service, hot))
    app.include_router(_decisions(service, hot))
    app.include_router(_agents(service, load))
    return [
        HotRoute("/v1/sessions/{session}/act", hot.act),
        HotRoute("/v1/sessions/{session}/feedback", hot.feedback),
        HotRoute("/v1/sessions", hot.open_session, 201),
        HotRoute("/v1/act", hot.act_once),
    ]


class Hot:
    """Handlers of the requests that a service gets most: the body, who asks, and the parameters of the path -> JSON."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def open_session(self, data: bytes, client: Client) -> bytes:
        given = json_of(data, optional=True)
        name, agent = given.get("session"), given.get("agent", "")
        if not isinstance(name, str | None) or not isinstance(agent, str):
            raise InvalidRequest("expected texts: session, agent")
        return orjson.dumps(await self.service.create(name, agent, client.name))

    async def act(self, data: bytes, client: Client, session: str) -> bytes:
        return await self.service.act(session, json_of(data), client.name)

    async def feedback(self, data: bytes, client: Client, session: str) -> bytes:
        given = json_of(data)
        if "reward" not in given:
            raise InvalidRequest("reward: expected a number, got none")
        return orjson.dumps(await self.service.feedback(session, given.get("step"), given["reward"], client.name))

    async def act_once(self, data: bytes, client: Client) -> bytes:
        return await self.service.act_once(json_of(data))


def _sessions(service: Service, hot: Hot) -> APIRouter:
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=PlainRoute)

    @router.post(
        "", status_code=201, openapi_extra=body("NewSession", required=False), responses=replies(201, "Session", 404)
    )
    async def open_session(request: Request) -> Response:
        """Open a session. The service holds its history from now on; `session` names it (otherwise a random name is made)."""
        return _json(await hot.open_session(await request.body(), client_of(request)), 201)

    @router.post("/{session}/act", openapi_extra=body("Act"), responses=replies(200, "Decision", 404, 409, 410))
    async def act(session: str, request: Request) -> Response:
        """Take one step: read an observation (and the reward of the last action), and decide.

        With `step`, the number of this step from 0 on, a request may be repeated safely: the same step gets the same answer.
        """
        return _json(await hot.act(await request.body(), client_of(request), session))

    @router.post("/{session}/feedback", openapi_extra=body("Feedback"), responses=replies(200, "Feedback", 404, 410))
    async def feedback(session: str, request: Request) -> Response:
        """Report the reward of a step. That of the last step is read by the agent at the next one."""
        return _json(await hot.feedback(await request.body(), client_of(request), session))

    @router.get("/{session}", responses=replies(200, "Timeline", 404, 410))
    async def timeline(session: str, request: Request) -> Response:
        """Return what the session saw, did and earned, as far back as its agent can look."""
        return reply(await service.timeline(session, client_of(request).name))

    @router.get("/{session}/influence", responses=replies(200, "Influence", 404, 410))
    async def influence(session: str, request: Request) -> Response:
        """Return how much the last decision changes if each earlier step is hidden."""
        return reply(await service.influence(session, client_of(request).name))

    @router.delete("/{session}", responses=replies(200, "Timeline", 404, 410))
    async def close(session: str, request: Request) -> Response:
        """Close a session, and return its timeline."""
        return reply(await service.close(session, client_of(request).name))

    return router


def _decisions(service: Service, hot: Hot) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["decisions"], route_class=PlainRoute)

    @router.post("/act", openapi_extra=body("ActOnce"), responses=replies(200, "Decision", 404))
    async def act_once(request: Request) -> Response:
        """Decide without a session: the request brings its history."""
        return _json(await hot.act_once(await request.body(), client_of(request)))

    @router.post("/batch", openapi_extra=body("Batch"), responses=replies(200, "Batch"))
    async def batch(request: Request) -> Response:
        """Take one step in each of many sessions at once. Each has its own answer or error, in the order of the requests."""
        found = await service.act_many(json_of(await request.body()).get("requests"), client_of(request).name)
        answers = [
            error_body(one, request.scope[REQUEST_ID])[1] if isinstance(one, SeqelError) else one for one in found
        ]
        return Response(b'{"answers":[' + b",".join(answers) + b"]}", media_type="application/json")

    @router.post("/rank", openapi_extra=body("Rank"), responses=replies(200, "Ranking", 404))
    async def rank(request: Request) -> Response:
        """Rank the items of a catalogue for a history of chosen items (agents of the preset `next-item`)."""
        given = json_of(await request.body())
        return reply(await asyncio.to_thread(service.rank, given))

    return router


def _agents(service: Service, load: Load | None) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["agents"], route_class=PlainRoute)

    @router.get("/agents", responses=replies(200, "Agents"))
    async def agents() -> Response:
        """Return the versions that are loaded, and which one is active."""
        found = [served.describe() for served in service.agents.values()]
        return reply({"active": service.active, "previous": service.previous or None, "agents": found})

    @router.post(
        "/agents",
        status_code=201,
        openapi_extra=body("NewAgent", required=False),
        responses=replies(201, "Version", 403),
    )
    async def add(request: Request) -> Response:
        """Load an agent: the folder `name` of the repository, or, without one, again what is served. It is not yet active."""
        Keys.require_admin(client_of(request))
        name = json_of(await request.body(), optional=True).get("name")
        if not isinstance(name, str | None) or load is None:
            raise InvalidRequest("name: expected the name of a folder in the service's repository")
        return reply({"version": await load(name)}, 201)

    @router.post("/agents/{version}/activate", responses=replies(200, "Version", 403, 404))
    async def activate(version: str, request: Request) -> Response:
        """Let a version decide new sessions, and open ones as the service is configured (--on-swap)."""
        Keys.require_admin(client_of(request))
        service.activate(version)
        return reply({"version": service.active})

    @router.post("/rollback", responses=replies(200, "Version", 403, 404))
    async def rollback(request: Request) -> Response:
        """Activate the version that was active before."""
        Keys.require_admin(client_of(request))
        return reply({"version": service.rollback()})

    @router.delete("/agents/{version}", responses=replies(200, "Version", 403, 404))
    async def remove(version: str, request: Request) -> Response:
        """Unload a version that is not active; its sessions move to the active one."""
        Keys.require_admin(client_of(request))
        await service.remove(version)
        return reply({"version": service.active})

    return router


def client_of(request: Request) -> Client:
    """Return who asks, as `Gate` found it."""
    found = request.scope.get(CLIENT)
    assert isinstance(found, Client)
    return found


def json_of(data: bytes, optional: bool = False) -> dict[str, Any]:
    """Return the object in a request's body. Raises InvalidRequest if it is none."""
    if not data and optional:
        return {}
    try:
        found = orjson.loads(data)
    except ValueError as error:
        raise InvalidRequest(f"body: expected JSON, but {error}") from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"body: expected a JSON object, got {type(found).__name__}")
    return found


def reply(value: Any, status: int = 200) -> Response:
    """Return a value as a JSON response."""
    return _json(orjson.dumps(value), status)


def _json(data: bytes, status: int = 200) -> Response:
    return Response(data, status, media_type="application/json")
