"""Runnable end-to-end scripts: orchestration, no numerics. Run them from the repository root."""
