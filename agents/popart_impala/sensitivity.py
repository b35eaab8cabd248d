"""Average Fisher Sensitivity of a progressive network's columns (arXiv 1606.04671, section 3)."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np


class Moments(NamedTuple):
    """Sums over steps and positions for each feature of one layer in one column, float64 [C]."""

    positions: float  # steps times positions in an image
    value: np.ndarray  # of activations
    square: np.ndarray  # of squared activations
    derivative: np.ndarray  # of squared derivatives of log pi with respect to them

    def fisher(self) -> np.ndarray:
        """Mean squared derivative of log pi with respect to the features, scaled to variance 1."""
        variance = self.square / self.positions - (self.value / self.positions) ** 2
        return np.maximum(variance, 0.0) * self.derivative / self.positions


def moments(activation: jax.Array, derivative: jax.Array) -> Moments:
    """Sums activations [B, ..., C] and derivatives of the same shape."""
    h = np.asarray(activation, np.float64).reshape(-1, activation.shape[-1])
    g = np.asarray(derivative, np.float64).reshape(h.shape)
    return Moments(float(len(h)), h.sum(0), (h**2).sum(0), (g**2).sum(0))


def average_fisher_sensitivity(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Returns each column's share of the policy's sensitivity to one layer (section 3).

    Args:
      columns: the diagonal of the Fisher matrix for each column's features, each [C].

    Returns:
      float64 [num_columns]: each feature's shares over the columns, which sum to 1, averaged over
      the features that matter in any column; NaN if none does.
    """
    fisher = np.stack(columns)
    total = fisher.sum(axis=0)
    matters = total > 0
    if not matters.any():
        return np.full(len(columns), np.nan)
    return (fisher[:, matters] / total[matters]).mean(axis=1)
