"""Recommendation as a task: users and items fitted to real ratings, and visits whose end depends on what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.tasks.recommend.environment import Recommend
    from seqel.tasks.recommend.factors import Factors, fit_factors, read_ratings
    from seqel.tasks.recommend.recording import record_visits
    from seqel.tasks.recommend.users import Behaviour, Users

__all__ = ["Behaviour", "Factors", "Recommend", "Users", "fit_factors", "read_ratings", "record_visits"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Recommend": "seqel.tasks.recommend.environment",
        "Factors": "seqel.tasks.recommend.factors",
        "fit_factors": "seqel.tasks.recommend.factors",
        "read_ratings": "seqel.tasks.recommend.factors",
        "record_visits": "seqel.tasks.recommend.recording",
        "Behaviour": "seqel.tasks.recommend.users",
        "Users": "seqel.tasks.recommend.users",
    },
)
