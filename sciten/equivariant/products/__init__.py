"""Equivariant products, described as sparse multilinear maps."""
