"""What `SO2Product` should compute, dense and in plain torch, sharing no step with it but the Wigner matrices.

A frame is taken for each edge with any roll about the edge, all orders of all degrees are mixed by one dense matrix,
written down entry by entry from the weights as the class documents them, and the result is rotated back.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from sciten.equivariant.irreps import Irreps
from sciten.equivariant.products.base import from_channels, to_channels
from sciten.equivariant.products.so2 import SO2Product
from sciten.equivariant.testing.subjects import Subject
from sciten.equivariant.wigner import wigner_d
from sciten.tensor.multilinear.reference import Reference


def of_edges(subject: Subject, *, seed: int = 0) -> Callable[..., Tensor]:
    """The dense counterpart of an `SO2Product`, of the arguments of its `Subject`.

    Args:
        subject: of the product.
        seed: of the rolls, on which the result does not depend.
    """
    product: SO2Product = subject.product
    lmax_in, lmax_out = product.lmax_in, product.lmax_out

    def reference(features: Tensor, vectors: Tensor, radial: Tensor, *weights: Tensor) -> Tensor:
        frames = rolled_frames(vectors, seed)
        inputs = to_channels(features, Irreps.natural(lmax_in, product.channels_in)).transpose(1, 2)
        factors = _by_component(product, radial)
        rotated = _block_diagonal(lmax_in, frames) @ inputs * factors
        mixed = torch.einsum("zic,icjd->zjd", rotated, mixing_matrix(product, weights))
        messages = _block_diagonal(lmax_out, frames).mT @ mixed * _rescaling(product, mixed)
        return from_channels(messages.transpose(1, 2), subject.irreps_out)

    return reference


def rolled_frames(vectors: Tensor, seed: int) -> Tensor:
    """Rotations R with R v = |v| y and a random roll about y, `[n_edges, 3, 3]`; differentiable where v is."""
    generator = torch.Generator().manual_seed(seed)
    angle = 6.28 * torch.rand(len(vectors), 1, generator=generator, dtype=torch.float64).to(vectors)
    along = vectors / vectors.norm(dim=1, keepdim=True)
    # The coordinate axis that is farthest from the edge; a constant, since no result depends on the roll.
    axis = torch.eye(3).to(vectors)[vectors.detach().abs().argmin(1)]
    across = axis - (axis * along).sum(1, keepdim=True) * along
    across = across / across.norm(dim=1, keepdim=True)
    across = angle.cos() * across + angle.sin() * torch.linalg.cross(across, along)
    return torch.stack([across, along, torch.linalg.cross(across, along)], 1)


def mixing_matrix(product: SO2Product, weights: Any) -> Tensor:
    """What acts in the frame of an edge, `[(lmax_in + 1)**2, channels_in, (lmax_out + 1)**2, channels_out]`.

    `weight_{m}` over the root of the number of inputs of order m; its real part joins +m to +m and -m to -m, its
    imaginary part +m to -m, and with the opposite sign -m to +m.

    Args:
        product: its sizes are read, not its weights.
        weights: `weight_0`, `weight_1`, ..., as `SO2Product` documents them.
    """
    c_in, c_out = product.channels_in, product.channels_out
    shape = (product.lmax_in + 1) ** 2, c_in, (product.lmax_out + 1) ** 2, c_out
    matrix = weights[0].new_zeros(shape)
    for m, weight in enumerate(weights):
        parts = list(weight) if weight.ndim == 3 else [weight]
        inputs = len(parts) * (product.lmax_in - m + 1) * c_in
        real, *imaginary = (
            (part / sqrt(inputs)).view(product.lmax_in - m + 1, c_in, product.lmax_out - m + 1, c_out)
            for part in parts
        )
        for a in range(m, product.lmax_in + 1):
            for b in range(m, product.lmax_out + 1):
                plus, minus = (a * a + a + m, b * b + b + m), (a * a + a - m, b * b + b - m)
                entry = real[a - m, :, b - m]
                matrix[plus[0], :, plus[1]] = entry
                matrix[minus[0], :, minus[1]] = entry
                for part in imaginary:
                    matrix[plus[0], :, minus[1]] = part[a - m, :, b - m]
                    matrix[minus[0], :, plus[1]] = -part[a - m, :, b - m]
    return matrix


def _by_component(product: SO2Product, radial: Tensor) -> Tensor:
    """Radial factors, one for each order and degree in turn, by component; zero for orders that are left out."""
    given = radial.unflatten(1, (-1, product.channels_in))
    pairs = [(m, l) for m in range(product.mmax + 1) for l in range(m, product.lmax_in + 1)]
    place = {pair: n for n, pair in enumerate(pairs)}
    zero = torch.zeros_like(given[:, 0])
    columns = [
        given[:, place[abs(m), l]] if (abs(m), l) in place else zero
        for l in range(product.lmax_in + 1)
        for m in range(-l, l + 1)
    ]
    return torch.stack(columns, 1)


def _rescaling(product: SO2Product, like: Tensor) -> Tensor:
    """Factors of the components of the messages, `[(lmax_out + 1)**2, 1]`."""
    top = product.mmax
    factors = [
        sqrt((2 * l + 1) / (2 * top + 1)) if product.rescale and l > top else 1.0
        for l in range(product.lmax_out + 1)
        for _ in range(2 * l + 1)
    ]
    return torch.tensor(factors, dtype=torch.float64).to(like)[:, None]


def _block_diagonal(lmax: int, rotation: Tensor) -> Tensor:
    """The Wigner matrices of degrees 0..lmax, `[n_edges, (lmax + 1)**2, (lmax + 1)**2]`."""
    full = rotation.new_zeros(len(rotation), (lmax + 1) ** 2, (lmax + 1) ** 2)
    for l in range(lmax + 1):
        part = slice(l * l, (l + 1) ** 2)
        full[:, part, part] = wigner_d(l, rotation, executor=Reference())
    return full
