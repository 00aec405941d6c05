"""The OpenAPI description against the running service: schemathesis makes requests from it, and checks the answers by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.http.app import make_app
from seqel.serving.http.describe import schemas
from support_serving import make_service, running_server

EXAMPLES = 12  # per operation, of requests that fit the description, and as many that do not
SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
CHECKED = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "unsupported_method", "allow_header_conformance",
]  # fmt: skip
THERE = {"session": "open", "model": "maze", "version": "a"}  # what paths may name


@pytest.fixture(scope="module")
def address(pair: Any) -> Iterator[str]:
    """A running service with a version "a" and a session "open"."""
    service = make_service(TorchBackend(pair.agent, 8), agent=pair.agent, timeout=20.0, body_time=20.0)
    with running_server(make_app(service, name="maze")) as port:
        yield f"http://127.0.0.1:{port}"


def operations(address: str) -> dict[str, Any]:
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    found = [one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)]
    return {one.label: one for one in found}


def test_every_route_is_described(address: str) -> None:
    assert len(operations(address)) >= 24
    assert {"Act", "Decision" + "Reply", "Error"} <= set(schemas())


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_the_service_answers_is_what_its_description_says(address: str, mode: GenerationMode) -> None:
    load_all_checks()
    checks = [CHECKS.get_one(name) for name in CHECKED]
    connection, asked = requests.Session(), 0
    for operation in operations(address).values():
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # any text is a name

        @seed(0)
        @SETTINGS
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            if asked % 3:  # most requests name what there is
                connection.post(f"{address}/v1/sessions", json={"session": "open"})
                case.path_parameters = {name: THERE[name] for name in case.path_parameters or {}}
            case.call_and_validate(session=connection, checks=checks, timeout=30)

        ask()
    assert asked >= 8 * EXAMPLES
