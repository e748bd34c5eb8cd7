import pytest
import torch
from e3nn import o3

from sciten.equivariant.products.channelwise import convolution_map, convolution_paths
from sciten.tensor.multilinear import Index, evaluate
from sciten.tensor.multilinear.reference import Reference


def e3nn_convolution(lmax_in, lmax, paths, weights, harmonics, features):
    """The same product by e3nn, one output per path, in e3nn's layout."""
    channels = features.shape[-1]
    irreps_in = o3.Irreps([(channels, (l, (-1) ** l)) for l in range(lmax_in + 1)])
    irreps_out = o3.Irreps([(channels, (p.l_out, (-1) ** p.l_out)) for p in paths])
    instructions = [(p.l_in, p.l_edge, k, "uvu", True) for k, p in enumerate(paths)]
    product = o3.TensorProduct(
        irreps_in,
        o3.Irreps.spherical_harmonics(lmax),
        irreps_out,
        instructions,
        shared_weights=False,
        internal_weights=False,
    ).double()
    blocks = features.split([2 * l + 1 for l in range(lmax_in + 1)], dim=1)
    flat = torch.cat([block.transpose(1, 2).flatten(1) for block in blocks], dim=1)
    out = product(flat, harmonics, weights.flatten(1))
    parts = out.split([channels * (2 * p.l_out + 1) for p in paths], dim=1)
    return [part.view(len(out), channels, -1).transpose(1, 2) for part in parts]


@pytest.mark.parametrize(("lmax_in", "lmax"), [(0, 3), (1, 2), (2, 3)])
def test_equals_e3nn(lmax_in: int, lmax: int) -> None:
    default = torch.get_default_dtype()
    generator = torch.Generator().manual_seed(0)
    paths = convolution_paths(lmax_in, lmax, lmax)
    shape = {"generator": generator, "dtype": torch.float64}
    weights = torch.randn(7, len(paths), 4, **shape)
    harmonics = torch.randn(7, (lmax + 1) ** 2, **shape)
    features = torch.randn(7, (lmax_in + 1) ** 2, 4, **shape)
    indices = {"senders": Index(torch.arange(7), 7), "receivers": Index(torch.arange(7), 7)}
    (found,) = evaluate(
        convolution_map(lmax_in, lmax, lmax), [weights, harmonics, features], indices, executor=Reference()
    )
    torch.set_default_dtype(torch.float64)  # e3nn rounds its constants to the default dtype when it builds
    try:
        by_path = e3nn_convolution(lmax_in, lmax, paths, weights, harmonics, features)
    finally:
        torch.set_default_dtype(default)
    expected = []
    for l in range(lmax + 1):
        into = [part for part, path in zip(by_path, paths, strict=True) if path.l_out == l]
        expected.append(torch.stack(into, dim=2).flatten(1, 2))
    torch.testing.assert_close(found, torch.cat(expected, dim=1), rtol=1e-12, atol=1e-12)
