"""`sciten benchmark tensor-products`: what do products cost, for what they can express, beside other libraries?

float32, the same number of threads, a process for each program and case. Programs that compute the same get the same
numbers and weights, and are not timed where they disagree. After a warm-up they are called in turn, round by round,
never two at once; calls that take less than some hundredths of a second are repeated within a round. The first call is
timed with an empty cache of kernels.
"""

from sciten.cli.benchmarks.tensor_products.measurement import run
from sciten.cli.benchmarks.tensor_products.settings import PARTS, Settings

__all__ = ["PARTS", "Settings", "run"]
