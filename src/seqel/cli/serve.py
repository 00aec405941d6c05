"""`seqel serve`: an agent behind HTTP, with sessions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from seqel.cli.arguments import Json
from seqel.errors import ConfigError

if TYPE_CHECKING:
    from seqel.cli.output import Output
    from seqel.serving.service import Service

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Serve an agent over HTTP. The service keeps each session's history, and batches the steps of many sessions."

EXAMPLES = """
A client opens a session and takes one step after another; the service keeps the history of each session. Use the page at
http://HOST:PORT/ to try the agent by hand. /openapi.json describes the interface, /metrics is for Prometheus, and
/v2/models/NAME/infer is the Open Inference Protocol. On Ctrl-C or SIGTERM, the service answers open requests and stops; on
SIGHUP, it loads the agent again.

Sessions are kept in this process. With --redis they survive the process, and several replicas can serve them.
--keys FILE has a line "NAME KEY" or "NAME KEY admin" for each client. Without it, anyone who can reach the port can use the
service: keep it on this machine (the default host), or behind a proxy.

examples:
  seqel serve runs/demo
  seqel serve runs/demo --redis redis://localhost:6379/0 --host 0.0.0.0 --keys keys.txt
  seqel serve runs/demo --repository agents --on-swap rebuild
  curl -X POST localhost:8000/v1/sessions -d '{"session": "anna"}'
  curl -X POST localhost:8000/v1/sessions/anna/act -d '{"observation": [0.1, 0.0, -0.2, 0.0]}'
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel serve`."""

    run: Annotated[
        Positional[Path], arg(metavar="RUN", help="the folder of a run or of an agent, or an exported file (.onnx)")
    ]
    host: Annotated[str, arg(metavar="HOST", help="address to listen on; 0.0.0.0: all")] = "127.0.0.1"
    port: Annotated[int, arg(metavar="PORT", help="port to listen on")] = 8000
    redis: Annotated[str, arg(metavar="URL", help="store of sessions, such as redis://HOST:6379/0 (default: in memory)",
                              help_behavior_hint="")] = ""  # fmt: skip
    keys: Annotated[Path | None, arg(metavar="FILE", help="API keys", help_behavior_hint="(default: none needed)")] = (
        None
    )
    repository: Annotated[
        Path | None,
        arg(metavar="DIR", help="a folder of agents that can be loaded while the service runs", help_behavior_hint=""),
    ] = None
    name: Annotated[
        str, arg(metavar="NAME", help="name of the model in /v2", help_behavior_hint="(default: that of the folder)")
    ] = ""
    backend: Annotated[
        Literal["auto", "onnx", "torch"],
        arg(help="onnx: several times as fast as torch on a CPU; auto: onnx if the agent can be exported"),
    ] = "auto"
    device: Annotated[str, arg(metavar="DEVICE", help="device of torch: cpu, cuda, auto")] = "auto"
    threads: Annotated[int, arg(metavar="N", help="threads that compute one batch")] = 1
    sessions: Annotated[
        int, arg(metavar="N", help="maximum of open sessions; a new one evicts the one that was idle longest")
    ] = 10_000
    time_to_live: Annotated[
        float, arg(metavar="SECONDS", help="time after its last step at which a session expires")
    ] = 1_800.0
    memory: Annotated[
        float, arg(metavar="GIB", help="size of the cache of keys and values; others are rebuilt when needed")
    ] = 1.0
    batch: Annotated[int, arg(metavar="N", help="steps computed together; 2 N if more wait")] = 32
    queue: Annotated[int, arg(metavar="N", help="steps that may wait; more are refused with status 503")] = 2_048
    wait: Annotated[
        float, arg(metavar="SECONDS", help="longest expected wait, by recent batches; more steps are refused")
    ] = 0.25
    timeout: Annotated[float, arg(metavar="SECONDS", help="longest time of a request")] = 10.0
    body: Annotated[int, arg(metavar="BYTES", help="maximum size of a request")] = 1 << 20
    rate: Annotated[float, arg(metavar="N", help="requests per second and client; 0: unlimited")] = 0.0
    on_swap: Annotated[
        Literal["keep", "rebuild"],
        arg(help="when another agent becomes active, open sessions keep theirs, or are rebuilt for the new one"),
    ] = "keep"
    decisions: Annotated[
        Path | None, arg(metavar="FILE", help="append every decision to this file (JSON lines)", help_behavior_hint="")
    ] = None
    audit: Annotated[
        Path | None,
        arg(metavar="FILE", help="append every decision to this tamper-evident log (see seqel audit)",
            help_behavior_hint=""),
    ] = None  # fmt: skip
    review: Annotated[
        Path | None,
        arg(metavar="FILE", help="append every step to this queue, for people to decide where the agent abstains (see seqel "
            "review)", help_behavior_hint=""),
    ] = None  # fmt: skip
    log: Annotated[
        Literal["debug", "info", "warning", "error"], arg(help="lowest level that is logged; info: every request")
    ] = "warning"
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Serve until Ctrl-C. Returns the counts of sessions and the agent that was active last."""
    from seqel.extras import require

    for module in ("fastapi", "uvicorn", "orjson", "prometheus_client"):
        require(module, "serve", "a service")
    from seqel.serving.config import ServiceConfig
    from seqel.serving.http.logs import JsonLog
    from seqel.serving.running import make_service, serve

    if not 0 < arguments.port < 1 << 16:
        raise ConfigError(f"--port: expected 1 to 65535, got {arguments.port}")
    if not arguments.run.exists():
        raise ConfigError(f"expected the folder of a run or an agent, or a file .onnx; {arguments.run} does not exist")
    config = ServiceConfig(
        sessions=arguments.sessions, time_to_live=arguments.time_to_live, memory=int(arguments.memory * (1 << 30)),
        batch=arguments.batch, queue=arguments.queue, wait=arguments.wait, timeout=arguments.timeout, body=arguments.body,
        rate=arguments.rate, on_swap=arguments.on_swap,
    )  # fmt: skip
    address = f"http://{arguments.host}:{arguments.port}"
    output.note(f"loading {arguments.run} ...")

    def ready(service: Service) -> None:
        served = service.agent()
        output.note(
            f"serving {served.version} with {served.backend.name} on {address} ({served.backend.slots:,} sessions in memory, "
            f"{served.backend.bytes_per_slot / 1024:,.1f} KiB each). Try the page at {address}/, or:"
        )
        for command in (
            f'curl -X POST {address}/v1/sessions -d \'{{"session": "anna"}}\'',
            f"curl -X POST {address}/v1/sessions/anna/act -d '{_example(service)}'",
        ):  # in one line each, so that they can be copied
            output.progress.print(f"  {command}", markup=False, soft_wrap=True)

    application, service = make_service(
        arguments.run, config, redis=arguments.redis, keys=arguments.keys, repository=arguments.repository,
        backend=arguments.backend, device=arguments.device, threads=arguments.threads, log=JsonLog(level=arguments.log),
        decisions=arguments.decisions, audit=arguments.audit,
        review=arguments.review, name=arguments.name, ready=ready,
    )  # fmt: skip
    serve(application, arguments.host, arguments.port)
    output.note("stopped")
    return {"agent": service.active, "address": address}


def _example(service: Service) -> str:
    """Return a first request that works as it stands."""
    import orjson

    from seqel.serving.example import example_observation

    served = service.agent()
    return orjson.dumps({"observation": example_observation(served)}).decode()
