"""Partial differential equations on low-rank formats."""
