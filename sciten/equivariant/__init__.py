"""O(3) representations: harmonics, coupling coefficients, products and layers, in e3nn's conventions."""

from sciten.equivariant.irreps import Irrep, Irreps
from sciten.equivariant.products.tensor_product import TensorProduct
from sciten.equivariant.products.variants import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    TensorSquare,
)

__all__ = [
    "ElementwiseTensorProduct",
    "FullTensorProduct",
    "FullyConnectedTensorProduct",
    "Irrep",
    "Irreps",
    "TensorProduct",
    "TensorSquare",
]
