"""The manifests fit together, and fit the service: labels, ports, probes, metrics, settings and times."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tyro
import yaml

from seqel.cli.monitor_arguments import Arguments as OfMonitor
from seqel.cli.serve import Arguments
from seqel.monitoring.metrics import ServiceMetrics
from support_deploy import DEPLOY, routes

KUBERNETES = DEPLOY / "kubernetes"
SCHEMA_KINDS = ("Kustomization", "Component")


def documents() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield path, document


OBJECTS = [found for _, found in documents() if found["kind"] not in SCHEMA_KINDS]


def of(kind: str, name: str = "seqel") -> dict[str, Any]:
    (found,) = [one for one in OBJECTS if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def pods() -> dict[str, dict[str, Any]]:
    return {
        "service": of("Deployment")["spec"]["template"],
        "proxy": of("Deployment", "seqel-proxy")["spec"]["template"],
        "redis": of("StatefulSet", "seqel-redis")["spec"]["template"],
    }


def container() -> dict[str, Any]:
    (found,) = pods()["service"]["spec"]["containers"]
    return dict(found)


def settings() -> dict[str, str]:
    generated, _ = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())["configMapGenerator"]
    assert {"configMapRef": {"name": generated["name"]}} in container()["envFrom"]
    return dict(one.split("=", 1) for one in generated["literals"])


def command_line() -> list[str]:
    """Return the arguments of the service as the pod gets them."""
    values = settings() | {"REDIS_URL": "redis://:secret@seqel-redis:6379/0"}
    return [re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], one) for one in container()["args"]]


def test_every_file_is_in_a_kustomization() -> None:
    for path, document in documents():
        if document["kind"] not in SCHEMA_KINDS:
            folder = yaml.safe_load((path.parent / "kustomization.yaml").read_text())
            assert path.name in folder["resources"], path
            assert document["apiVersion"]


def test_the_arguments_are_those_of_seqel_serve() -> None:
    parsed = tyro.cli(Arguments, args=command_line())
    assert parsed.run == Path("/models/agent.onnx")
    assert parsed.host == "0.0.0.0"
    assert parsed.redis.startswith("redis://")
    assert parsed.sessions == 20_000
    used = set(re.findall(r"\$\((\w+)\)", " ".join(container()["args"])))
    assert used - {"REDIS_URL"} == set(settings()), "a setting that nothing reads, or that is not set"


def test_selectors_match_the_labels_of_one_kind_of_pod() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods().items()}
    assert len({str(one) for one in labels.values()}) == 3

    def matched(selector: dict[str, str]) -> list[str]:
        return [name for name, has in labels.items() if selector.items() <= has.items()]

    for kind, name, expected in (
        ("Deployment", "seqel", "service"),
        ("Deployment", "seqel-proxy", "proxy"),
        ("StatefulSet", "seqel-redis", "redis"),
        ("PodDisruptionBudget", "seqel", "service"),
        ("PodDisruptionBudget", "seqel-proxy", "proxy"),
        ("PodMonitor", "seqel", "service"),
    ):
        assert matched(of(kind, name)["spec"]["selector"]["matchLabels"]) == [expected], (kind, name)
    for name, expected in (("seqel", "proxy"), ("seqel-replicas", "service"), ("seqel-redis", "redis")):
        assert matched(of("Service", name)["spec"]["selector"]) == [expected], name
    for name, expected in (("seqel", "service"), ("seqel-proxy", "proxy"), ("seqel-redis", "redis")):
        assert matched(of("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"]) == [expected], name
    (spread,) = pods()["service"]["spec"]["topologySpreadConstraints"]
    assert matched(spread["labelSelector"]["matchLabels"]) == ["service"]


def test_ports_are_named_where_they_are_used() -> None:
    (port,) = container()["ports"]
    parsed = tyro.cli(Arguments, args=command_line())
    assert port == {"name": "http", "containerPort": parsed.port}
    assert of("Service", "seqel-replicas")["spec"]["ports"][0]["targetPort"] == "http"
    (proxy,) = pods()["proxy"]["spec"]["containers"]
    assert of("Service")["spec"]["ports"][0]["targetPort"] in [one["name"] for one in proxy["ports"]]
    assert {"name": "SEQEL_SITE", "value": f"http://:{proxy['ports'][0]['containerPort']}"} in proxy["env"]
    assert {"name": "SEQEL_UPSTREAM", "value": "seqel-replicas"} in proxy["env"]
    assert f"}} {parsed.port} {{" in (KUBERNETES / "base" / "Caddyfile").read_text(), "the port of the replicas"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container()[probe]["httpGet"]["port"] == "http"
    assert of("PodMonitor")["spec"]["podMetricsEndpoints"][0]["port"] == "http"
    (redis,) = pods()["redis"]["spec"]["containers"]
    assert redis["ports"] == [{"name": "redis", "containerPort": 6379}]
    assert of("Service", "seqel-redis")["spec"]["ports"][0]["port"] == 6379
    assert of("StatefulSet", "seqel-redis")["spec"]["serviceName"] == "seqel-redis"


def test_probes_and_metrics_are_routes_of_the_service() -> None:
    found = routes()
    assert container()["startupProbe"]["httpGet"]["path"] in found
    assert container()["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert container()["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert {"/v2/health/live", "/v2/health/ready"} <= found
    assert of("PodMonitor")["spec"]["podMetricsEndpoints"][0]["path"] in found


def test_a_pod_has_time_to_answer_what_is_open() -> None:
    from seqel.serving.running import GRACE

    pod = pods()["service"]["spec"]
    (_, drain) = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > int(drain) + GRACE
    assert int(drain) >= container()["readinessProbe"]["periodSeconds"]


def test_readiness_outlasts_the_wait_for_redis() -> None:
    from seqel.serving.sessions.redis import WAIT

    assert container()["readinessProbe"]["timeoutSeconds"] > WAIT


def test_pods_have_few_rights() -> None:
    for name, pod in pods().items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in spec["containers"]:
            rights = one["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["capabilities"]["drop"] == ["ALL"]
            assert rights["capabilities"].get("add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
            assert one["resources"]["requests"]
            assert one["resources"]["limits"]["memory"]


def test_what_a_pod_mounts_is_there() -> None:
    claims = {one["metadata"]["name"] for one in of("StatefulSet", "seqel-redis")["spec"]["volumeClaimTemplates"]}
    for name, pod in pods().items():
        volumes = {one["name"] for one in pod["spec"].get("volumes", [])} | (claims if name == "redis" else set())
        assert {one["name"] for each in pod["spec"]["containers"] for one in each["volumeMounts"]} == volumes
    keys = next(one for one in container()["args"] if one.startswith("--keys=")).partition("=")[2]
    assert str(Path(keys).parent) in [one["mountPath"] for one in container()["volumeMounts"]]


def test_redis_keeps_every_step() -> None:
    (redis,) = pods()["redis"]["spec"]["containers"]
    given = dict(zip(redis["args"][::2], redis["args"][1::2], strict=True))
    assert given["--appendonly"] == "yes"
    assert given["--appendfsync"] in ("everysec", "always")
    assert given["--dir"] in [one["mountPath"] for one in redis["volumeMounts"]]
    assert given["--maxmemory-policy"] == "noeviction"
    assert given["--requirepass"] == "$(REDIS_PASSWORD)"


def test_the_report_reads_what_the_replicas_log() -> None:
    """The command line is that of `seqel monitor`; both mount the same volume; the pod has few rights and asks no one."""
    component = yaml.safe_load((KUBERNETES / "components" / "report" / "kustomization.yaml").read_text())
    patch = {one["path"].split("/")[-2]: one["value"] for one in yaml.safe_load(component["patches"][0]["patch"])}
    job = of("CronJob", "seqel-report")["spec"]["jobTemplate"]["spec"]
    spec = job["template"]["spec"]
    (made,) = spec["containers"]
    assert made["command"] == ["seqel", "monitor", "report"] and made["image"] == container()["image"]
    parsed = tyro.cli(OfMonitor, args=["report", *made["args"]])
    assert parsed.what == ("report", container()["args"][0])
    served = tyro.cli(Arguments, args=[*command_line(), patch["args"].replace("$(POD_NAME)", "seqel-1")])
    assert served.decisions is not None and fnmatch.fnmatch(str(served.decisions), parsed.decisions[0])
    assert patch["env"]["name"] == "POD_NAME"
    assert patch["volumeMounts"] in made["volumeMounts"] and patch["volumes"] in spec["volumes"]
    assert {one["name"] for one in made["volumeMounts"]} == {one["name"] for one in spec["volumes"]}
    claim = of("PersistentVolumeClaim", "seqel-decisions")
    assert patch["volumes"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert parsed.html is not None and parsed.html.is_relative_to("/decisions") and parsed.html.suffix == ".html"
    assert parsed.fail_on_drift and job["backoffLimit"] == 0, "a second try would only find the same drift"
    assert spec["securityContext"] == pods()["service"]["spec"]["securityContext"]
    assert made["securityContext"] == container()["securityContext"] and made["resources"]["limits"]["memory"]
    assert spec["automountServiceAccountToken"] is False
    policy = of("NetworkPolicy", "seqel-report")["spec"]
    assert policy["podSelector"]["matchLabels"] == job["template"]["metadata"]["labels"]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and not {"ingress", "egress"} & set(policy)


def test_no_secret_is_in_a_manifest() -> None:
    assert not [one for one in OBJECTS if one["kind"] == "Secret"]


def test_autoscalers_ask_for_metrics_that_the_service_has() -> None:
    rendered = ServiceMetrics().render().decode()
    queries = [
        one["metadata"]["query"] for one in of("ScaledObject")["spec"]["triggers"] if one["type"] == "prometheus"
    ]
    names = {name for query in queries for name in re.findall(r"\bseqel_\w+", query)}
    assert names == {"seqel_sessions_open", "seqel_queue_length"}
    for name in names:
        assert re.search(rf"^{name}(\{{| )", rendered, re.MULTILINE), name
    (relabeling,) = of("PodMonitor")["spec"]["podMetricsEndpoints"][0]["relabelings"]
    assert relabeling["targetLabel"] == "job"
    assert all(f'job="{relabeling["replacement"]}"' in query for query in queries)


def test_autoscalers_scale_the_deployment_and_never_both() -> None:
    deployment = of("Deployment")
    assert "replicas" not in deployment["spec"], "kubectl apply would undo what the autoscaler has set"
    target = of("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert of("ScaledObject")["spec"]["scaleTargetRef"] == {"name": deployment["metadata"]["name"]}
    requests = container()["resources"]["requests"]
    assert "cpu" in requests, "utilisation is a share of the request"
    assert of("HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2
    assert of("ScaledObject")["spec"]["minReplicaCount"] >= 2


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(
    ("folder", "scaler"),
    [
        ("base", "HorizontalPodAutoscaler"),
        ("overlays/keda", "ScaledObject"),
        ("overlays/report", "HorizontalPodAutoscaler"),
    ],
)
def test_kustomize_builds_them(folder: str, scaler: str) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    kinds = [one["kind"] for one in built]
    assert [kind for kind in kinds if kind in ("HorizontalPodAutoscaler", "ScaledObject")] == [scaler]
    assert all(one["metadata"].get("namespace") == "seqel" for one in built if one["kind"] != "Namespace")
    (deployment,) = [one for one in built if one["kind"] == "Deployment" and one["metadata"]["name"] == "seqel"]
    (config,) = [one["metadata"]["name"] for one in built if one["metadata"]["name"].startswith("seqel-settings-")]
    (made,) = deployment["spec"]["template"]["spec"]["containers"]
    assert made["envFrom"] == [{"configMapRef": {"name": config}}]
    assert made["image"].endswith("/seqel-agent:1")
    jobs = [one["spec"]["jobTemplate"]["spec"]["template"]["spec"] for one in built if one["kind"] == "CronJob"]
    assert len(jobs) == int(folder == "overlays/report")
    if jobs:
        assert jobs[0]["containers"][0]["image"] == made["image"], "the agent that is served"
        assert (
            made["args"][-1] == "--decisions=/decisions/$(POD_NAME).jsonl" and made["args"][0] == "/models/agent.onnx"
        )
        assert {one["name"] for one in made["env"]} == {"REDIS_URL", "POD_NAME"}


def test_the_proxy_is_that_of_compose() -> None:
    assert (KUBERNETES / "base" / "Caddyfile").read_text() == (DEPLOY / "compose" / "Caddyfile").read_text()
