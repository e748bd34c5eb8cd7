"""Whether a computation is being recorded."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode


def is_traced(tensor: Tensor) -> bool:
    """Whether operations on `tensor` are being recorded (`torch.compile`, `torch.export`, `make_fx`): its values
    must then not decide anything, and only torch operators are seen."""
    return (
        torch.compiler.is_compiling()
        or _get_current_dispatch_mode() is not None
        or type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__
    )
