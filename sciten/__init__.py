"""sciten: scientific computing and equivariant modelling on one structured tensor backend."""

__version__ = "0.1.0"
