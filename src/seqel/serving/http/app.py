"""The ASGI application: routes, the page, metrics and the description, behind the gate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from seqel.errors import SeqelError
from seqel.serving.errors import RequestError
from seqel.serving.http.admission import Admission
from seqel.serving.http.answers import error_body
from seqel.serving.http.describe import schemas
from seqel.serving.http.gate import FAILED, REQUEST_ID, Application, Gate
from seqel.serving.http.keys import Keys
from seqel.serving.http.logs import JsonLog
from seqel.serving.http.playground import add_playground
from seqel.serving.http.route import PlainRoute
from seqel.serving.http.v1 import Load, add_v1
from seqel.serving.http.v2 import add_v2
from seqel.serving.service import Service
from seqel.version import __version__

__all__ = ["make_app"]

ABOUT = """Decisions of a Seqel agent, which remembers what each session saw, did and earned.

Open a session, then take one step after another: each brings an observation and the reward of the last action, and gets the
next action. Errors are `{"error": {"type", "message", "request"}}`.
"""


def make_app(
    service: Service,
    *,
    name: str = "agent",
    keys: Keys | None = None,
    log: JsonLog | None = None,
    load: Load | None = None,
    prepare: Callable[[], Any] | None = None,
) -> Application:
    """Return the application of a service.

    name: of the model in /v2. load: makes a version from a folder's name. prepare: an async function that is awaited before
    the service is ready, to load the first agent.
    """
    keys, log = keys or Keys(), log or JsonLog(level="warning")
    admission = Admission(service.limit, service.wait, service.idle.wait, service.metrics, log, service.room)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        if prepare is not None:
            await prepare()
        log.write("info", "ready", agent=service.active)
        yield
        await service.stop()
        log.write("info", "stopped")

    app = FastAPI(
        title="Seqel", version=__version__, description=ABOUT, lifespan=lifespan, redoc_url=None, docs_url=None,
        default_response_class=JSONResponse,
    )  # fmt: skip
    app.router.route_class = PlainRoute
    hot = [*add_v1(app, service, load), *add_v2(app, service, name)]
    add_playground(app)

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        admission.report()
        service.metrics.queue(service.waiting + len(admission.line))
        with contextlib.suppress(RequestError):
            service.metrics.sessions(await service.sessions(), service.config.sessions)
        return Response(await asyncio.to_thread(service.metrics.render), media_type="text/plain; version=0.0.4")

    @app.exception_handler(SeqelError)
    async def refused(request: Request, error: SeqelError) -> Response:
        return _refusal(request, error)

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        failed = RequestError(f"{request.scope['method']} {request.scope['path'][:200]}: {error.detail}")
        failed.status = error.status_code
        allowed = _methods(app, request.scope["path"]) if error.status_code == 405 else ""
        return _refusal(request, failed, {"allow": allowed} if allowed else error.headers)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return _refusal(request, error)  # it is then raised again, and the gate logs it

    _describe(app)

    return Gate(app, service.config, keys, service.metrics, log, admission, hot)


def _refusal(request: Request, error: Exception, headers: Mapping[str, str] | None = None) -> Response:
    status, body, retry = error_body(error, request.scope[REQUEST_ID])
    request.scope[FAILED] = error
    more = dict(headers or {}) | ({} if retry is None else {"retry-after": str(max(1, round(retry)))})
    return Response(body, status, media_type="application/json", headers=more)


def _methods(app: FastAPI, path: str) -> str:
    """Return the methods of a path for the header Allow. The router names those of the first route that fits alone."""
    routes = app.openapi()["paths"].items()
    return ", ".join(
        sorted({method.upper() for one, of in routes if compile_path(one)[0].match(path) for method in of})
    )


def _describe(app: FastAPI) -> None:
    """Add the schemas and the keys to the OpenAPI description."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = original()
            components = found.setdefault("components", {})
            components.setdefault("schemas", {}).update(schemas())
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{}, {"key": []}]
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
