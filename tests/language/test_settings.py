"""How the base policy is kept while values are fitted: cloning for texts, distillation for answers to prompts."""

from __future__ import annotations

import pytest

from seqel.language.settings import settings_for, settings_of_values


@pytest.mark.parametrize(
    ("partial", "pairs", "cloning", "distillation"),
    [(False, False, 1.0, 0.0), (True, False, 1.0, 0.0), (False, True, 0.0, 4.0), (True, True, 0.0, 20.0)],
)
def test_the_base_policy_is_cloned_for_texts_and_distilled_for_pairs(
    partial: bool, pairs: bool, cloning: float, distillation: float
) -> None:
    found = settings_for("q-sharp", 100, None, partial) | settings_of_values("q-sharp", partial, pairs)
    assert found["objective.cloning_weight"] == cloning
    assert found.get("objective.distillation_weight", 0.0) == distillation


def test_ilql_clones_in_either_case() -> None:
    assert settings_of_values("ilql", False, pairs=True) == settings_of_values("ilql", True, pairs=False)
