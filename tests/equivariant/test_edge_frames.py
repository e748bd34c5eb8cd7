import pytest
import torch

from sciten.equivariant.edge_frames import EdgeFrames, align_to_y
from sciten.errors import ConfigError

AXES = torch.cat([torch.eye(3), -torch.eye(3)]).double()


def edges(seed: int = 0) -> torch.Tensor:
    """Any directions, the axes, and directions within 1e-8 of them."""
    generator = torch.Generator().manual_seed(seed)
    any_, shift = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    return torch.cat([any_, AXES, AXES + 1e-8 * shift, 1.7 * AXES - 1e-12 * shift])


def test_take_every_direction_to_y() -> None:
    rotation = align_to_y(edges())
    expected = torch.zeros(len(edges()), 3, dtype=torch.float64)
    expected[:, 1] = edges().norm(dim=1)
    torch.testing.assert_close((rotation @ edges()[..., None])[..., 0], expected, rtol=0, atol=1e-14)


def test_are_proper_rotations() -> None:
    rotation = align_to_y(edges())
    identity = torch.eye(3, dtype=torch.float64).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.mT, identity, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.linalg.det(rotation), identity[:, 0, 0], rtol=0, atol=1e-14)


def test_do_not_depend_on_the_length() -> None:
    vectors = edges()
    for length in (1e-200, 1e-30, 1e30, 1e200):
        torch.testing.assert_close(align_to_y(length * vectors), align_to_y(vectors), rtol=0, atol=1e-14)
    assert torch.isfinite(align_to_y(1e-35 * AXES.float())).all()


def test_derivatives_are_right_next_to_the_axes() -> None:
    # On the seam itself the frame jumps (what is computed with it does not, see test_so2), so it is stepped over here.
    vectors = edges()
    vectors = vectors[vectors[:, 1].abs() > 1e-3].requires_grad_(True)
    assert torch.autograd.gradcheck(align_to_y, vectors)
    assert torch.autograd.gradgradcheck(align_to_y, vectors)


def test_derivatives_are_finite_everywhere() -> None:
    vectors = edges().requires_grad_(True)
    value = align_to_y(vectors)
    for _ in range(3):
        (value,) = torch.autograd.grad(value.sin().sum(), vectors, create_graph=True)
        assert torch.isfinite(value).all()
        assert value.abs().max() < 1e3


def test_batches() -> None:
    assert align_to_y(torch.ones(2, 5, 3)).shape == (2, 5, 3, 3)
    assert align_to_y(torch.ones(0, 3)).shape == (0, 3, 3)


def test_rows_are_those_of_frames_with_fewer_orders() -> None:
    full = EdgeFrames.from_vectors(edges(), 4)
    few = EdgeFrames.from_vectors(edges(), 4, 2)
    assert (few.lmax, few.mmax, few.n_edges) == (4, 2, len(edges()))
    for l in range(5):
        torch.testing.assert_close(full.rows(l, 2), few.rows(l, 2), rtol=0, atol=1e-14)
        assert few.rows(l, 1).shape == (len(edges()), 2 * min(l, 1) + 1, 2 * l + 1)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (torch.ones(4, 2), r"shape \[\.\.\., 3\], got \[4, 2\]"),
        (torch.ones(3, dtype=torch.float16), "float32 or float64, got torch.float16"),
        (torch.tensor([[0.0, 1, 0], [0, 0, 0]]), r"not zero, got \[0.0, 0.0, 0.0\] for edge 1"),
        (torch.tensor([[0.0, float("nan"), 0]]), r"finite vectors.*nan.* for edge 0"),
        (torch.tensor([[0.0, float("inf"), 0]]), r"finite vectors.*inf.* for edge 0"),
    ],
)
def test_bad_input_is_refused(vectors: torch.Tensor, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        align_to_y(vectors)
