"""Equivariant building blocks that hold weights."""
