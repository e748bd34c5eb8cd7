import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

from sciten.equivariant.harmonics import spherical_harmonics
from sciten.equivariant.wigner import LMAX, wigner_d, wigner_matrices
from sciten.errors import ConfigError
from sciten.tensor.multilinear.reference import Reference
from tests.equivariant.rotations import improper_rotation

PLAIN = Reference()  # compiling kernels up to the highest degree takes longer than the tests


def rotations(count: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.tensor(Rotation.random(count, random_state=seed).as_matrix())


def test_equal_e3nn() -> None:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # e3nn's generators are rounded to the default dtype
    try:
        expected = [o3.Irrep(l, 1).D_from_matrix(rotations()) for l in range(7)]
    finally:
        torch.set_default_dtype(default)
    for found, theirs in zip(wigner_matrices(6, rotations(), executor=PLAIN), expected, strict=True):
        torch.testing.assert_close(found, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("parity", [1, -1])
def test_rotate_harmonics(parity: int) -> None:
    matrix = parity * rotations(1)[0]
    points = torch.nn.functional.normalize(torch.randn(20, 3, dtype=torch.float64), dim=1)
    before = spherical_harmonics(LMAX, points, executor=PLAIN)
    after = spherical_harmonics(LMAX, points @ matrix.T, executor=PLAIN)
    for l, d in enumerate(wigner_matrices(LMAX, matrix, executor=PLAIN)):
        degree = slice(l * l, (l + 1) ** 2)
        torch.testing.assert_close(before[:, degree] @ d.T, after[:, degree], rtol=0, atol=1e-12)


def test_are_an_orthogonal_representation() -> None:
    first, second = rotations(seed=1), -rotations(seed=2)
    matrices = [wigner_matrices(LMAX, r, executor=PLAIN) for r in (first, second, first @ second)]
    for l, (d1, d2, d12) in enumerate(zip(*matrices, strict=True)):
        torch.testing.assert_close(d1 @ d2, d12, rtol=0, atol=2e-13)
        identity = torch.eye(2 * l + 1, dtype=torch.float64).expand(6, -1, -1)
        torch.testing.assert_close(d1 @ d1.mT, identity, rtol=0, atol=1e-13)


def test_known_rotations() -> None:
    identity = torch.eye(3, dtype=torch.float64)
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    for l in range(4):
        torch.testing.assert_close(
            wigner_d(l, identity), torch.eye(2 * l + 1, dtype=torch.float64), rtol=0, atol=1e-14
        )
        torch.testing.assert_close(
            wigner_d(l, -identity), (-1) ** l * torch.eye(2 * l + 1, dtype=torch.float64), rtol=0, atol=1e-14
        )
        flipped = wigner_d(l, half_turn)
        torch.testing.assert_close(flipped, flipped.diagonal().sign().diag(), rtol=0, atol=1e-14)
    assert torch.equal(wigner_d(1, rotations()), rotations())


@pytest.mark.parametrize("mmax", [0, 1, 3])
def test_rows_of_low_order_alone(mmax: int) -> None:
    full = wigner_matrices(6, rotations(), executor=PLAIN)
    for l, rows in enumerate(wigner_matrices(6, rotations(), mmax=mmax, executor=PLAIN)):
        kept = slice(l - min(l, mmax), l + min(l, mmax) + 1)
        torch.testing.assert_close(rows, full[l][:, kept], rtol=0, atol=1e-14)


def test_middle_row_is_the_harmonics() -> None:
    """The row of order zero is the harmonic of the direction that goes to the polar axis."""
    harmonics = spherical_harmonics(4, rotations()[:, 1])
    for l, rows in enumerate(wigner_matrices(4, rotations(), mmax=0, executor=PLAIN)):
        expected = harmonics[:, l * l : (l + 1) ** 2] / (2 * l + 1) ** 0.5
        torch.testing.assert_close(rows[:, 0], expected, rtol=0, atol=1e-14)


def test_fast_executor_equals_the_reference_with_derivatives() -> None:
    for fast, plain in zip(_orders(None), _orders(PLAIN), strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-11)


def _orders(executor):
    matrix = rotations().requires_grad_(True)
    value = torch.cat([d.flatten(1) for d in wigner_matrices(4, matrix, executor=executor)], 1)
    (gradient,) = torch.autograd.grad(value.sin().sum(), matrix, create_graph=True)
    (second,) = torch.autograd.grad((gradient**2).sum(), matrix)
    return value, gradient, second


def test_derivatives_at_the_poles() -> None:
    """Rotations about the polar axis and half turns, where Euler angles are not unique."""
    angles = torch.tensor([0.0, 0.3, torch.pi], dtype=torch.float64)
    about_y = torch.tensor(Rotation.from_euler("y", angles[:, None]).as_matrix())
    matrix = torch.cat([about_y, about_y @ torch.diag(torch.tensor([1.0, -1, -1], dtype=torch.float64))])
    matrix.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda r: wigner_d(3, r, executor=PLAIN), matrix)
    assert torch.autograd.gradgradcheck(lambda r: wigner_d(2, r, executor=PLAIN), matrix)


def test_batches_and_dtypes() -> None:
    single = wigner_d(4, rotations()[2])
    batched = wigner_d(4, rotations().view(2, 3, 3, 3))
    assert batched.shape == (2, 3, 9, 9)
    torch.testing.assert_close(batched[0, 2], single, rtol=0, atol=1e-14)
    assert wigner_d(4, rotations()[:0]).shape == (0, 9, 9)
    rounded = wigner_d(10, rotations().float(), executor=PLAIN)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), wigner_d(10, rotations(), executor=PLAIN), rtol=0, atol=3e-6)


def test_agree_with_the_representation_of_an_improper_rotation() -> None:
    matrix = torch.tensor(improper_rotation(3))
    d = wigner_d(3, matrix)
    torch.testing.assert_close(d, -wigner_d(3, -matrix), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("l", "rotation", "said"),
    [
        (LMAX + 1, torch.eye(3), f"degree from 0 to {LMAX}, got {LMAX + 1}"),
        (-1, torch.eye(3), "got -1"),
        (2, torch.ones(5, 3), r"shape \[\.\.\., 3, 3\], got \[5, 3\]"),
        (2, torch.eye(3, dtype=torch.int64), "float32 or float64, got torch.int64"),
    ],
)
def test_bad_input_is_refused(l: int, rotation: torch.Tensor, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        wigner_d(l, rotation)


def test_bad_mmax_is_refused() -> None:
    with pytest.raises(ConfigError, match="mmax from 0 to lmax = 2, got 3"):
        wigner_matrices(2, torch.eye(3), mmax=3)
