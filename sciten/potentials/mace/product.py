"""The many-body product of MACE: polynomials of one atom's features, weighted per element and channel."""

from math import isqrt

import torch
from torch import Tensor, nn

from sciten.equivariant.layers.linear import DegreeLinear
from sciten.equivariant.products.symmetric import contraction_map, coupling
from sciten.potentials.precision import Float64Buffers
from sciten.tensor.multilinear import Executor, Index, evaluate


class ManyBodyProduct(Float64Buffers):
    """mace-torch's `EquivariantProductBasisBlock`: a symmetric contraction followed by a linear map.

    Weights are `weight_{L}_{nu}`, `[n_elements, n_paths, channels]` for output degree L and nu factors. They are folded
    with the coupling coefficients into one number per monomial, element and channel before any atom is touched.

    With `reduced`, the basis is a linearly independent one. As there is no canonical choice of it, its coefficients
    `coupling_{L}_{nu}`, `[n_rows, n_paths]`, belong to the model's state; rows are those of `coupling(...)`.
    """

    def __init__(
        self,
        lmax: int,
        degree_out: int,
        correlation: int,
        *,
        channels: int,
        n_elements: int,
        reduced: bool,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        degrees = tuple(range(degree_out + 1))
        self.reduced = reduced
        self.map = contraction_map(lmax, degrees, correlation)
        self.blocks = tuple((degree, count) for degree in degrees for count in range(correlation, 0, -1))
        for degree, count in self.blocks:
            coefficients = torch.tensor(coupling(lmax, degree, count, reduced=reduced).coefficients)
            paths = coefficients.shape[1]
            weight = (
                torch.randn(n_elements, paths, channels, generator=generator, dtype=torch.float64) / paths
            )
            self.register_parameter(f"weight_{degree}_{count}", nn.Parameter(weight.to(dtype)))
            self.keep_float64(f"coupling_{degree}_{count}", coefficients, persistent=reduced)
        self.linear = DegreeLinear(
            dict.fromkeys(degrees, channels), channels, generator=generator, dtype=dtype
        )

    def coefficients(self, elements: Tensor) -> Tensor:
        """Folded weights of the given elements, `[len(elements), n_coefficients, channels]`."""
        folded = []
        for degree, count in self.blocks:
            weight = getattr(self, f"weight_{degree}_{count}")[elements]
            folded.append(getattr(self, f"coupling_{degree}_{count}").to(weight.dtype) @ weight)
        return torch.cat(folded, dim=1)

    def signs_from_e3nn_04(self) -> dict[str, Tensor]:
        """For each weight the signs `[n_paths, 1]` that turn one made with e3nn 0.4's couplings into ours.

        A reduced basis is stored with its weights, so that there is nothing to turn.
        """
        if self.reduced:
            return {}
        lmax = isqrt(self.map.arguments[1].components) - 1
        return {
            f"weight_{degree}_{count}": torch.tensor(coupling(lmax, degree, count).signs_from_e3nn_04())[
                :, None
            ]
            for degree, count in self.blocks
        }

    def forward(
        self, message: Tensor, coefficients: Tensor, species: Index, executor: Executor | None = None
    ) -> Tensor:
        """`[n_atoms, (lmax + 1)**2, channels]` to `[n_atoms, (degree_out + 1)**2, channels]`.

        `species` says which row of `coefficients` belongs to each atom.
        """
        (product,) = evaluate(self.map, [coefficients, message], {"species": species}, executor=executor)
        return self.linear(product)
