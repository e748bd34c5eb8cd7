import torch
from e3nn import o3

from sciten.equivariant.layers.linear import DegreeLinear, ElementLinear


def to_e3nn(features: torch.Tensor, degrees: int) -> torch.Tensor:
    """`[n, (l + 1)^2, channels]` to e3nn's flat layout, channels outside components within a degree."""
    blocks = features.split([2 * l + 1 for l in range(degrees)], dim=1)
    return torch.cat([block.transpose(1, 2).flatten(1) for block in blocks], dim=1)


def test_degree_linear_equals_e3nn() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = DegreeLinear({0: 4, 1: 4, 2: 4}, 6, generator=generator, dtype=torch.float64)
    theirs = o3.Linear("4x0e + 4x1o + 4x2e", "6x0e + 6x1o + 6x2e").double()
    theirs.weight.data = torch.cat([getattr(ours, f"weight_{l}").flatten() for l in range(3)]).detach()
    features = torch.randn(5, 9, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(to_e3nn(ours(features), 3), theirs(to_e3nn(features, 3)), rtol=1e-6, atol=1e-6)


def test_degree_linear_mixes_paths_on_a_view() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = DegreeLinear({0: 8, 1: 12}, 5, generator=generator, dtype=torch.float64)
    features = torch.randn(3, 2 + 9, 4, generator=generator, dtype=torch.float64)
    found = layer(features)
    scalars = torch.einsum("npc,pcd->nd", features[:, :2], layer.weight_0.view(2, 4, 5)) / 8**0.5
    vectors = (
        torch.einsum("nmpc,pcd->nmd", features[:, 2:].view(3, 3, 3, 4), layer.weight_1.view(3, 4, 5))
        / 12**0.5
    )
    torch.testing.assert_close(found[:, 0], scalars)
    torch.testing.assert_close(found[:, 1:], vectors)


def test_element_linear_equals_e3nn() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = ElementLinear((0, 1), 4, 3, generator=generator, dtype=torch.float64)
    theirs = o3.FullyConnectedTensorProduct("4x0e + 4x1o", "3x0e", "4x0e + 4x1o").double()
    theirs.weight.data = torch.cat([getattr(ours, f"weight_{l}").flatten() for l in range(2)]).detach()
    features = torch.randn(6, 4, 4, generator=generator, dtype=torch.float64)
    elements = torch.tensor([2, 0, 0, 2, 1, 0])
    groups = [(z, (elements == z).nonzero()[:, 0]) for z in range(3)]
    one_hot = torch.nn.functional.one_hot(elements, 3).double()
    expected = theirs(to_e3nn(features, 2), one_hot)
    torch.testing.assert_close(to_e3nn(ours(features, groups), 2), expected, rtol=1e-6, atol=1e-6)


def test_element_linear_reads_leading_degrees_only() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = ElementLinear((0,), 4, 1, generator=generator, dtype=torch.float64)
    features = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    groups = [(0, torch.arange(2))]
    assert torch.equal(layer(features, groups), layer(features[:, :1], groups))
