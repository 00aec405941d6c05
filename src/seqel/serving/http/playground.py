"""The page at "/", for a person to try the agent, and the files that it is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources

from fastapi import FastAPI
from starlette.responses import Response

__all__ = ["add_playground"]

TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:"


def add_playground(app: FastAPI) -> None:
    """Add the page and its files."""
    folder = resources.files("seqel.serving.http") / "static"
    files = {part.name: part.read_bytes() for part in folder.iterdir() if part.name.rpartition(".")[2] in TYPES}

    def response(name: str) -> Response:
        headers = {
            "content-security-policy": POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return Response(files[name], media_type=TYPES[name.rpartition(".")[2]], headers=headers)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return response("index.html")

    for name in files:
        app.add_api_route(f"/static/{name}", _route(response, name), include_in_schema=False)


def _route(response: Callable[[str], Response], name: str) -> Callable[[], Awaitable[Response]]:
    async def file() -> Response:
        return response(name)

    return file
