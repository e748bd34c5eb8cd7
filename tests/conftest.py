"""Settings that must be there before any test module is imported."""

import os

import torch

# Triton settles when it is imported whether kernels are compiled or interpreted, and torch may import it.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
