"""Does a product commute with rotations and inversion, and keep the variance it claims to keep?"""

from collections.abc import Iterator, Sequence
from itertools import product as combinations

import torch
from torch import Tensor

from sciten.equivariant.irreps import Irreps
from sciten.equivariant.testing.errors import TOLERANCES, ConformanceError, deviation
from sciten.equivariant.testing.subjects import Subject
from sciten.equivariant.wigner import wigner_d
from sciten.tensor.multilinear.reference import Reference


def check_equivariance(
    product: object,
    *,
    inversion: bool | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """The product of transformed inputs is the transformed product, under rotations, inversion and both.

    Args:
        product: a `BilinearProduct`, or any product of `sciten.equivariant`.
        inversion: whether it is to commute with inversion too; by default what its `conserves_parity` says, and
            true where it says nothing.
        dtype: of inputs and weights.
        device: of inputs and weights.
        tolerance: largest deviation allowed, relative to the largest value of the result.
        seed: of inputs, weights and rotations.

    Returns:
        The largest deviation.

    Raises:
        ConformanceError: it does not commute; the message names the degrees.
    """
    subject = Subject.of(product)
    tolerance = TOLERANCES[dtype][0] if tolerance is None else tolerance
    arguments = subject.draw(seed, dtype=dtype, device=device)
    with_inversion = subject.conserves_parity if inversion is None else inversion
    worst = 0.0
    for what, matrix in _transformations(seed, with_inversion):
        found, expected = _both_ways(subject, arguments, matrix)
        deviates = deviation(found, expected)
        worst = max(worst, deviates)
        if not deviates <= tolerance:
            where = _locate(subject, arguments, matrix)
            raise ConformanceError(
                f"{subject.name}: it is not equivariant under {what}: the product of transformed inputs differs from "
                f"the transformed product by {deviates:.1e} of its largest value (at most {tolerance:.0e} is allowed), "
                f"most of all in {where}"
            )
    return worst


def check_variance(
    product: object, *, tolerance: float = 0.15, samples: int = 1000, draws: int = 60, seed: int = 0
) -> float:
    """Independent inputs of unit variance, and weights of unit variance, give every irrep unit variance on average.

    Args:
        product: see `check_equivariance`.
        tolerance: largest deviation of the variance from one; with the default numbers of samples statistical
            errors are a third of it.
        samples: of the inputs, for each draw of the weights.
        draws: of the weights.
        seed: of both.

    Returns:
        The largest deviation.

    Raises:
        ConformanceError: a variance is not one; the message names the irrep.
    """
    subject = Subject.of(product)
    moments = []
    for draw in range(draws):
        arguments = subject.draw(seed + draw, batch=samples)
        for position, argument in enumerate(subject.arguments):
            if argument.irreps is None or argument.name == "radial":
                arguments[position] = arguments[position].sign()  # the same moments, and less scatter
        with torch.no_grad():
            moments.append(subject.call(*arguments).square().mean(0))
    moment = torch.stack(moments).mean(0)
    worst = 0.0
    for entry, where in zip(subject.irreps_out, subject.irreps_out.slices(), strict=True):
        reached = moment[where][moment[where] > 0] if entry.mul else moment[where]
        if not reached.numel():
            continue  # no path leads there
        worst = max(worst, abs(float(reached.mean()) - 1))
        if not abs(float(reached.mean()) - 1) <= tolerance:
            raise ConformanceError(
                f"{subject.name}: for inputs and weights of unit variance, irrep {entry.ir} of the result has variance "
                f"{float(reached.mean()):.2f}; expected 1 to within {tolerance}"
            )
    return worst


def representation(irreps: Irreps, matrix: Tensor) -> Tensor:
    """How a rotation, or a rotation times inversion, acts on features, `[irreps.dim, irreps.dim]` in float64."""
    sign = torch.sign(torch.linalg.det(matrix))
    blocks = []
    for mul, ir in irreps:
        block = wigner_d(ir.l, sign * matrix, executor=Reference())
        blocks += [block if sign > 0 else ir.p * block] * mul
    return torch.block_diag(*blocks) if blocks else matrix.new_zeros(0, 0)


def _transformations(seed: int, inversion: bool) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    rotations = []
    for _ in range(3):
        orthogonal = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
        rotations.append(orthogonal * torch.linalg.det(orthogonal))
    yield "a rotation", rotations[0]
    yield "a rotation", rotations[1]
    if inversion:
        yield "inversion", -torch.eye(3, dtype=torch.float64)
        yield "a rotation with inversion", -rotations[2]


def _both_ways(subject: Subject, arguments: Sequence[Tensor], matrix: Tensor) -> tuple[Tensor, Tensor]:
    turned = [
        value if argument.irreps is None else _act(argument.irreps, matrix, value)
        for argument, value in zip(subject.arguments, arguments, strict=True)
    ]
    with torch.no_grad():
        return subject.call(*turned), _act(subject.irreps_out, matrix, subject.call(*arguments))


def _act(irreps: Irreps, matrix: Tensor, value: Tensor) -> Tensor:
    if all(entry.ir == (0, 1) for entry in irreps):
        return value
    return (value.double().cpu() @ representation(irreps, matrix).T).to(value)


def _locate(subject: Subject, arguments: Sequence[Tensor], matrix: Tensor) -> str:
    """The irreps that deviate most, found by leaving one of each argument."""
    choices = [
        argument.blocks() if argument.irreps else [("", slice(None))] for argument in subject.arguments
    ]
    worst, where = -1.0, ""
    for chosen in combinations(*choices):
        kept = [_only(value, part) for value, (_, part) in zip(arguments, chosen, strict=True)]
        found, expected = _both_ways(subject, kept, matrix)
        for entry, part in zip(subject.irreps_out, subject.irreps_out.slices(), strict=True):
            difference = (found[:, part] - expected[:, part]).abs().nan_to_num(float("inf"))
            if difference.numel() and float(difference.max()) > worst:
                worst = float(difference.max())
                given = " and ".join(name for name, _ in chosen if name and "radial" not in name)
                where = f"irrep {entry.ir} from {given}"
    return where


def _only(value: Tensor, part: slice) -> Tensor:
    kept = torch.zeros_like(value)
    kept[..., part] = value[..., part]
    return kept
