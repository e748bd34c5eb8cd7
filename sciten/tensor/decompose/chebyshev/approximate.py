"""Chebyshev-Tucker approximation of functions, and of sums of products.

Benner, Khoromskij, Khoromskaia and Sun, "A mesh-free hybrid Chebyshev-Tucker tensor format with applications to
multi-particle modelling" (arXiv:2503.01696, 2025). Where there are too many nodes to take all values, cross
approximation does it from some, as with Dolgov, Kressner and Strössner (SIAM J. Sci. Comput. 43, A2190 (2021)). Degrees
grow in every variable until the coefficients of fibres end below the tolerance; ranks are the least that keep it at
samples.
"""

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.decompose.chebyshev.container import Bounds, ChebyshevTucker, box_of
from sciten.tensor.decompose.chebyshev.polynomials import (
    FIRST_DEGREE,
    nodes,
    sufficient_degree,
    to_coefficients,
)
from sciten.tensor.decompose.chebyshev.samples import (
    ACCURATE,
    Columns,
    Function,
    Samples,
    Values,
    least_ranks,
    take_samples,
)
from sciten.tensor.decompose.cross import tt_cross
from sciten.tensor.decompose.svd import hosvd
from sciten.tensor.formats import chains
from sciten.tensor.formats.cp import CP
from sciten.tensor.formats.tensor_train import TensorTrain
from sciten.tensor.formats.tucker import Tucker
from sciten.tensor.linalg import leading_space, rank_within, svd

#: Tensors of at most so many values or coefficients are made; larger ones stay trains.
_DENSE = 2**18
_LARGEST_CORE = 10**7
#: Errors at nodes in units of the tolerance: between nodes, and in every variable, they can be a few times larger.
_NODAL = 0.02
#: How often degrees are raised because samples fail that the fibres knew nothing of.
_ROUNDS = 4


def chebyshev_tucker(
    function: Function,
    bounds: Sequence[tuple[float, float]],
    tolerance: float = 1e-8,
    *,
    max_degree: int = 1024,
    max_evaluations: int = 10**7,
    generator: torch.Generator | None = None,
) -> ChebyshevTucker:
    """A smooth function of several variables in Chebyshev-Tucker form.

    The error is the largest at random points, and at points on lines through those with large values, relative to the
    largest value; the final one at points that had no part in the choice of degrees and ranks. Where the grid of
    Chebyshev nodes is large, cross approximation takes values instead. Of d variables, degrees m and ranks r the result
    has d m r + r^d numbers, so that it is for few variables, or for small ranks; ranks are small where variables couple
    smoothly.

    Args:
        function: from float64 points `[n, d]` to values `[n]`, real or complex; called in few large batches.
        bounds: (a, b) for each variable.
        tolerance: relative to the largest value.
        max_degree: largest degree in any variable. Functions that are not smooth need many.
        max_evaluations: values that cross approximation may take on one grid.
        generator: of random numbers; points are made on its device. By default one with a fixed seed, on the CPU.

    Raises:
        ConfigError: an argument is out of range, or the function returns something else than finite values `[n]`.
    """
    box = box_of("chebyshev_tucker", bounds)
    _require("chebyshev_tucker", tolerance, max_degree)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    values = Values("chebyshev_tucker", function)
    with torch.no_grad():
        samples = take_samples(values, box, generator)
        degrees = (0,) * len(box)
        for turn in range(_ROUNDS):
            before = degrees
            limit = tolerance * samples.largest
            degrees = _degrees(values, box, samples, limit, before, max_degree)
            if turn and degrees == before:
                break
            coefficients, reason = _interpolated(values, box, degrees, tolerance, max_evaluations, generator)
            found, error, samples = least_ranks(coefficients, values, box, samples, tolerance, generator)
            if error <= tolerance:
                break
        return _result(found, box, error, tolerance, max_degree, values.count, reason)


def chebyshev_tucker_cp(
    weights: Tensor,
    factors: Sequence[Function],
    bounds: Sequence[tuple[float, float]],
    tolerance: float = 1e-8,
    *,
    max_degree: int = 4096,
    generator: torch.Generator | None = None,
) -> ChebyshevTucker:
    """A sum of products, f(x) = sum over a of weights[a] f_1a(x_1) ... f_da(x_d), in Chebyshev-Tucker form.

    Every factor is interpolated, as accurately as its weight and the factors beside it demand; then the space of each
    variable is that of the columns times their weights and the norms of the others (the reduced HOSVD of Khoromskij and
    Khoromskaia, SIAM J. Sci. Comput. 31, 3002 (2009)), cut at a bound of the whole error, and the small tensor that
    remains is rounded as that of a function.

    Args:
        weights: `[r]`, of any size.
        factors: for each variable a function from float64 points `[n]` to values `[n, r]`.
        bounds, tolerance, max_degree, generator: as for `chebyshev_tucker`; points are on the device of the weights.

    Raises:
        ConfigError: an argument is out of range, or a factor returns something else than finite values `[n, r]`.
    """
    name = "chebyshev_tucker_cp"
    box = box_of(name, bounds)
    _require(name, tolerance, max_degree)
    if weights.ndim != 1 or not len(weights) or len(factors) != len(box):
        raise ConfigError(
            f"{name}: expected weights [r] and {len(box)} factors, got {list(weights.shape)} and {len(factors)}"
        )
    generator = torch.Generator(weights.device).manual_seed(0) if generator is None else generator
    columns = [Columns(name, k, factor, len(weights)) for k, factor in enumerate(factors)]

    def function(points: Tensor) -> Tensor:
        rows = weights.expand(len(points), -1)
        for column, x in zip(columns, points.mT, strict=True):
            rows = rows * column(x)
        return rows.sum(1)

    values = Values(name, function)
    with torch.no_grad():
        samples = take_samples(values, box, generator)
        coefficients = _reduced(
            _sum_of_products(weights, columns, box, samples, tolerance, max_degree), samples, tolerance
        )
        found, error, _ = least_ranks(coefficients, values, box, samples, tolerance, generator)
        return _result(found, box, error, tolerance, max_degree, values.count, "")


# Degrees.


def _degrees(
    values: Values,
    box: Bounds,
    samples: Samples,
    limit: float,
    least: Sequence[int],
    max_degree: int,
) -> tuple[int, ...]:
    """Of each variable: that which resolves all fibres through the samples that count most."""
    found = []
    for k, (interval, more) in enumerate(zip(box, least, strict=True)):

        def fibres(x: Tensor, k: int = k) -> Tensor:
            return values.on_fibres(samples.anchors, k, x)

        probes = samples.anchors[:, k]
        found.append(sufficient_degree(fibres, interval, probes, limit, 3 * more // 2, max_degree))
    return tuple(found)


# Coefficients of a function.


def _interpolated(
    values: Values,
    box: Bounds,
    degrees: Sequence[int],
    tolerance: float,
    max_evaluations: int,
    generator: torch.Generator,
) -> tuple[Tucker, str]:
    """Coefficients with more ranks than the tolerance asks for, and what went wrong."""
    axes = [
        nodes(degree, interval).to(generator.device) for degree, interval in zip(degrees, box, strict=True)
    ]
    shape = [len(x) for x in axes]
    if prod(shape) <= _DENSE:
        tensor = values(torch.cartesian_prod(*axes).reshape(-1, len(box))).reshape(shape)
        for k in range(len(box)):
            tensor = to_coefficients(tensor, k)
        return hosvd(tensor, ACCURATE * tolerance), ""

    def at(indices: Tensor) -> Tensor:
        return values(torch.stack([x[i] for x, i in zip(axes, indices.mT, strict=True)], 1))

    found = tt_cross(
        at, shape, max(_NODAL * tolerance, 1e-14), max_evaluations=max_evaluations, generator=generator
    )
    train = TensorTrain(tuple(to_coefficients(core, 1) for core in found.tensor.cores))
    return _tucker(train, ACCURATE * tolerance), found.message


def _tucker(train: TensorTrain, tolerance: float) -> Tucker:
    """The Tucker decomposition of a train, within a relative error: the HOSVD, core by core."""
    factors = chains.triangular_factors(train.cores)
    bound = factors[0].abs()[0, 0] * (tolerance / sqrt(len(train)))
    carried = torch.ones_like(factors[0])
    spaces, small = [], []
    for core, right in zip(train.cores, factors[1:], strict=True):
        core = torch.einsum("ab,bnc->anc", carried, core)
        # With orthonormal cores before it and after it, singular values are those of the whole tensor.
        space = leading_space((core @ right).movedim(1, 0).flatten(1), tolerance=bound)
        q, carried = torch.linalg.qr(torch.einsum("nq,anb->aqb", space.conj(), core).flatten(0, 1))
        spaces.append(space)
        small.append(q.unflatten(0, (-1, space.shape[1])))
    small[-1] = small[-1] @ carried
    _require_core([space.shape[1] for space in spaces])
    return Tucker(TensorTrain(tuple(small)).full(), tuple(spaces))


def _require_core(ranks: Sequence[int]) -> None:
    if prod(ranks) > _LARGEST_CORE:
        raise ConfigError(
            f"chebyshev_tucker: expected a core of at most {_LARGEST_CORE:,} numbers, got ranks {tuple(ranks)}; use a "
            "larger tolerance, or tt_cross on a grid for so many variables"
        )


# Coefficients of a sum of products.


def _sum_of_products(
    weights: Tensor,
    columns: Sequence[Columns],
    box: Bounds,
    samples: Samples,
    tolerance: float,
    max_degree: int,
) -> CP:
    """Coefficients of every factor; `[degree_k + 1, r]` for each variable."""
    rough = torch.stack(
        [
            column(nodes(8 * FIRST_DEGREE, interval).to(weights.device)).abs().amax(0)
            for column, interval in zip(columns, box, strict=True)
        ]
    )
    limit = tolerance * samples.largest / (len(box) * len(weights))
    found = []
    for k, (column, interval) in enumerate(zip(columns, box, strict=True)):
        others = weights.abs() * torch.cat([rough[:k], rough[k + 1 :]]).prod(0)

        def fibres(x: Tensor, column: Columns = column, others: Tensor = others) -> Tensor:
            return (column(x.to(others.device)) * others).mT

        a, b = interval
        probes = torch.linspace(a, b, 31, dtype=torch.float64)  # hardly any of them is a node
        degree = sufficient_degree(fibres, interval, probes, limit, 0, max_degree)
        found.append(to_coefficients(column(nodes(degree, interval).to(weights.device)), 0))
    dtype = torch.result_type(weights, found[0])
    for factor in found:
        dtype = torch.promote_types(dtype, factor.dtype)
    return CP(weights.to(dtype), tuple(factor.to(dtype) for factor in found))


def _reduced(terms: CP, samples: Samples, tolerance: float) -> Tucker:
    """The Tucker decomposition in the spaces of the weighted factors.

    ‖sum of a_k ⊗ b_k‖ ≤ √r ‖A‖ for r columns a_k of A and unit vectors b_k: what is cut of each weighted factor bounds
    the error of the coefficients.
    """
    d, r = len(terms.factors), terms.ranks[0]
    bound = ACCURATE * tolerance * samples.largest / (d * sqrt(r))
    norms = torch.stack([torch.linalg.vector_norm(factor, dim=0) for factor in terms.factors])
    spaces = []
    for k, factor in enumerate(terms.factors):
        others = torch.cat([norms[:k], norms[k + 1 :]]).prod(0)
        u, s, _ = svd(factor * (terms.weights.abs() * others))
        spaces.append(u[:, : rank_within(s, bound)])
    pairs = zip(spaces, terms.factors, strict=True)
    small = CP(terms.weights, tuple(space.mH @ factor for space, factor in pairs))
    if prod(small.shape) <= _DENSE:
        return Tucker(small.full(), tuple(spaces))
    from sciten.tensor.formats.convert import to_tensor_train  # which imports decompositions itself

    inner = _tucker(to_tensor_train(small), ACCURATE * tolerance)
    return Tucker(inner.core, tuple(a @ b for a, b in zip(spaces, inner.factors, strict=True)))


def _result(
    found: Tucker, box: Bounds, error: float, tolerance: float, max_degree: int, evaluations: int, reason: str
) -> ChebyshevTucker:
    converged = error <= tolerance
    message = ""
    if not converged:
        full = [k for k, n in enumerate(found.shape) if n > max_degree]
        why = (
            f"degree {max_degree} does not resolve variables {full}; allow more (max_degree) if the function is "
            "smooth, and split the box where it is not"
            if full
            else reason
            or "what differs is seen too seldom, or the tolerance is below the precision of the function"
        )
        message = f"chebyshev_tucker: the error is {error:.1e}, more than {tolerance:.1e}: {why}"
    return ChebyshevTucker(
        found, box, error=error, converged=converged, message=message, evaluations=evaluations
    )


def _require(name: str, tolerance: float, max_degree: int) -> None:
    if not 0 < tolerance < 1 or max_degree < FIRST_DEGREE:
        raise ConfigError(
            f"{name}: expected a tolerance between 0 and 1 and max_degree of at least {FIRST_DEGREE}, got {tolerance} "
            f"and {max_degree}"
        )
