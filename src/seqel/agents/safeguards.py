"""The part of an `Agent` that keeps its decisions within bounds: rules that veto actions, and a threshold of abstention."""

from __future__ import annotations

from typing import Any, cast

from seqel.agents.calibration import ABSTENTION, abstention_in
from seqel.agents.info import AgentInfo
from seqel.agents.shielding import compile_shield, shield_in
from seqel.agents.uncertainty import choose_measure
from seqel.networks.qnetwork import QNetwork
from seqel.safety.abstention import Abstention
from seqel.safety.shield import Shield

__all__ = ["Safeguards"]


class Safeguards:
    """Holds the shield and the threshold that `info` describes."""

    network: QNetwork
    info: AgentInfo
    shield: Shield | None
    abstention: Abstention | None  # None: not calibrated

    def _read_safeguards(self) -> None:
        """Raises ConfigError if the description does not fit the network."""
        spec = self.network.action_spec
        self.shield = shield_in(self.info, self.network.observation_spec, spec)
        self.abstention = abstention_in(self.info)
        if self.abstention is not None:
            choose_measure(self.network.config, spec.dims, self.abstention.measure)

    def set_shield(self, rules: str) -> None:
        """Replace the shield by one with these rules (TOML); "" removes it. States made before cannot be used any more.

        A calibration of abstention is removed, because decisions change. Raises ConfigError if the rules are invalid; the
        agent is then unchanged.
        """
        network = self.network
        self.shield = compile_shield(rules, network.observation_spec, network.action_spec, self.info) if rules else None
        self._describe("shield", rules or None)
        self.set_abstention(None)

    def set_abstention(self, abstention: Abstention | None) -> None:
        """Replace the threshold of abstention; None removes it. Raises ConfigError if the network lacks its measure."""
        if abstention is not None:
            choose_measure(self.network.config, self.network.action_spec.dims, abstention.measure)
        self.abstention = abstention
        self._describe(ABSTENTION, None if abstention is None else abstention.to_json())

    def _describe(self, name: str, value: Any) -> None:
        kept = {key: one for key, one in self.info.items() if key != name}
        self.info = cast(AgentInfo, kept | ({} if value is None else {name: value}))
