"""The common tensor backend: structured tensor algebra that knows no physics, no files and no models."""

from sciten.tensor.multilinear import Multilinear

__all__ = ["Multilinear"]
