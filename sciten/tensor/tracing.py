"""Whether a computation is being recorded, and what a compiler need not follow."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

P = ParamSpec("P")
R = TypeVar("R")


def is_traced(tensor: Tensor) -> bool:
    """Whether operations on `tensor` are being recorded (`torch.compile`, `torch.export`, `make_fx`): its values
    must then not decide anything, and only torch operators are seen."""
    return (
        torch.compiler.is_compiling()
        or _get_current_dispatch_mode() is not None
        or type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__
    )


def constant(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function of plain numbers as one that `torch.compile` calls instead of following it.

    This is what `torch.compiler.assume_constant_result` sets; calling that would import the compiler, which takes
    seconds. Under a cache the mark goes below it: the compiler looks through caches.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
