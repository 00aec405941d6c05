"""Off-policy evaluation: estimates, from recorded episodes alone, of what a policy would earn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.ope.estimation import OffPolicyEvaluation, PolicyValue
    from seqel.ope.estimation import estimate_policies as estimate
    from seqel.ope.policies import AgentPolicy, BehaviourPolicy, ConstantAction, Policy

__all__ = [
    "AgentPolicy",
    "BehaviourPolicy",
    "ConstantAction",
    "OffPolicyEvaluation",
    "Policy",
    "PolicyValue",
    "estimate",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "AgentPolicy": "seqel.ope.policies",
        "BehaviourPolicy": "seqel.ope.policies",
        "ConstantAction": "seqel.ope.policies",
        "OffPolicyEvaluation": "seqel.ope.estimation",
        "Policy": "seqel.ope.policies",
        "PolicyValue": "seqel.ope.estimation",
        "estimate": "seqel.ope.estimation:estimate_policies",
    },
)
