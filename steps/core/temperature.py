"""Probabilities at another temperature: above 1 all are less sure, below 1 surer.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599. What is divided by
the temperature are logits, which probabilities give up to a constant that makes no difference.
"""

from typing import Any

import numpy as np

FLOOR = 1e-12  # a probability of 0 has no logit
Array = np.ndarray[Any, np.dtype[Any]]


def scaled(probabilities: Array, temperature: float, each: bool = False) -> Array:
    """(..., classes): shares of 1, or where `each` stands for itself, of a yes.

    None overtakes another, nor one half; but neighbours may become equal in float64.
    """
    likely = np.log(np.maximum(np.asarray(probabilities, np.float64), FLOOR))
    if each:
        unlikely = np.log(np.maximum(1 - np.asarray(probabilities, np.float64), FLOOR))
        yes: Array = 1 / (1 + np.exp((unlikely - likely) / temperature))
        return yes
    logits = likely / temperature
    shares: Array = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    total: Array = shares.sum(axis=-1, keepdims=True)
    return np.asarray(shares / total)
