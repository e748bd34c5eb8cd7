"""O(3) representations: harmonics, coupling coefficients, products and layers, in e3nn's conventions."""
