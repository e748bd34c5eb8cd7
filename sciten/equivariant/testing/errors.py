"""What the checks raise, and what they compare."""

import torch
from torch import Tensor

from sciten.errors import SciTenError

#: Largest deviation from the reference that is allowed, relative to the largest value: of values, and of derivatives
#: of first, second and third order. In float32 the products here reach 1e-6, 1e-5, 3e-5 and 1e-5.
TOLERANCES = {torch.float64: (1e-10,) * 4, torch.float32: (1e-5, 5e-5, 2e-4, 2e-4)}
ORDINALS = ("values", "first derivatives", "second derivatives", "third derivatives")


class ConformanceError(SciTenError, AssertionError):
    """A product or an executor is not what it should be; the message says what deviates, by how much, and where."""


def deviation(found: Tensor, expected: Tensor, scale: Tensor | None = None) -> float:
    """The largest difference over the largest value expected (or over `scale`); infinite for what is no number."""
    if found.shape != expected.shape or not bool(torch.isfinite(found).all()):
        return float("inf")
    if not found.numel():
        return 0.0
    difference = float((found.double() - expected.double()).abs().max())
    largest = float((expected if scale is None else scale).detach().double().abs().max())
    return difference / largest if largest > 0 else difference
