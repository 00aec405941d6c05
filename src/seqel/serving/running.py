"""Runs a service in this process: loads the agent, opens the port, and stops in good order."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seqel.errors import ConfigError, SeqelError
from seqel.extras import require
from seqel.monitoring.metrics import ServiceMetrics
from seqel.safety.audit import AuditLog, key_from_environment
from seqel.safety.review import ReviewQueueFile
from seqel.serving.config import ServiceConfig
from seqel.serving.errors import InvalidRequest, NotFound
from seqel.serving.http.app import make_app
from seqel.serving.http.gate import Application
from seqel.serving.http.keys import Keys
from seqel.serving.http.logs import JsonLog
from seqel.serving.loading import BackendName, load_served
from seqel.serving.observing import DecisionLog
from seqel.serving.served import Served
from seqel.serving.service import Service
from seqel.serving.sessions.memory import MemoryStore
from seqel.serving.sessions.redis import RedisStore

__all__ = ["make_service", "serve"]

# Thresholds of the garbage collector: allocations per look at the young objects, and looks before a look at the older ones.
# Python's own (700, 10, 10) make it look through all open requests and sessions again and again, a fifth of the capacity.
GARBAGE = 5_000, 20, 1_000
GRACE = 30  # seconds in which open requests are answered when the service stops
FOLDER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


def make_service(
    path: Path,
    config: ServiceConfig,
    *,
    redis: str = "",
    keys: Path | None = None,
    repository: Path | None = None,
    backend: BackendName = "auto",
    device: str = "auto",
    threads: int = 1,
    log: JsonLog | None = None,
    decisions: Path | None = None,
    audit: Path | None = None,
    review: Path | None = None,
    name: str = "",
    ready: Callable[[Service], None] | None = None,
) -> tuple[Application, Service]:
    """Return the application that serves the agent in `path`, and its service.

    redis: the address of the store of sessions; "": in this process. repository: a folder whose subfolders can be loaded by
    name. decisions: the file that decisions are added to. audit: the log in which a change shows (`seqel.safety.audit`),
    signed with the key in the environment variable SEQEL_AUDIT_KEY if it is set. review: the queue of what the agent abstains
    from (`seqel.safety.review`). ready: is called when the first agent is loaded.
    """
    log = log or JsonLog(level="warning")
    make = (lambda: RedisStore(redis, config.sessions, config.time_to_live)) if redis else (
        lambda: MemoryStore(config.sessions, config.time_to_live)
    )  # fmt: skip
    service = Service(make(), ServiceMetrics(), config)
    written = None if decisions is None else DecisionLog(decisions)
    chained = None if audit is None else AuditLog(audit, key_from_environment())
    queue = None if review is None else ReviewQueueFile(review)
    lock = asyncio.Lock()

    def read(place: Path) -> Served:
        return load_served(place, service, backend=backend, device=device, threads=threads, log=written,
                           audit=chained, review=queue)  # fmt: skip

    def include(served: Served) -> str:
        if served.version not in service.agents:
            service.add(served)
        log.write("info", "loaded", agent=served.version, source=served.source)
        return served.version

    async def add(place: Path) -> str:
        async with lock:  # one at a time: loading takes memory
            return include(await asyncio.to_thread(read, place))

    async def load(folder: str | None) -> str:
        place = path
        if folder is not None:
            if repository is None or not FOLDER.fullmatch(folder):
                raise InvalidRequest("name: expected the name of a folder in the repository (--repository)")
            place = repository / folder
            if not place.is_dir() or place.resolve().parent != repository.resolve():
                raise NotFound(f"no folder {folder!r} in the repository")
        try:
            return await add(place)
        except SeqelError as error:
            raise InvalidRequest(f"{place.name}: {error}") from error

    async def reload() -> None:
        try:
            service.activate(await add(path))
        except SeqelError as error:
            log.write("error", "reload failed", error=str(error))

    include(read(path))

    async def prepare() -> None:
        if ready is not None:
            ready(service)
        tasks: set[asyncio.Task[None]] = set()

        def on_hangup() -> None:
            task = asyncio.create_task(reload())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        with suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread, or no such signal
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup)

    model = re.sub(r"[^A-Za-z0-9._-]+", "-", name or path.resolve().name.removesuffix(".onnx"))
    return make_app(service, name=model, keys=Keys(keys), log=log, load=load, prepare=prepare), service


@contextmanager
def _stop_on_signals(server: Any) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the server in good order. Uvicorn's own way raises the signal again afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(application: Application, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; open requests are then answered first.

    Raises ConfigError if the address cannot be used.
    """
    server = make_server(application, host, port)
    gc.collect()
    gc.set_threshold(*GARBAGE)
    gc.freeze()  # what is loaded stays: looking through it for garbage would hold up all requests for 0.3 s now and then
    server.capture_signals = lambda: _stop_on_signals(server)
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not start
        raise ConfigError(
            f"expected a free address, got {host}:{port}: it is in use, or not one of this machine"
        ) from error
    if not server.started:
        raise ConfigError(f"the service could not start on {host}:{port}")


def make_server(application: Application, host: str, port: int) -> Any:
    """Return a `uvicorn.Server` of an application from `make_service`, which is not yet running."""
    uvicorn = require("uvicorn", "serve", "a service")
    require("httptools", "serve", "a service")
    from seqel.serving.http.protocol import AdmittingProtocol

    settings: dict[str, Any] = {
        "host": host, "port": port, "log_config": None, "access_log": False, "lifespan": "on", "server_header": False,
        "timeout_graceful_shutdown": GRACE, "timeout_keep_alive": 75, "date_header": True,
        "http": AdmittingProtocol, "ws": "none",
    }  # fmt: skip
    return uvicorn.Server(uvicorn.Config(application, **settings))
