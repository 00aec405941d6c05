"""The versions of agents in a service: which one is active, which one was before, and whose sessions each takes over."""

from __future__ import annotations

from collections import OrderedDict

from seqel.errors import ConfigError
from seqel.monitoring.metrics import ServiceMetrics
from seqel.serving.config import OnSwap
from seqel.serving.errors import InvalidRequest, NotFound, Unavailable
from seqel.serving.served import Served

__all__ = ["Versions"]


class Versions:
    """Agents by version. The first one that is added is active: it decides new sessions.

    on_swap: "keep": open sessions stay with their agent when another one becomes active; "rebuild": they move to it.
    """

    def __init__(self, on_swap: OnSwap, metrics: ServiceMetrics) -> None:
        self.on_swap, self.metrics = on_swap, metrics
        self.agents: OrderedDict[str, Served] = OrderedDict()
        self.active, self.previous = "", ""

    def add(self, served: Served) -> None:
        """Add a version of an agent; the first one becomes active.

        Raises ConfigError if open sessions would move to it (`on_swap` = "rebuild") but it observes or acts otherwise.
        """
        if self.agents and self.on_swap == "rebuild":
            now, new = self.agents[self.active].backend, served.backend
            if (now.observation_spec, now.action_spec) != (new.observation_spec, new.action_spec):
                raise ConfigError(
                    f"agent {served.version}: expected the observations and actions of {self.active}, so that open sessions "
                    "can move to it; or start the service with --on-swap keep"
                )
        self.agents[served.version] = served
        self.active = self.active or served.version

    def adopts(self, version: str, agent: str) -> bool:
        """Return whether `version` takes over sessions of another agent: those that must move to the active one."""
        return version == self.active and (self.on_swap == "rebuild" or agent not in self.agents)

    def activate(self, version: str) -> None:
        """Let a version decide new sessions, and open ones too if `on_swap` = "rebuild". Raises NotFound."""
        self.agent(version)
        if version != self.active:
            self.active, self.previous = version, self.active
            self.metrics.swap(version)

    def rollback(self) -> str:
        """Activate the version that was active before, and return its name. Raises NotFound if there is none."""
        if self.previous not in self.agents:
            raise NotFound("no agent was active before this one")
        self.activate(self.previous)
        return self.active

    async def remove(self, version: str) -> None:
        """Stop a version; its sessions move to the active one. Raises InvalidRequest if it is active itself."""
        served = self.agent(version)
        if version == self.active:
            raise InvalidRequest(f"agent {version!r} is active: activate another one first")
        del self.agents[version]
        await served.batcher.stop()

    def agent(self, version: str = "") -> Served:
        """Return a version, by default the active one. Raises NotFound, or Unavailable while there is none."""
        if not self.agents:
            raise Unavailable("no agent is loaded yet")
        found = self.agents.get(version or self.active)
        if found is None:
            raise NotFound(f"no agent {version!r:.80}; there are {', '.join(self.agents)}")
        return found
