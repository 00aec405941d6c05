"""Functions of a policy head's logits."""

from __future__ import annotations

import torch

from seqel.values.policy import support_mask


def test_supported_keeps_what_is_likely_enough_and_is_never_empty() -> None:
    logits = torch.tensor([0.5, 0.3, 0.14, 0.06]).log()
    assert support_mask(logits, 0.3).tolist() == [True, True, False, False]
    mask = torch.tensor([False, False, True, True])
    assert support_mask(logits, 0.3, mask).tolist() == [False, False, True, True], "relative to what is allowed"
    assert support_mask(logits, 1.0, mask).tolist() == [False, False, True, False]
