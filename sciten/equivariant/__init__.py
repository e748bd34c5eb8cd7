"""O(3) representations: harmonics, coupling coefficients, products and layers, in e3nn's conventions."""

from sciten.equivariant.products.so2 import SO2Product

__all__ = ["SO2Product"]
