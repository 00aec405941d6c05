"""The HTTP interface: statuses, keys, limits, ids, metrics, the description, and the Open Inference Protocol."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.errors import TooManyRequests
from seqel.serving.http.app import make_app
from seqel.serving.http.keys import Keys, Rates
from seqel.serving.http.logs import JsonLog
from support import network
from support_serving import expected, histories, make_service, served

SEEN = [0.1, 0.2, 0.3]
ANNA, BERT, ROOT = "anna-0123456789abcdef", "bert-0123456789abcdef", "root-0123456789abcdef"


def client_of(backend: Any, *, keys: Path | None = None, agent: Agent | None = None, **settings: Any) -> TestClient:
    service = make_service(backend, agent=agent, **settings)
    client = TestClient(make_app(service, name="maze", keys=Keys(keys)), raise_server_exceptions=False)
    client.service = service  # type: ignore[attr-defined]
    return client


@pytest.fixture
def client(pair: Any) -> Iterator[TestClient]:
    with client_of(TorchBackend(pair.agent, 8), agent=pair.agent, body=10_000, history=50) as found:
        yield found


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"# clients\nanna {ANNA}\n\nbert {BERT}\nroot {ROOT} admin\n")
    return path


def error_of(response: Any, status: int, kind: str) -> str:
    assert response.status_code == status, response.text
    found = response.json()["error"]
    assert found["type"] == kind
    assert found["request"] == response.headers["x-request-id"]
    return str(found["message"])


def test_a_session_by_http(client: TestClient, pair: Any) -> None:
    seen, rewards = histories(1, 3)
    made = client.post("/v1/sessions", json={"session": "one"})
    assert made.status_code == 201 and made.json()["session"] == "one"
    actions, _ = expected(pair.agent, seen, rewards)
    for step in range(3):
        given = {"observation": seen[0, step].tolist(), "reward": float(rewards[0, step]), "step": step}
        found = client.post("/v1/sessions/one/act", json=given)
        assert found.status_code == 200
        assert (found.json()["step"], found.json()["action"]) == (step, actions[0, step])
    assert client.post("/v1/sessions/one/feedback", json={"step": 2, "reward": 1}).json()["will_be_read"]
    assert len(client.get("/v1/sessions/one/influence").json()["influence"]) == 2
    assert client.get("/v1/sessions/one").json()["steps"] == 3
    assert client.delete("/v1/sessions/one").json()["steps"] == 3
    assert "was closed" in error_of(client.get("/v1/sessions/one"), 410, "Gone")
    assert client.post("/v1/sessions").json()["session"]  # a name of its own
    assert client.post("/v1/act", json={"observation": SEEN}).json()["step"] == 0
    batch = client.post("/v1/batch", json={"requests": [{"observation": SEEN}, {"session": "no", "observation": SEEN}]})
    assert [min(one) for one in batch.json()["answers"]] == ["action", "error"]


def test_errors_are_json_with_the_requests_id(client: TestClient) -> None:
    assert "expected JSON" in error_of(client.post("/v1/act", content=b"{"), 422, "InvalidRequest")
    assert "expected JSON" in error_of(client.post("/v1/act", content=b'{"observation": NaN}'), 422, "InvalidRequest")
    assert "JSON object" in error_of(client.post("/v1/act", content=b"[]"), 422, "InvalidRequest")
    assert "no session 'one'" in error_of(
        client.post("/v1/sessions/one/act", json={"observation": SEEN}), 404, "NotFound"
    )
    client.post("/v1/sessions", json={"session": "one"})
    given = {"observation": SEEN, "step": 5}
    assert "expected step 0" in error_of(client.post("/v1/sessions/one/act", json=given), 409, "Conflict")
    error_of(client.get("/nowhere"), 404, "RequestError")
    error_of(client.put("/v1/act"), 405, "RequestError")
    named = client.get("/v1/agents", headers={"x-request-id": "my-id.1"})
    assert named.headers["x-request-id"] == "my-id.1"
    wrong = client.get("/v1/agents", headers={"x-request-id": 'a"b'})
    assert wrong.headers["x-request-id"] != 'a"b'


def test_a_large_body_is_refused_by_its_length_and_by_its_content(client: TestClient) -> None:
    message = error_of(client.post("/v1/act", content=b" " * 10_001), 413, "TooLarge")
    assert "at most 10000 bytes" in message

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 1_000

    error_of(client.post("/v1/act", content=chunks()), 413, "TooLarge")


def test_a_fault_tells_its_id_and_nothing_else(pair: Any) -> None:
    class Broken(TorchBackend):
        def step(self, slots: Any, inputs: Any) -> Any:
            raise RuntimeError("the secret path /etc/keys")

    with client_of(Broken(pair.agent, 4)) as client:
        message = error_of(client.post("/v1/act", json={"observation": SEEN}), 500, "Fault")
        assert "secret" not in message


# -- keys and rates ----------------------------------------------------------------------------------------------------


def test_keys_are_asked_for_and_keep_sessions_apart(pair: Any, keys: Path) -> None:
    with client_of(TorchBackend(pair.agent, 8), keys=keys) as client:
        anna, bert = {"authorization": f"Bearer {ANNA}"}, {"x-api-key": BERT}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {ANNA}"}, {"x-api-key": ""}):
            refused = client.post("/v1/sessions", headers=headers)
            error_of(refused, 401, "Unauthorized")
            assert refused.headers["www-authenticate"] == "Bearer"
        assert client.post("/v1/sessions", json={"session": "one"}, headers=anna).status_code == 201
        error_of(client.get("/v1/sessions/one", headers=bert), 404, "NotFound")
        error_of(client.delete("/v1/sessions/one", headers=bert), 404, "NotFound")
        assert client.get("/v1/sessions/one", headers=anna).status_code == 200
        for method, path in (("post", "/v1/rollback"), ("post", "/v1/agents"), ("delete", "/v1/agents/a")):
            error_of(getattr(client, method)(path, headers=anna), 403, "Forbidden")
        root = {"authorization": f"Bearer {ROOT}"}
        error_of(client.post("/v1/rollback", headers=root), 404, "NotFound")  # there is nothing to go back to
        for path in ("/v2/health/live", "/v2/health/ready", "/metrics", "/openapi.json", "/"):
            assert client.get(path).status_code == 200


@pytest.mark.parametrize("line", ["anna", "anna short", f"anna {ANNA} boss", f"an/na {ANNA}", ""])
def test_a_wrong_line_of_keys_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "keys"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError, match="keys: "):
        Keys(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Keys(tmp_path / "none")


def test_a_rate_is_a_token_bucket() -> None:
    now = [0.0]
    rates = Rates(2.0, lambda: now[0])
    rates.spend("a")
    rates.spend("a")
    with pytest.raises(TooManyRequests) as caught:
        rates.spend("a")
    assert caught.value.retry_after == pytest.approx(0.5)
    rates.spend("b")  # each has its own
    now[0] = 0.5
    rates.spend("a")
    with pytest.raises(TooManyRequests):
        rates.spend("a")
    now[0] = 100.0  # no more than two are saved
    rates.spend("a")
    rates.spend("a")
    with pytest.raises(TooManyRequests):
        rates.spend("a")


def test_a_client_above_its_rate_learns_when_to_come_back(pair: Any) -> None:
    with client_of(TorchBackend(pair.agent, 8), rate=1.0) as client:
        assert client.get("/v1/agents").status_code == 200
        refused = client.get("/v1/agents")
        error_of(refused, 429, "TooManyRequests")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/v2/health/live").status_code == 200
        assert 'seqel_refusals_total{reason="TooManyRequests"} 1.0' in client.get("/metrics").text


# -- operation ---------------------------------------------------------------------------------------------------------


def test_requests_are_counted_and_logged(pair: Any) -> None:
    stream = io.BytesIO()
    service = make_service(TorchBackend(pair.agent, 8))
    with TestClient(make_app(service, log=JsonLog(stream, "info"))) as client:
        client.post("/v1/sessions", json={"session": "one"})
        client.post("/v1/sessions/one/act", json={"observation": SEEN})
        client.post("/v1/sessions/two/act", json={"observation": SEEN})
        found = client.get("/metrics").text
    assert 'seqel_requests_total{method="POST",route="/v1/sessions/{session}/act",status="200"} 1.0' in found
    assert 'seqel_requests_total{method="POST",route="/v1/sessions/{session}/act",status="404"} 1.0' in found
    assert "seqel_sessions_open 1.0" in found
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [201, 200, 404, 200]
    assert "no session 'two'" in requests[2]["error"]
    assert len({line["request"] for line in requests}) == 4


def test_the_description_names_every_route_with_its_replies(client: TestClient) -> None:
    found = client.get("/openapi.json").json()
    known = set(found["components"]["schemas"])
    operations = [
        (path, method, operation) for path, methods in found["paths"].items() for method, operation in methods.items()
    ]
    assert {"/v1/sessions/{session}/act", "/v1/rank", "/v2/models/{model}/infer", "/metrics"} <= set(found["paths"])
    for path, method, operation in operations:
        assert operation["summary"] and (operation.get("description") or path == "/metrics"), (path, method)
        text = json.dumps(operation)
        for reference in text.split("#/components/schemas/")[1:]:
            assert reference.partition('"')[0] in known
    bodies = [
        one["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for *_, one in operations
        if "requestBody" in one
    ]
    for reference in bodies:
        assert found["components"]["schemas"][reference.rpartition("/")[2]].get("examples"), reference


def test_the_page_is_served_with_its_files_and_a_strict_policy(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("style.css", "page.js"):
        assert f"/static/{name}" in page.text
        assert client.get(f"/static/{name}").status_code == 200
    for name in ("../app.py", "%2e%2e/app.py", "none.js"):
        assert client.get(f"/static/{name}").status_code == 404


def test_agents_are_listed_activated_and_rolled_back(client: TestClient, pair: Any) -> None:
    service = client.service  # type: ignore[attr-defined]
    service.add(served(service, TorchBackend(Agent(pair.agent.network), 8), "b"))
    assert client.get("/v1/agents").json()["active"] == "a"
    assert client.post("/v1/agents/b/activate").json() == {"version": "b"}
    assert client.post("/v1/sessions").json()["agent"] == "b"
    assert client.post("/v1/rollback").json() == {"version": "a"}
    error_of(client.delete("/v1/agents/a"), 422, "InvalidRequest")
    assert client.delete("/v1/agents/b").status_code == 200
    assert [one["version"] for one in client.get("/v1/agents").json()["agents"]] == ["a"]
    error_of(client.post("/v1/agents", json={"name": "x"}), 422, "InvalidRequest")  # no repository


# -- the Open Inference Protocol ---------------------------------------------------------------------------------------


def tensor(values: Any, datatype: str = "FP32", name: str = "observation") -> dict[str, Any]:
    array = np.asarray(values)
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": array.ravel().tolist()}


def test_health_and_metadata(client: TestClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json()["name"] == "seqel"
    found = client.get("/v2/models/maze").json()
    assert found["inputs"][0] == {"name": "observation", "datatype": "FP32", "shape": [-1, 3]}
    assert [one["name"] for one in found["outputs"]] == ["action", "scores"]
    assert client.get("/v2/models/maze/versions/a/ready").json()["ready"] is True
    error_of(client.get("/v2/models/other"), 404, "NotFound")
    error_of(client.get("/v2/models/maze/versions/z"), 404, "NotFound")


def test_a_sequence_is_a_session(client: TestClient, pair: Any) -> None:
    seen, rewards = histories(1, 4)
    actions, scores = expected(pair.agent, seen, rewards)
    for step in range(4):
        parameters = {"sequence_id": 42, "sequence_start": step == 0, "sequence_end": step == 3}
        given = {
            "id": f"r{step}", "parameters": parameters,
            "inputs": [tensor(seen[:, step]), tensor(rewards[:, step], name="reward")],
        }  # fmt: skip
        found = client.post("/v2/models/maze/infer", json=given)
        assert found.status_code == 200, found.text
        assert found.json()["id"] == f"r{step}" and found.json()["model_version"] == "a"
        outputs = {one["name"]: one for one in found.json()["outputs"]}
        assert outputs["action"]["data"] == [actions[0, step]]
        assert outputs["scores"]["shape"] == [1, 3]
        np.testing.assert_allclose(outputs["scores"]["data"], scores[0, step], rtol=1e-4, atol=1e-5)
    again = {"parameters": {"sequence_id": 42}, "inputs": [tensor(seen[:, 0])]}
    assert "was closed" in error_of(client.post("/v2/models/maze/infer", json=again), 410, "Gone")


def test_rows_without_a_sequence_are_independent(client: TestClient, pair: Any) -> None:
    seen, rewards = histories(3, 1)
    mask = np.eye(3, dtype=bool)
    given = {"inputs": [tensor(seen[:, 0]), tensor(mask, "BOOL", "action_mask")]}
    found = client.post("/v2/models/maze/versions/a/infer", json=given).json()
    assert found["outputs"][0]["data"] == [0, 1, 2]
    scores = np.array(found["outputs"][1]["data"], float).reshape(3, 3)
    np.testing.assert_allclose(np.diag(scores), np.diag(expected(pair.agent, seen, 0 * rewards)[1][:, 0]), rtol=1e-4)
    assert np.isnan(scores[~mask]).all()


@pytest.mark.parametrize(
    "given",
    [
        {}, {"inputs": []}, {"inputs": [1]}, {"inputs": "x"}, {"inputs": [{"name": "observation"}]},
        {"inputs": [tensor([SEEN], "FP128")]}, {"inputs": [tensor([SEEN]) | {"shape": [1, 4]}]},
        {"inputs": [tensor([SEEN]) | {"shape": [-1, 3]}]}, {"inputs": [tensor([SEEN]) | {"data": 3}]},
        {"inputs": [tensor([SEEN]) | {"data": ["a", "b", "c"]}]}, {"inputs": [tensor([SEEN], name="other")]},
        {"inputs": [tensor([SEEN]), tensor([1.0, 2.0], name="reward")]}, {"inputs": [tensor([SEEN])], "parameters": 3},
        {"inputs": [tensor([SEEN])], "parameters": {"sequence_id": [1]}},
        {"inputs": [tensor([SEEN, SEEN])], "parameters": {"sequence_id": 1, "sequence_start": True}},
        {"inputs": [tensor([SEEN]) | {"shape": [1 << 40]}]}, {"inputs": [tensor([SEEN]) | {"shape": []}]},
        {"inputs": [tensor([SEEN], name="reward")]}, {"inputs": [tensor(np.zeros((0, 3)))]},
    ],
)  # fmt: skip
def test_wrong_tensors_are_refused(client: TestClient, given: dict[str, Any]) -> None:
    error_of(client.post("/v2/models/maze/infer", json=given), 422, "InvalidRequest")


def test_nested_observations_are_put_together(pair: Any) -> None:
    import gymnasium as gym
    import torch

    from seqel.networks.config import NetworkConfig
    from seqel.networks.qnetwork import QNetwork
    from seqel.spaces import ActionSpec, ObservationSpec

    space = gym.spaces.Dict(
        {
            "place": gym.spaces.Box(-1, 1, (2,), np.float32),
            "more": gym.spaces.Dict({"room": gym.spaces.Discrete(4), "note": gym.spaces.Text(20)}),
        }
    )
    torch.manual_seed(0)
    net = QNetwork(
        NetworkConfig(width=16, heads=2, context=4), ObservationSpec.from_space(space), ActionSpec((3, 2), (1, 0))
    )
    with client_of(TorchBackend(Agent(net), 4)) as client:
        inputs = [
            tensor([[0.5, -0.5]], name="place"), tensor([3], "INT64", "more/room"),
            tensor(["hello"], "BYTES", "more/note"), tensor([[2, 1]], "INT64", "previous_action"),
        ]  # fmt: skip
        found = client.post("/v2/models/maze/infer", json={"inputs": inputs}).json()
        nested = {"place": [0.5, -0.5], "more": {"room": 3, "note": "hello"}}
        same = client.post("/v1/act", json={"observation": nested}).json()
        assert found["outputs"][0]["data"] == same["action"]
        assert found["outputs"][0]["shape"] == [1, 2] and found["outputs"][1]["shape"] == [1, 2, 3]
        flat = [score for row in same["scores"] for score in row + [None] * (3 - len(row))]
        assert found["outputs"][1]["data"] == flat
        assert client.get("/v1/agents").json()["agents"][0]["actions"] == "1 to 3 x 0 to 1"


def test_a_network_of_another_kind_is_served(pair: Any) -> None:
    with client_of(TorchBackend(Agent(network(trunk="gru")), 4)) as client:
        client.post("/v1/sessions", json={"session": "one"})
        for step in range(3):
            assert client.post("/v1/sessions/one/act", json={"observation": SEEN}).json()["step"] == step


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/v1/sessions/one", "DELETE, GET"), ("/v1/agents", "GET, POST"), ("/v1/act", "POST"), ("/v2/models/a", "GET")],
)
def test_a_wrong_method_is_answered_with_all_methods_of_the_path(client: TestClient, path: str, methods: str) -> None:
    for method in ("OPTIONS", "PATCH"):
        found = client.request(method, path)
        assert found.status_code == 405 and found.headers["allow"] == methods


def test_refusals_are_reported_together(pair: Any) -> None:
    stream = io.BytesIO()
    service = make_service(TorchBackend(pair.agent, 8), rate=1.0)
    with TestClient(make_app(service, log=JsonLog(stream, "warning"))) as client:
        statuses = [client.get("/v1/agents").status_code for _ in range(6)]
        text = client.get("/metrics").text
    assert statuses == [200, *[429] * 5]
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["refused"]
    assert 'seqel_refusals_total{reason="TooManyRequests"} 5.0' in text
