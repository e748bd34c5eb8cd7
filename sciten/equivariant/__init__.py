"""O(3) representations: harmonics, coupling coefficients, products and layers, in e3nn's conventions."""

from sciten.equivariant.expressivity import expressivity, interactability
from sciten.equivariant.irreps import Irrep, Irreps
from sciten.equivariant.products.cartesian import (
    CartesianProduct,
    cartesian_irreps,
    cartesian_to_irreps,
    irreps_to_cartesian,
)
from sciten.equivariant.products.clebsch_gordan import ClebschGordanProduct
from sciten.equivariant.products.gaunt import GauntProduct
from sciten.equivariant.products.matrix import MatrixProduct
from sciten.equivariant.products.so2 import SO2Product
from sciten.equivariant.products.tensor_product import TensorProduct
from sciten.equivariant.products.variants import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    TensorSquare,
)
from sciten.equivariant.products.vector_gaunt import VectorGauntProduct

__all__ = [
    "CartesianProduct",
    "ClebschGordanProduct",
    "ElementwiseTensorProduct",
    "FullTensorProduct",
    "FullyConnectedTensorProduct",
    "GauntProduct",
    "Irrep",
    "Irreps",
    "MatrixProduct",
    "SO2Product",
    "TensorProduct",
    "TensorSquare",
    "VectorGauntProduct",
    "cartesian_irreps",
    "cartesian_to_irreps",
    "expressivity",
    "interactability",
    "irreps_to_cartesian",
]
