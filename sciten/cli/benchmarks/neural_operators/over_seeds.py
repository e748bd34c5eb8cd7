"""Trainings with several seeds, as reports have them."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np


def summary(errors: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    spread = float(np.std(errors, ddof=1)) if len(errors) > 1 else 0.0
    return {"mean": float(np.mean(errors)), "spread": spread, "by_seed": list(errors)}


def program(seconds: Sequence[float], parameters: int, error: float) -> dict[str, Any]:
    """Times by seed, size and error of one program."""
    times = [1e3 * one for one in seconds]
    return {
        "ms": {"min": min(times), "median": statistics.median(times), "max": max(times)},
        "error": error,
        "parameters": parameters,
    }
