"""A conformance suite for products and executors, to be run on one's own.

In a test of a product, `BilinearProduct` or any of `sciten.equivariant`::

    from sciten.equivariant.testing import check_derivatives, check_equivariance

    def test_mine():
        check_equivariance(MyProduct())
        check_derivatives(MyProduct(), reference=ClebschGordanProduct(2, 2, 2))

or all that apply, with a report: `print(check_product(MyProduct()))`; and for an executor, `check_executor(Mine())`.
Each check returns the largest deviation, and raises `ConformanceError`, an `AssertionError` of one sentence, where it
is too large. All random numbers come from seeds.
"""

from sciten.equivariant.testing.derivatives import (
    check_derivatives,
    check_finite_differences,
    check_hessian_symmetry,
)
from sciten.equivariant.testing.errors import ConformanceError
from sciten.equivariant.testing.executors import ExecutorCase, check_executor, executor_cases
from sciten.equivariant.testing.precision import check_low_precision, check_state
from sciten.equivariant.testing.recording import (
    check_compile,
    check_export,
    check_operator,
    check_recorded_derivatives,
)
from sciten.equivariant.testing.suite import Finding, Report, check_product
from sciten.equivariant.testing.symmetry import check_equivariance, check_variance

__all__ = [
    "ConformanceError",
    "ExecutorCase",
    "Finding",
    "Report",
    "check_compile",
    "check_derivatives",
    "check_equivariance",
    "check_executor",
    "check_export",
    "check_finite_differences",
    "check_hessian_symmetry",
    "check_low_precision",
    "check_operator",
    "check_product",
    "check_recorded_derivatives",
    "check_state",
    "check_variance",
    "executor_cases",
]
