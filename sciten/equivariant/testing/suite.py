"""All checks that apply to a product, one after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import Any

import torch

from sciten.equivariant.testing.derivatives import (
    check_derivatives,
    check_finite_differences,
    check_hessian_symmetry,
)
from sciten.equivariant.testing.errors import ConformanceError
from sciten.equivariant.testing.precision import check_low_precision, check_state
from sciten.equivariant.testing.recording import (
    check_compile,
    check_export,
    check_operator,
    check_recorded_derivatives,
)
from sciten.equivariant.testing.subjects import Subject
from sciten.equivariant.testing.symmetry import check_equivariance, check_variance


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: of the check.
        passed: whether the product passed.
        deviation: the largest one; NaN where the check failed, or had nothing to measure because the product refuses.
        message: why it failed; empty where it passed.
    """

    name: str
    passed: bool
    deviation: float
    message: str = ""

    @property
    def refused(self) -> bool:
        """Whether the product may refuse what was asked of it (half precision), and does."""
        return self.passed and isnan(self.deviation)

    def __str__(self) -> str:
        """What came of it."""
        if not self.passed:
            return f"FAILED: {self.message}"
        return "refused, in one sentence" if self.refused else f"passed, {self.deviation:.1e}"


@dataclass(frozen=True)
class Report:
    """What `check_product` found.

    Attributes:
        product: its name.
        findings: one for each check, in order.
    """

    product: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(finding.passed for finding in self.findings)

    def raise_if_failed(self) -> "Report":
        """This report; raises `ConformanceError` with all failures where there are any."""
        if not self.passed:
            raise ConformanceError("; ".join(f.message for f in self.findings if not f.passed))
        return self

    def __str__(self) -> str:
        """A line for each check."""
        lines = [f"  {finding.name:<22} {finding}" for finding in self.findings]
        return "\n".join([self.product, *lines])


def check_product(
    product: object,
    *,
    reference: Any = None,
    orders: int = 3,
    recording: bool = True,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Report:
    """Run all checks that apply, whether or not one fails, be it with an error of any kind.

    Args:
        product: a `BilinearProduct`, or any product of `sciten.equivariant`.
        reference: for `check_derivatives`, which says what is shown without one.
        orders: up to which derivatives are compared.
        recording: whether it is also compiled, recorded and exported, which takes seconds.
        device: of inputs and weights; finite differences and the variance are taken on the CPU.
        seed: of all random numbers.

    Raises:
        ConfigError: the product does not say its irreps.
    """
    subject = Subject.of(product)
    checks: list[tuple[str, Callable[[], float]]] = [
        ("equivariance", lambda: check_equivariance(subject, device=device, seed=seed)),
        (
            "derivatives",
            lambda: check_derivatives(subject, reference, orders=orders, device=device, seed=seed),
        ),
        (
            "float32",
            lambda: check_derivatives(
                subject, reference, orders=min(orders, 2), dtype=torch.float32, device=device, seed=seed
            ),
        ),
        ("finite differences", lambda: check_finite_differences(subject, orders=orders, seed=seed)),
        ("Hessian symmetry", lambda: check_hessian_symmetry(subject, device=device, seed=seed)),
        ("low precision", lambda: check_low_precision(subject, device=device, seed=seed)),
        ("state", lambda: check_state(subject, device=device, seed=seed)),
    ]
    if subject.unit_variance:
        checks.append(("variance", lambda: check_variance(subject, seed=seed)))
    if recording:
        checks += [
            ("compile", lambda: check_compile(subject, seed=seed)),
            ("recorded derivatives", lambda: check_recorded_derivatives(subject, seed=seed)),
            ("export", lambda: check_export(subject, seed=seed)),
            ("operator", lambda: check_operator(subject, seed=seed)),
        ]
    return Report(subject.name, tuple(_run(subject.name, name, check) for name, check in checks))


def _run(product: str, name: str, check: Callable[[], float]) -> Finding:
    try:
        return Finding(name, True, check())
    except ConformanceError as error:
        return Finding(name, False, float("nan"), str(error))
    except Exception as error:  # one check that cannot be run must not cost the report on the others
        said = " ".join(str(error).split())[:300]
        return Finding(
            name, False, float("nan"), f"{product}: {name}: it fails with {type(error).__name__}: {said}"
        )
