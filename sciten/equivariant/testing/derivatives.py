"""Are results and derivatives right, against a dense reference, finite differences, and each other?"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sciten.equivariant.testing.errors import ORDINALS, TOLERANCES, ConformanceError, deviation
from sciten.equivariant.testing.memory import poisoned_memory
from sciten.equivariant.testing.references import reference_of
from sciten.equivariant.testing.subjects import Subject

#: Central differences of fourth order: (multiple of the step, weight).
_STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
_STEP = 1e-3


def check_derivatives(
    product: object,
    reference: Any = None,
    *,
    orders: int = 3,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Results and derivatives of a function of them, by features and weights, equal those of a float64 reference.

    Args:
        product: see `check_equivariance`.
        reference: another product with the same arguments, or a function of them; by default, for a product of
            `sciten.equivariant`, a dense one that is written apart from it (see `references`). Any other product is
            by default compared with its own values for basis vectors: that shows that it is bilinear and that its
            derivatives belong to its values, but not that the values are right. Give a reference to show that.
        orders: up to which derivatives are compared.
        dtype: of the product; the reference is in float64.
        device: of the product.
        tolerance: largest deviation allowed, relative to the largest value; by default one for each order,
            `errors.TOLERANCES`.
        seed: of inputs, weights and directions.

    Returns:
        The largest deviation.

    Raises:
        ConformanceError: a deviation is larger; the message names the order, the argument and the degree.
    """
    subject = Subject.of(product)
    expected_of = _function(subject, reference)
    allowed = TOLERANCES[dtype] if tolerance is None else (tolerance,) * (orders + 1)
    arguments = [a.to(dtype) for a in subject.draw(seed)]
    with poisoned_memory():
        found = all_orders(subject.call, [a.to(device) for a in arguments], orders, seed)
    expected = all_orders(expected_of, [a.double() for a in arguments], orders, seed)
    worst = 0.0
    for order, (some, wanted) in enumerate(zip(found, expected, strict=True)):
        for place, (value, right) in enumerate(zip(some, wanted, strict=True)):
            blocks = _output_blocks(subject) if order == 0 else subject.arguments[place].blocks()
            for where, part in blocks:
                scale = _scale(order, right, wanted)
                deviates = deviation(value[..., part].detach().cpu(), right[..., part].detach(), scale)
                worst = max(worst, deviates)
                if not deviates <= allowed[order]:
                    by = "of" if order == 0 else "by"
                    raise ConformanceError(
                        f"{subject.name}: its {ORDINALS[order]} {by} {where} deviate from the float64 reference by "
                        f"{deviates:.1e} of the largest (at most {allowed[order]:.0e} is allowed)"
                    )
    return worst


def check_finite_differences(
    product: object, *, orders: int = 3, tolerance: float = 1e-6, seed: int = 0
) -> float:
    """Derivatives of each order are the slopes of those one order below, along a direction in every degree.

    A reference is not needed: this is what catches forces that do not derive from the energy.

    Args:
        product: see `check_equivariance`; in float64 on the CPU.
        orders: up to which derivatives are compared.
        tolerance: largest deviation allowed, relative to the largest slope of its order.
        seed: of inputs, weights and directions.

    Returns:
        The largest deviation.

    Raises:
        ConformanceError: a deviation is larger; the message names the order, the argument and the degree.
    """
    subject = Subject.of(product)
    arguments = subject.draw(seed)
    worst = 0.0
    for order in range(1, orders + 1):
        slopes = [
            _slopes(subject, arguments, order, place, part, seed)
            for place, argument in enumerate(subject.arguments)
            for _, part in argument.blocks()
        ]
        names = [where for argument in subject.arguments for where, _ in argument.blocks()]
        # A product that vanishes is left with rounding errors.
        largest = max(1e-6, *(abs(difference) for _, difference in slopes))
        for where, (slope, difference) in zip(names, slopes, strict=True):
            deviates = abs(slope - difference) / largest
            worst = max(worst, deviates)
            if not deviates <= tolerance:
                raise ConformanceError(
                    f"{subject.name}: its {ORDINALS[order]} by {where} deviate from finite differences by "
                    f"{deviates:.1e} of the largest (at most {tolerance:.0e} is allowed): they are not those of the "
                    f"{ORDINALS[order - 1]}"
                )
    return worst


def check_hessian_symmetry(
    product: object,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Second derivatives do not depend on the order of differentiation, for every pair of degrees and arguments.

    Args:
        product: see `check_equivariance`.
        dtype: of inputs and weights.
        device: of inputs and weights.
        tolerance: largest difference allowed, relative to the largest element.
        seed: of inputs, weights and directions.

    Returns:
        The largest difference.

    Raises:
        ConformanceError: a difference is larger; the message names the arguments and degrees.
    """
    subject = Subject.of(product)
    tolerance = TOLERANCES[dtype][2] if tolerance is None else tolerance
    arguments = [a.requires_grad_(True) for a in subject.draw(seed, dtype=dtype, device=device)]
    directions = _block_directions(subject, arguments, seed)
    gradients = _gradients(_scalar(subject.call(*arguments), seed), arguments)
    rows = []
    for _, place, direction in directions:
        products = _gradients((gradients[place] * direction).sum(), arguments)
        rows.append([float((products[p].detach() * other).sum()) for _, p, other in directions])
    hessian = torch.tensor(rows, dtype=torch.float64)
    deviates = deviation(hessian, hessian.T)
    if not deviates <= tolerance:
        a, b = divmod(int((hessian - hessian.T).abs().nan_to_num(float("inf")).argmax()), len(rows))
        raise ConformanceError(
            f"{subject.name}: its second derivatives by {directions[a][0]} and {directions[b][0]} depend on the order "
            f"of differentiation, by {deviates:.1e} of the largest (at most {tolerance:.0e} is allowed)"
        )
    return deviates


def all_orders(
    function: Callable[..., Any], arguments: Sequence[Tensor], orders: int, seed: int
) -> list[list[Tensor]]:
    """Values of a function, gradients of a nonlinear scalar of them, gradients of those along a direction, and so on.

    `function` gives a tensor or several; of the arguments those of a floating type are differentiated by. Random
    numbers are drawn in float64 on the CPU, so that they are the same for every dtype and device.
    """
    arguments = [a.detach().clone().requires_grad_(a.is_floating_point()) for a in arguments]
    free = [a for a in arguments if a.requires_grad]
    value = function(*arguments)
    values = [value] if isinstance(value, Tensor) else list(value)
    levels = [values]
    scalar = torch.stack([_scalar(v, seed + n) for n, v in enumerate(values)]).sum()
    for order in range(1, orders + 1):
        gradients = _gradients(scalar, free)
        levels.append(gradients)
        probes = [_random(g, seed + 100 * order + n) for n, g in enumerate(gradients)]
        scalar = torch.stack([(g * p).sum() for g, p in zip(gradients, probes, strict=True)]).sum()
    return levels


def _function(subject: Subject, reference: Any) -> Callable[..., Tensor]:
    if reference is None:
        return reference_of(subject)
    if hasattr(reference, "irreps_out") or hasattr(reference, "lmax_out"):
        return Subject.of(reference).call
    function: Callable[..., Tensor] = reference
    return function


def _output_blocks(subject: Subject) -> list[tuple[str, slice]]:
    pairs = zip(subject.irreps_out, subject.irreps_out.slices(), strict=True)
    return [(f"irrep {entry.ir}", where) for entry, where in pairs]


def _scale(order: int, right: Tensor, together: Sequence[Tensor]) -> Tensor:
    """What deviations are relative to: rounding errors of a derivative are those of all that is added up in it."""
    largest = max((float(t.detach().abs().max()) for t in together if t.numel()), default=0.0)
    own = float(right.detach().abs().max()) if right.numel() else 0.0
    return torch.tensor(own if order == 0 else max(own, 1e-2 * largest), dtype=torch.float64)


def _scalar(value: Tensor, seed: int) -> Tensor:
    """A nonlinear function of a result, so that derivatives of every order are there."""
    return ((value + 0.3) * _random(value, seed + 7)).sin().sum()


def _random(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)


def _gradients(scalar: Tensor, arguments: Sequence[Tensor]) -> list[Tensor]:
    if not scalar.requires_grad:
        return [torch.zeros_like(a) for a in arguments]
    found = torch.autograd.grad(scalar, arguments, create_graph=True, allow_unused=True)
    return [torch.zeros_like(a) if g is None else g for g, a in zip(found, arguments, strict=True)]


def _slopes(
    subject: Subject, arguments: Sequence[Tensor], order: int, place: int, part: slice, seed: int
) -> tuple[float, float]:
    """The derivative along a direction in a part of one argument, from autograd and from differences."""
    direction = torch.zeros_like(arguments[place])
    direction[..., part] = _random(direction[..., part], seed + 17)
    direction /= direction.norm().clamp_min(1e-30)

    def scalar(given: Sequence[Tensor]) -> Tensor:
        total = _scalar(subject.call(*given), seed)
        for lower in range(1, order):
            gradients = _gradients(total, given)
            probes = [_random(g, seed + 100 * lower + n) for n, g in enumerate(gradients)]
            total = torch.stack([(g * p).sum() for g, p in zip(gradients, probes, strict=True)]).sum()
        return total

    leaves = [a.detach().clone().requires_grad_(True) for a in arguments]
    slope = float((_gradients(scalar(leaves), leaves)[place].detach() * direction).sum())
    difference = 0.0
    for multiple, weight in _STENCIL:
        moved = [a.detach().clone() for a in arguments]
        moved[place] = moved[place] + multiple * _STEP * direction
        moved = [a.requires_grad_(order > 1) for a in moved]
        difference += weight * float(scalar(moved).detach()) / _STEP
    return slope, difference


def _block_directions(
    subject: Subject, arguments: Sequence[Tensor], seed: int
) -> list[tuple[str, int, Tensor]]:
    directions: list[tuple[str, int, Tensor]] = []
    for place, (argument, value) in enumerate(zip(subject.arguments, arguments, strict=True)):
        for where, part in argument.blocks():
            direction = torch.zeros_like(value)
            direction[..., part] = _random(direction[..., part], seed + 31 + len(directions))
            directions.append((where, place, direction.detach()))
    return directions
