"""Solvers of linear systems and eigenvalue problems in low-rank formats."""
