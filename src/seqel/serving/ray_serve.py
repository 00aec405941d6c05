"""The same service on Ray Serve, which adds and removes replicas by load. Needs the extra `scale`, and Redis for sessions.

    serve run seqel.serving.ray_serve:application run=agent.onnx redis=redis://HOST:6379/0 max_replicas=4

Every replica can answer every session, because sessions live in Redis. But a replica that takes a step of a session must
first compute those that others took. So clients should send the session's name in the header X-Session-Id: Ray's consistent
hashing then brings a session to the same replica as long as the number of replicas is the same.

A replica that is scaled down gets no new requests, answers those that it has, and then stops as `seqel serve` does on
SIGTERM. Ray checks that a replica's event loop responds, and starts another one in its place if it does not. The routes
/v2/health/ready and /metrics answer for one replica, the one that Ray chose for the request.

An audit log has one writer, so every replica writes logs of its own into a folder; a review queue may have several, so all
replicas add to one file.
"""

from __future__ import annotations

import os
import re
import socket
import time
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.errors import ConfigError
from seqel.extras import require
from seqel.safety.audit import KEY, key_from_environment
from seqel.serving.config import ServiceConfig
from seqel.serving.loading import BackendName

if TYPE_CHECKING:
    from seqel.serving.http.gate import Application, Message, Receive, Send

__all__ = ["BySessions", "Replica", "ScaleConfig", "application", "build"]

GRACE = 30.0  # seconds in which a replica that is scaled down answers what it has
SESSIONS_OPEN = "sessions_open"
LOGS = ("decisions", "audit")  # written by one process each
ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"


@dataclass(frozen=True, slots=True)
class ScaleConfig:
    """How many replicas Ray Serve runs, and what each may use. Raises ConfigError if a value is out of range.

    The number of replicas is that of ongoing requests, waiting ones included, divided by `target_ongoing_requests`; or, if it
    is larger, that of open sessions divided by `sessions_per_replica`.
    """

    min_replicas: int = 1
    max_replicas: int = 4
    target_ongoing_requests: float = 32.0  # per replica: half of a full batch
    sessions_per_replica: int = 0  # open sessions per replica, such as the slots of one; 0: they do not count
    upscale_delay: float = 10.0  # seconds for which more replicas must have been needed
    downscale_delay: float = 300.0  # seconds for which fewer replicas must have been enough
    look_back: float = (
        15.0  # seconds over which ongoing requests are averaged; more than the 10 after which Ray counts them
    )
    cpus: float = 1.0  # that Ray reserves for a replica
    gpus: float = 0.0
    route_by_session: bool = True  # by the header X-Session-Id; false: to a replica with few ongoing requests

    def __post_init__(self) -> None:
        for name, least in {
            "min_replicas": 1, "max_replicas": self.min_replicas, "target_ongoing_requests": 1e-3,
            "sessions_per_replica": 0, "upscale_delay": 0.0, "downscale_delay": 0.0, "look_back": 10.1, "cpus": 0.0,
            "gpus": 0.0,
        }.items():  # fmt: skip
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise ConfigError(f"{name}: expected at least {least}, got {value}")

    def autoscaling(self) -> dict[str, Any]:
        """Return Ray Serve's `autoscaling_config`."""
        found: dict[str, Any] = {
            "min_replicas": self.min_replicas, "max_replicas": self.max_replicas,
            "target_ongoing_requests": self.target_ongoing_requests, "upscale_delay_s": self.upscale_delay,
            "downscale_delay_s": self.downscale_delay, "look_back_period_s": self.look_back,
        }  # fmt: skip
        if self.sessions_per_replica:
            found["policy"] = {
                "policy_function": f"{__name__}:{BySessions.__name__}",
                "policy_kwargs": {"sessions_per_replica": self.sessions_per_replica},
            }
        return found

    def router(self) -> dict[str, Any]:
        """Return the arguments of a deployment that set its router; none where this Ray has no consistent hashing."""
        if not self.route_by_session:
            return {}
        try:
            found = find_spec(ROUTER.rpartition(".")[0])
        except ModuleNotFoundError:
            found = None
        return {} if found is None else {"request_router_config": {"request_router_class": ROUTER}}


class BySessions:
    """Ray Serve's policy for a service whose number of replicas also follows from its open sessions.

    Ray applies the limits and delays of `ScaleConfig` to what it returns.
    """

    def __init__(self, sessions_per_replica: int) -> None:
        self.sessions_per_replica = sessions_per_replica

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """Return the wanted number of replicas, and no state. context: ray.serve.config.AutoscalingContext."""
        by_requests = context.total_num_requests / context.config.target_ongoing_requests
        counts = (context.aggregated_metrics or {}).get(SESSIONS_OPEN, {})  # each replica counts those of all
        return max(by_requests, max(counts.values(), default=0.0) / self.sessions_per_replica), {}


class Replica:
    """One replica: Ray calls `__serve_build_asgi_app__` for the application, and runs its lifespan."""

    def __init__(self, run: str, config: dict[str, Any], options: dict[str, Any]) -> None:
        from seqel.serving.http.logs import JsonLog
        from seqel.serving.running import make_service

        options = dict(options)
        log = JsonLog(os.fdopen(os.dup(2), "wb"), options.pop("log"))  # Ray replaces sys.stderr
        if options.pop("signed") and key_from_environment() is None:
            raise ConfigError(
                f"audit: expected the key in {KEY} on this node too, as where the application was built, got none"
            )
        paths = {name: None if options[name] is None else Path(options[name]) for name in ("keys", *LOGS, "review")}
        mine = own_name()
        options |= paths | {name: path / mine for name in LOGS if (path := paths[name]) is not None}
        self._application, self.service = make_service(Path(run), ServiceConfig(**config), log=log, **options)

    def __serve_build_asgi_app__(self) -> Any:
        return _without_id(self._application)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return what `BySessions` decides by. Ray calls it every few seconds."""
        return {SESSIONS_OPEN: float(await self.service.sessions())}


def own_name() -> str:
    """Return a file name that no other replica has: the node, the process, and when it began."""
    node = re.sub(r"[^A-Za-z0-9.-]+", "-", socket.gethostname())[:60] or "node"
    return f"{node}-{os.getpid()}-{time.time_ns():x}.jsonl"


def _without_id(application: Application) -> Application:
    """Return the application without the header X-Request-ID in its answers: Ray's proxy adds the same one."""

    async def called(scope: Message, receive: Receive, send: Send) -> None:
        async def passed_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [one for one in message["headers"] if one[0] != b"x-request-id"]
            await send(message)

        await application(scope, receive, passed_on)

    return called


def build(
    run: Path | str,
    config: ServiceConfig | None = None,
    scaling: ScaleConfig | None = None,
    *,
    redis: str = "",
    keys: Path | str | None = None,
    name: str = "",
    backend: BackendName = "auto",
    device: str = "auto",
    threads: int = 1,
    log: str = "warning",
    decisions: Path | str | None = None,
    audit: Path | str | None = None,
    review: Path | str | None = None,
) -> Any:
    """Return a Ray Serve application, for `ray.serve.run`, that serves the agent in `run`.

    Args:
        run: the folder of a run or of an agent, or an exported file (.onnx), under the same path on every node of the
            cluster. An exported file needs no torch there.
        config: limits of each replica.
        scaling: how many replicas there are.
        redis: the address of the store of sessions, such as redis://HOST:6379/0; "" is allowed for a single replica.
        keys: the file of API keys, on every node.
        name, backend, device, threads, log: as in `seqel serve`.
        decisions, audit: a folder on every node, in which each replica writes a file of its own: decisions for `seqel monitor
            report`, and audit logs for `seqel audit verify`. If SEQEL_AUDIT_KEY is set here, it must be set on every node,
            and signs the logs.
        review: the file of a review queue, to which all replicas add. It must be the same file on every node.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: there may be several replicas, but no `redis`; or SEQEL_AUDIT_KEY is too short.
    """
    serve = require("ray.serve", "scale", "Ray Serve")
    config, scaling = config or ServiceConfig(), scaling or ScaleConfig()
    if scaling.max_replicas > 1 and not redis:
        raise ConfigError(
            "redis: expected an address such as redis://HOST:6379/0, because several replicas share the sessions, got none"
        )
    files = {"keys": keys, "decisions": decisions, "audit": audit, "review": review}
    options = {
        "redis": redis, "name": name, "backend": backend, "device": device, "threads": threads, "log": log,
        "signed": audit is not None and key_from_environment() is not None,
    } | {key: None if path is None else str(Path(path).absolute()) for key, path in files.items()}  # fmt: skip
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="seqel",
        autoscaling_config=scaling.autoscaling(),
        ray_actor_options={"num_cpus": scaling.cpus, "num_gpus": scaling.gpus},
        max_ongoing_requests=config.queue,
        max_queued_requests=config.queue,  # at each proxy; more are refused with 503
        logging_config={"enable_access_log": False},  # the service writes its own
        graceful_shutdown_timeout_s=GRACE,
        graceful_shutdown_wait_loop_s=1.0,
        **scaling.router(),
    )
    return deployment.bind(str(Path(run).absolute()), asdict(config), options)


def application(arguments: dict[str, Any]) -> Any:
    """Return the application for `serve run` and `serve deploy`, whose arguments are texts or values of YAML.

    arguments: "run", and any field of `ServiceConfig`, `ScaleConfig`, or parameter of `build`, by name. Raises ConfigError
    for an unknown name or a value of the wrong type, and as `build`.
    """
    plain: dict[str, Any] = {"run": "", "redis": "", "keys": "", "name": "", "backend": "auto", "device": "auto"}
    plain |= {"threads": 1, "log": "warning"} | dict.fromkeys((*LOGS, "review"), "")
    config, scaling = ServiceConfig(), ScaleConfig()
    defaults: dict[str, Any] = plain | asdict(config) | asdict(scaling)
    unknown = sorted(set(arguments) - set(defaults))
    if unknown or not arguments.get("run"):
        raise ConfigError(f"expected run=PATH and any of {', '.join(defaults)}; got {', '.join(unknown) or 'no run'}")
    given = {key: _read(key, value, defaults[key]) for key, value in arguments.items()}

    def of(kind: Any) -> dict[str, Any]:
        return {field.name: given.pop(field.name) for field in fields(kind) if field.name in given}

    made, scaled = ServiceConfig(**of(ServiceConfig)), ScaleConfig(**of(ScaleConfig))
    files: dict[str, Any] = {name: given.pop(name, None) or None for name in ("keys", *LOGS, "review")}
    return build(given.pop("run"), made, scaled, **files, **given)


def _read(name: str, value: Any, default: Any) -> Any:
    """Return a value with the type of its default. Raises ConfigError."""
    kind = type(default)
    try:
        if kind is bool and isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        return kind(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{name}: expected {kind.__name__}, got {value!r:.80}") from error
