"""What a tensor product can and cannot express (Xie et al., The Price of Freedom, arXiv 2506.13523)."""

from typing import Any, Protocol

import torch
from torch import Tensor

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.irreps import Irrep, Irreps
from sciten.equivariant.products.variants import TensorSquare
from sciten.errors import ConfigError

#: Relative to the largest: paths and singular values below are zero. Products are exact to about 1e-13.
_TOLERANCE = 1e-9


class BilinearProduct(Protocol):
    """Any equivariant bilinear product: `product(x, y)`, or `product(x, y, weight)` with `weight_numel` weights.

    It has `irreps_in1`, `irreps_in2` and `irreps_out`, anything that `Irreps` reads. One whose features are not laid
    out by irreps (`CartesianProduct`) has a method `as_irreps(x, y)` beside it, on features that are. One that is not
    called like this at all (`SO2Product`) has a method `as_bilinear()`, which gives a product that is. A `TensorSquare`
    stands for the symmetric product B with B(x, x) = its square of x.

    Weights are `[weight_numel]`, or with `shared_weights = False` `[batch, weight_numel]`, a set for each sample.

    Optional attributes: `conserves_parity`, whether it commutes with inversion (else with rotations alone; true where
    it is missing), and `unit_variance`, whether independent inputs of unit variance, and weights of unit variance, give
    outputs of unit variance (false where it is missing). `sciten.equivariant.testing` holds products to both.
    """

    def __call__(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """`[batch, dim1]` and `[batch, dim2]` to `[batch, dim_out]`."""
        ...


def expressivity(product: BilinearProduct, *, seed: int = 0) -> int:
    """The dimension of the bilinear maps that a product can realise with equivariant linear maps before and after it.

    It is the rank of the Jacobian of the path coefficients by all weights, the product's own and those of the linear
    maps, at a random point. For the full Clebsch-Gordan product of single irreps that is the number of paths. The two
    inputs have linear maps of their own, those of a `TensorSquare` too.

    Args:
        product: see `BilinearProduct`.
        seed: of the random point.

    Raises:
        ConfigError: the product does not say its irreps, or is not equivariant.
    """
    product = _bilinear(product)
    irreps = _irreps(product)
    generator = torch.Generator().manual_seed(seed)
    weight = _random_weight(product, generator)
    layers = [_random_layers(side, generator) for side in irreps]
    coefficients = _path_coefficients(product, weight)

    def realised(first: Tensor, second: Tensor, out: Tensor, coefficients: Tensor) -> Tensor:
        full = [_matrix(values, side) for values, side in zip((first, second, out), irreps, strict=True)]
        return torch.einsum("abc,aA,bB,cC->ABC", coefficients, *full)

    columns = list(
        torch.autograd.functional.jacobian(lambda a, b, c: realised(a, b, c, coefficients), tuple(layers))
    )
    if weight is not None:
        jacobian = torch.autograd.functional.jacobian(lambda w: _path_coefficients(product, w), weight)
        full = [_matrix(values, side) for values, side in zip(layers, irreps, strict=True)]
        columns.append(torch.einsum("abcw,aA,bB,cC->ABCw", jacobian, *full))
    matrix = torch.cat([column.flatten(0, 2) for column in columns], dim=1)
    singular = torch.linalg.svdvals(matrix)
    return int((singular > _TOLERANCE * singular[0]).sum()) if len(singular) and singular[0] > 0 else 0


def interactability(product: BilinearProduct, *, seed: int = 0) -> frozenset[tuple[int, int, int]]:
    """The degrees (l1, l2, l3) that a product can couple, found by evaluating it: accidental zeros show as missing.

    Args:
        product: see `BilinearProduct`.
        seed: of random weights, where the product has any.

    Raises:
        ConfigError: the product does not say its irreps, or is not equivariant.
    """
    product = _bilinear(product)
    first, second, out = (_copies(side) for side in _irreps(product))
    generator = torch.Generator().manual_seed(seed)
    coefficients = _path_coefficients(product, _random_weight(product, generator)).abs()
    smallest = _TOLERANCE * float(coefficients.max()) if coefficients.numel() else 0.0
    places = (coefficients > smallest).nonzero().tolist()
    return frozenset((first[a].l, second[b].l, out[c].l) for a, b, c in places)


def _bilinear(product: Any) -> BilinearProduct:
    """The product itself, or what it says it is as a bilinear one."""
    if isinstance(product, TensorSquare):
        return _Polarised(product)
    as_bilinear = getattr(product, "as_bilinear", None)
    bilinear: BilinearProduct = product if as_bilinear is None else as_bilinear()
    return bilinear


class _Polarised:
    """The symmetric bilinear product of a square: (x + y)² - (x - y)² = 4 B(x, y)."""

    def __init__(self, square: TensorSquare) -> None:
        self._square = square
        self.irreps_in1 = self.irreps_in2 = square.irreps_in
        self.irreps_out = square.irreps_out
        self.weight_numel, self.shared_weights = square.weight_numel, square.shared_weights

    def __call__(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        return (self._square(x + y, weight) - self._square(x - y, weight)) / 4


def _irreps(product: BilinearProduct) -> tuple[Irreps, Irreps, Irreps]:
    try:
        first, second, out = (Irreps(getattr(product, f"irreps_{side}")) for side in ("in1", "in2", "out"))
    except AttributeError as error:
        raise ConfigError(
            f"{type(product).__name__}: expected a product with irreps_in1, irreps_in2 and irreps_out, got none"
        ) from error
    return first, second, out


def _random_weight(product: BilinearProduct, generator: torch.Generator) -> Tensor | None:
    numel = int(getattr(product, "weight_numel", 0))
    return torch.randn(numel, generator=generator, dtype=torch.float64) if numel else None


def _copies(irreps: Irreps) -> list[Irrep]:
    return [entry.ir for entry in irreps for _ in range(entry.mul)]


def _random_layers(irreps: Irreps, generator: torch.Generator) -> Tensor:
    """Weights between all copies of the same irrep, flat."""
    copies = _copies(irreps)
    numel = sum(a == b for a in copies for b in copies)
    return torch.randn(numel, generator=generator, dtype=torch.float64)


def _matrix(values: Tensor, irreps: Irreps) -> Tensor:
    """The layer as a matrix between copies, `[n_copies, n_copies]`."""
    copies = _copies(irreps)
    places = torch.tensor([[a == b for b in copies] for a in copies]).nonzero(as_tuple=True)
    return values.new_zeros(len(copies), len(copies)).index_put(places, values)


def _path_coefficients(product: BilinearProduct, weight: Tensor | None) -> Tensor:
    """By how much each path between single copies exceeds `wigner_3j`, `[n_copies1, n_copies2, n_copies_out]`."""
    irreps = _irreps(product)
    dims = [side.dim for side in irreps]
    x = torch.eye(dims[0], dtype=torch.float64).repeat_interleave(dims[1], dim=0)
    y = torch.eye(dims[1], dtype=torch.float64).repeat(dims[0], 1)
    call = getattr(product, "as_irreps", product)
    if weight is not None and not getattr(product, "shared_weights", True):
        weight = weight.expand(len(x), -1)  # the same for all samples, so that it is one bilinear map
    values = (call(x, y) if weight is None else call(x, y, weight)).view(*dims)
    starts = []
    for side in irreps:
        sizes = [ir.dim for ir in _copies(side)]
        starts.append([(ir, sum(sizes[:n])) for n, ir in enumerate(_copies(side))])
    rows = []
    explained = values.new_zeros(())
    for a, i in starts[0]:
        for b, j in starts[1]:
            for c, k in starts[2]:
                if not abs(a.l - b.l) <= c.l <= a.l + b.l:
                    rows.append(values.new_zeros(()))
                    continue
                block = values[i : i + a.dim, j : j + b.dim, k : k + c.dim]
                rows.append((block * torch.tensor(wigner_3j(a.l, b.l, c.l))).sum())
                explained = explained + rows[-1].detach() ** 2
    total = float((values.detach() ** 2).sum())
    if total - float(explained) > 1e-8 * total:
        raise ConfigError(
            f"{type(product).__name__}: it is not equivariant, so that it has no paths to speak of"
        )
    return torch.stack(rows).view(*map(len, starts))
