"""Customer service as a task: what customers say, what outcomes cost, the environment, and scripted players."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.tasks.customers.costs import Costs
    from seqel.tasks.customers.metrics import CustomerServiceMetrics, RecordCustomers
    from seqel.tasks.customers.service import CustomerService, Setting
    from seqel.tasks.customers.shortlist import Shortlist, classifier_of
    from seqel.tasks.customers.utterances import Utterances, read_banking77, read_clinc150, read_tnews, read_utterances

__all__ = [
    "Costs",
    "CustomerService",
    "CustomerServiceMetrics",
    "RecordCustomers",
    "Setting",
    "Shortlist",
    "Utterances",
    "classifier_of",
    "read_banking77",
    "read_clinc150",
    "read_tnews",
    "read_utterances",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Costs": "seqel.tasks.customers.costs",
        "CustomerService": "seqel.tasks.customers.service",
        "CustomerServiceMetrics": "seqel.tasks.customers.metrics",
        "RecordCustomers": "seqel.tasks.customers.metrics",
        "Setting": "seqel.tasks.customers.service",
        "Shortlist": "seqel.tasks.customers.shortlist",
        "Utterances": "seqel.tasks.customers.utterances",
        "classifier_of": "seqel.tasks.customers.shortlist",
        "read_banking77": "seqel.tasks.customers.utterances",
        "read_clinc150": "seqel.tasks.customers.utterances",
        "read_tnews": "seqel.tasks.customers.utterances",
        "read_utterances": "seqel.tasks.customers.utterances",
    },
)
