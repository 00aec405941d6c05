"""Integrated gradients: slopes along the straight line from an episode of hidden steps to the real one."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from seqel.explanation.methods.base import Method
from seqel.explanation.methods.gradient import weighted_slopes
from seqel.explanation.question import Explained
from seqel.explanation.reading import Reading

__all__ = ["METHOD", "POINTS", "integrated_gradients"]

POINTS = 32  # of the way, by Gauss-Legendre quadrature


def integrated_gradients(reading: Reading, explained: Explained, points: int = POINTS) -> Tensor:
    """Return each step's part of the difference between the explained score and that with all steps hidden: (S, T+1).

    The parts of a decision sum to that difference, up to the error of the quadrature.
    Source: Sundararajan et al. 2017, arXiv:1703.01365. Differs: the inputs are tokens, and the baseline is the mean token at
    every step; Gauss-Legendre points in place of equal steps.
    """
    place, weight = np.polynomial.legendre.leggauss(points)
    return weighted_slopes(
        reading, explained, tuple(zip(((place + 1) / 2).tolist(), (weight / 2).tolist(), strict=True))
    )


METHOD = Method(
    "integrated gradients",
    "the step's part of the difference between the explained score and that with all steps hidden",
    integrated_gradients,
    signed=True,
    order=4,
)
