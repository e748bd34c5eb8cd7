from collections.abc import Sequence
from itertools import pairwise, product
from math import pi, sin

import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.quantised import (
    bpx,
    constant,
    cosine,
    integration,
    interleaved,
    mirrored,
    polynomial,
    ramp,
    sine,
)
from sciten.pde.quantised.stencils import Condition
from sciten.tensor import TensorTrain
from sciten.tensor.formats.diagonal import diagonal
from tests.pde.quantised import dense
from tests.pde.quantised.dense import DIRICHLET, NEUMANN, PERIODIC
from tests.pde.quantised.solving import solve

Ends = tuple[Condition, Condition]

DN, ND, DD = (DIRICHLET, NEUMANN), (NEUMANN, DIRICHLET), (DIRICHLET, DIRICHLET)
NN, AROUND = (NEUMANN, NEUMANN), (PERIODIC, PERIODIC)
ALL = [DN, ND, DD, NN, AROUND]


def hats(levels: int, level: int, ends: Ends) -> Tensor:
    """Prolongation from a level, `[n, n_hats]`: hat functions at the points 1, ..., n, one at their own node."""
    if ends == ND:
        return hats(levels, level, DN).flip(0)
    n, width = 2**levels, 2 ** (levels - level)
    points = torch.arange(1, n + 1, dtype=torch.float64)[:, None]
    first = 0 if ends == NN else 1
    last = 2**level - 1 if ends == DD and level < levels else 2**level
    nodes = width * torch.arange(first, last + 1, dtype=torch.float64)
    distance = (points - nodes).abs()
    if ends == AROUND:
        distance = torch.stack([(points - nodes + k * n).abs() for k in (-1, 0, 1)])
        return (1 - distance / width).clamp(min=0).sum(0)
    return (1 - distance / width).clamp(min=0)


def differences(n: int, ends: Ends) -> list[Tensor]:
    """The differences over the faces that the gradients are taken at."""
    eye = torch.eye(n, dtype=torch.float64)
    down = eye - torch.diag(torch.ones(n - 1, dtype=torch.float64), -1)
    if ends == ND:
        return [-down.flip(0, 1)]
    if ends == NN:
        down[0] = 0
    if ends == AROUND:
        down[0, -1] -= 1
    return [down, -torch.outer(eye[-1], eye[-1])] if ends == DD else [down]


def along(x: Tensor, a: int, d: int) -> Tensor:
    eye = torch.eye(len(x), dtype=torch.float64)
    return dense.kronecker(*[x if b == a else eye for b in range(d)])


def dense_preconditioner(levels: int, conditions: Sequence[Ends]) -> Tensor:
    d = len(conditions)
    total = torch.zeros(1, dtype=torch.float64)
    for level in range(levels + 1):
        terms = [hats(levels, level, ends) for ends in conditions]
        weight = 2.0 ** ((levels - level) * (1 - d))
        total = total + weight * dense.kronecker(*[p @ p.mT for p in terms])
    return total


def usual_order(x: TensorTrain, levels: int, d: int) -> Tensor:
    return dense.serial_from_interleaved(dense.matrix(x), levels, d)


CASES = [
    *[(levels, (ends,)) for levels in (1, 2, 3, 6) for ends in ALL],
    *[(levels, pair) for levels in (1, 2) for pair in product(ALL, ALL)],
    (4, (DN, DD)),
    (2, (DN, AROUND, DD)),
]


@pytest.mark.parametrize(("levels", "conditions"), CASES)
def test_they_are_sums_over_levels_of_hat_functions(levels: int, conditions: tuple[Ends, ...]) -> None:
    d = len(conditions)
    spacings = [0.5, 0.25, 2.0][:d]
    found = bpx(levels, conditions, spacings)
    expected = min(spacings) * dense_preconditioner(levels, conditions)
    torch.testing.assert_close(usual_order(found.preconditioner, levels, d), expected, rtol=1e-14, atol=1e-14)
    wanted = [(a, k, one) for a in range(d) for k, one in enumerate(differences(2**levels, conditions[a]))]
    wanted.sort(key=lambda item: (item[1], item[0]))  # second faces after all first ones
    assert found.axes == tuple(a for a, _, _ in wanted)
    for gradient, (a, _, one) in zip(found.gradients, wanted, strict=True):
        exact = along(one, a, d) @ expected / spacings[a]
        torch.testing.assert_close(usual_order(gradient, levels, d), exact, rtol=1e-13, atol=1e-14)


def condition_number(matrix: Tensor) -> float:
    values = torch.linalg.eigvalsh(matrix)
    return float(values[-1] / values[0])


def test_gradients_make_the_laplacian() -> None:
    """C A C of the dense matrices is what the gradients give, in every combination of conditions."""
    for pair in product([DN, ND, DD], ALL):
        found = bpx(2, pair, [0.5, 0.5])
        c = usual_order(found.preconditioner, 2, 2)
        a = sum(along(dense.laplacian(4, *ends), axis, 2) / 0.25 for axis, ends in enumerate(pair))
        made = usual_order(found.preconditioned_operator(), 2, 2)
        torch.testing.assert_close(made, c @ a @ c, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("ends", "bound"), [(DN, 20.0), (ND, 20.0), (DD, 50.0), (NN, 30.0), (AROUND, 20.0)])
def test_condition_numbers_do_not_grow_in_one_dimension(ends: Ends, bound: float) -> None:
    """Steps from level to level shrink by 0.9 at least: the limit is below that of a geometric series."""
    made = [bpx(levels, [ends], [2.0**-levels]) for levels in range(3, 10)]
    regular = {Condition.DIRICHLET} & set(ends)
    found = []
    for levels, one in enumerate(made, 3):
        reaction = None if regular else TensorTrain.identity([2] * levels)
        found.append(condition_number(dense.matrix(one.preconditioned_operator(reaction=reaction))))
    steps = [after - before for before, after in pairwise(found)]
    assert all(0 < after < 0.9 * before for before, after in pairwise(steps))
    assert found[-1] + 9 * steps[-1] < bound


@pytest.mark.parametrize("conditions", [(DN, DN), (DD, DD), (DN, DD)])
def test_condition_numbers_do_not_grow_in_two_dimensions(conditions: tuple[Ends, ...]) -> None:
    for levels in (3, 4, 5):
        made = bpx(levels, conditions, [2.0**-levels] * 2)
        stacked = torch.cat([dense.matrix(gradient) for gradient in made.gradients])
        assert condition_number(stacked.mT @ stacked) < 25


def test_ranks_do_not_grow_with_levels() -> None:
    for ends, ranks in ((DN, (8, 6)), (DD, (9, 7)), (NN, (7, 9)), (AROUND, (7, 5))):
        for levels in (8, 60):
            found = bpx(levels, [ends], [1.0])
            assert (max(found.preconditioner.ranks), max(found.gradients[0].ranks)) == ranks
    for ends, rank, others in ((DN, 32, [24, 24]), (DD, 41, [33, 33, 1, 1])):
        for levels in (6, 20):
            found = bpx(levels, [ends, ends], [1.0, 1.0])
            assert max(found.preconditioner.ranks) == rank
            assert [max(g.ranks) for g in found.gradients] == others


def error(x: TensorTrain, exact: TensorTrain) -> float:
    return float((x - exact).norm() / exact.norm())


@pytest.mark.parametrize("levels", [10, 20, 30])
def test_poisson_is_accurate_on_many_points(levels: int) -> None:
    """-u'' = 1, u(0) = 0, u'(1) = 0.

    With the Neumann face half a width beyond the last point the discrete solution is exact: summing up, u_i - u_(i-1) =
    h² (n - i + 1), and u_i = h² i (n + 1/2 - i/2) = x_i - x_i²/2 as (n + 1/2) h = 1.
    """
    h = 1 / (2**levels + 0.5)
    found = bpx(levels, [DN], [h])
    v = solve(found.preconditioned_operator(), found.source(constant(levels)), 12, sweeps=4)
    assert error(found.field(v), polynomial(levels, [0.0, 1.0, -0.5], h, h)) < 1e-12
    assert error(found.flux(v)[0], polynomial(levels, [1.0, -1.0], h / 2, h)) < 1e-11


@pytest.mark.parametrize(("levels", "tolerance"), [(30, 1e-14), (50, 0.0)])
def test_coefficients_vary(levels: int, tolerance: float) -> None:
    """-((1 + x) u')' = 2 x with the same conditions has the same solution, which again is the discrete one.

    Half-way between two points x - x²/2 has the difference quotient 1 - x, so that fluxes are 1 - x², and the
    differences of these 2 x.
    """
    h = 1 / (2**levels + 0.5)
    found = bpx(levels, [DN], [h])
    coefficient = diagonal(ramp(levels, 1 + h / 2, h))
    operator = found.preconditioned_operator([coefficient], tolerance=tolerance)
    v = solve(operator, found.source(ramp(levels, 2 * h, 2 * h)), 12, sweeps=4)
    assert error(found.field(v), polynomial(levels, [0.0, 1.0, -0.5], h, h)) < 1e-12


@pytest.mark.parametrize(("ends", "frequency"), [(NN, pi), (AROUND, 2 * pi)])
def test_reaction_makes_singular_operators_regular(ends: Ends, frequency: float) -> None:
    """-u'' + u = f, with an eigenvector of the second difference for u."""
    levels, h = 30, 2.0**-30
    found = bpx(levels, [ends], [h])
    operator = found.preconditioned_operator(reaction=TensorTrain.identity([2] * levels))
    u = cosine(levels, frequency, h / 2, h)
    eigenvalue = (2 * sin(frequency * h / 2) / h) ** 2
    v = solve(operator, found.source(u * (1 + eigenvalue)), 14, sweeps=4)
    assert error(found.field(v), u) < 1e-11


def test_two_dimensions_are_solved() -> None:
    """An eigenvector of the five-point stencil on 256² points, next to which there is a train of rank 20."""
    levels = 8
    h = 1 / (2**levels + 0.5)
    found = bpx(levels, [DN, DN], [h, h])
    u = interleaved([sine(levels, pi / 2, h, h)] * 2)
    eigenvalue = 2 * (2 * sin(pi * h / 4) / h) ** 2
    operator = found.preconditioned_operator(tolerance=1e-12)
    v = solve(operator, found.source(u * eigenvalue).round(1e-14), 20)
    assert error(found.field(v), u) < 1e-5


def test_dirichlet_values_at_both_ends_are_accurate_on_many_points() -> None:
    """-u'' = 1 with u(0) = u(1) = 0: x (1 - x) / 2 is the discrete solution as well."""
    levels = 30
    h = 1 / (2**levels + 1)
    found = bpx(levels, [DD], [h])
    v = solve(found.preconditioned_operator(), found.source(constant(levels)), 12, sweeps=4)
    assert error(found.field(v), polynomial(levels, [0.0, 0.5, -0.5], h, h)) < 1e-11


@pytest.mark.parametrize(("ends", "sign"), [(DN, 1.0), (ND, -1.0)])
def test_integration_is_the_perfect_preconditioner(ends: Ends, sign: float) -> None:
    """C^T A C = K, so that unknowns are the gradient: v = 1 - x for -u'' = 1, at 2^30 points."""
    small = integration(4, ends, 0.5)
    c = dense.matrix(small.preconditioner)
    a = dense.laplacian(16, *ends) / 0.25
    torch.testing.assert_close(c.mT @ a @ c, torch.eye(16).double())
    torch.testing.assert_close(differences(16, ends)[0] @ c / 0.5, torch.eye(16).double())

    levels = 30
    h = 1 / (2**levels + 0.5)
    found = integration(levels, ends, h)
    v = found.source(constant(levels))
    u = polynomial(levels, [0.0, 1.0, -0.5], h, h)
    slope = sign * polynomial(levels, [1.0, -1.0], h / 2, h)
    if ends == ND:
        u, slope = mirrored(u), mirrored(slope)
    assert float((v - slope).norm() / slope.norm()) < 1e-14
    assert float((found.field(v) - u).norm() / u.norm()) < 1e-14


def test_operators_have_coefficients_and_reaction() -> None:
    levels, conditions = 3, (DD, NN)
    found = bpx(levels, conditions, [0.1, 0.2])
    k = [interleaved([ramp(levels, 1.0 + j, 0.3), constant(levels, 2.0)]) for j in range(3)]
    q = interleaved([constant(levels), sine(levels, 0.2, 0.5)])
    operator = found.preconditioned_operator([diagonal(x) for x in k], reaction=diagonal(q))
    c = usual_order(found.preconditioner, levels, 2)

    def values(x: TensorTrain) -> Tensor:
        return torch.diag(dense.serial_from_interleaved(dense.vector(x), levels, 2))

    faces = [along(differences(8, DD)[j], 0, 2) / 0.1 for j in (0, 1)]
    faces.insert(1, along(differences(8, NN)[0], 1, 2) / 0.2)
    a = sum(face.mT @ values(x) @ face for face, x in zip(faces, k, strict=True)) + values(q)
    expected = c @ a @ c
    torch.testing.assert_close(usual_order(operator, levels, 2), expected, rtol=1e-12, atol=1e-12)
    rounded = found.preconditioned_operator([diagonal(x) for x in k], reaction=diagonal(q), tolerance=1e-3)
    assert max(rounded.ranks) < max(operator.ranks)
    lost = usual_order(rounded, levels, 2) - expected
    assert float(lost.norm()) < 5e-3 * float(expected.norm())


def test_one_mesh_width_is_as_good_as_another() -> None:
    """In units of the mesh width nothing changes."""
    made = [bpx(5, [DD], [h]).preconditioned_operator() for h in (1.0, 1e-9)]
    assert float((made[0] - made[1]).norm()) < 1e-13 * float(made[0].norm())


def test_the_dtype_is_that_asked_for() -> None:
    found = bpx(3, [DN], [1.0], dtype=torch.complex64)
    assert {t.dtype for t in (found.preconditioner, *found.gradients)} == {torch.complex64}
    assert integration(3, DN, dtype=torch.float32).gradients[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: bpx(0, [DN], [1.0]), "bpx: expected at least one level, got 0"),
        (lambda: bpx(3, [], []), "conditions and a positive mesh width for each direction, got 0"),
        (lambda: bpx(3, [DN], [1.0, 1.0]), "got 1 conditions and"),
        (lambda: bpx(3, [DN], [0.0]), r"got 1 conditions and \[0.0\]"),
        (lambda: bpx(3, [DN], [float("nan")]), r"got 1 conditions and \[nan\]"),
        (lambda: bpx(3, [(DIRICHLET, PERIODIC)], [1.0]), "both ends periodic or neither"),
        (lambda: bpx(3, [DN], [1.0], dtype=torch.int64), "a real or complex dtype"),
        (lambda: integration(3, DD), "a Dirichlet condition at one end and a Neumann face at the other"),
        (
            lambda: bpx(3, [DD], [1.0]).preconditioned_operator([None]),
            "a coefficient for each of 2 gradients, got 1",
        ),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
