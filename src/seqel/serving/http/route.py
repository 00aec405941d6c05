"""A route whose handler reads its request itself: FastAPI describes it, but neither parses nor validates anything for it.

That takes half of FastAPI's time per request. A handler takes the request and the parameters of its path, all texts.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["PlainRoute"]


class PlainRoute(APIRoute):
    """Calls its handler with `request`, if it takes one, and the parameters of the path."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint, takes_request = self.endpoint, self.dependant.request_param_name is not None

        async def handler(request: Request) -> Response:
            given = {"request": request} if takes_request else {}
            found: Response = await endpoint(**given, **request.path_params)
            return found

        return handler
