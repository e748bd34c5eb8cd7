"""What a Fourier block computes at every point of a grid: the sum with its skip connection, GELU, and the channel MLP.

Most of the time of a neural operator goes into this. Of single operations each reads and writes whole fields, and the
backward pass keeps their results; so on the CPU compiled code (`pointwise.cpp`) walks over the points once, forward and
backward, and keeps only what it was given. The reference is `Pointwise.reference`. It runs wherever that code does not
serve: in double precision, on other devices, in mixed precision, where operations are recorded, for higher derivatives,
and for few points or many weights.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from sciten.errors import ConfigError
from sciten.tensor import compiler
from sciten.tensor.tracing import is_traced

Skip = Literal["none", "identity", "soft_gating", "linear"]
#: Fewer points are done before a compiler could start.
_FEWEST_POINTS = 4096
#: Numbers of all weights together: beyond, matrix products of libraries win, which go through large ones in blocks.
_MOST_WEIGHTS = 1 << 16


class Weights(NamedTuple):
    """What a `Pointwise` is given beside fields: skips have a matrix `[inputs, outputs]`, a number for each channel, or
    nothing; `first` is `[inputs, hidden]`, `second` `[hidden, outputs]`."""

    skip: Tensor | None = None
    bias: Tensor | None = None
    first: Tensor | None = None
    first_bias: Tensor | None = None
    second: Tensor | None = None
    mlp_skip: Tensor | None = None
    second_bias: Tensor | None = None


@dataclass(frozen=True)
class Pointwise:
    """A channel MLP, alone or as the end of a Fourier block.

    With x the fields that the block was given and u what its convolution made of them,

        s = u + bias + skip(x),  y = a(second(GELU(first(a(s)))) + mlp_skip(x)),

    where first and second have their biases, and a is GELU where `activated`, else nothing. Alone it is
    y = second(GELU(first(u))), and without an MLP y = a(s).

    Args:
        skip, mlp_skip: past the convolution, and past both; see `blocks.SkipConnection`.
        activated: whether GELU is taken of s and of the last sum.
    """

    skip: Skip = "none"
    mlp_skip: Skip = "none"
    activated: bool = False

    def __call__(
        self, u: Tensor, x: Tensor | None, weights: Weights, *, compiled: bool | None = None
    ) -> Tensor:
        """y, `[..., outputs]`, of u `[..., inputs]` and x `[..., outputs]`; differentiable to any order.

        Args:
            u, x: fields; x only where something is passed on.
            weights: as many as there are.
            compiled: whether compiled code runs; by default where it can, and where there is enough to do.

        Raises:
            ConfigError: compiled code is asked for, and cannot run here.
        """
        x = x if self.skip != "none" or self.mlp_skip != "none" else None
        if compiled is None:
            compiled = _is_worth_it(u, weights) and self.unsupported(u, x, weights) is None
        elif compiled and (reason := self.unsupported(u, x, weights)) is not None:
            raise ConfigError(
                f"Pointwise: expected what compiled code can do, got {reason}; leave `compiled` out"
            )
        if compiled:
            return _Compiled.apply(self, u, x, *weights)  # type: ignore[no-any-return]
        return self.reference(u, x, weights)

    def unsupported(self, u: Tensor, x: Tensor | None, weights: Weights) -> str | None:
        """Why compiled code cannot run; None where it can."""
        tensors = [t for t in (u, x, *weights) if t is not None]
        if is_traced(u):
            return "operations that are recorded"
        # Both look at every operation: torch.func, and differentiation in forward mode.
        if torch._C._are_functorch_transforms_active() or any(
            unpack_dual(t).tangent is not None for t in tensors
        ):
            return "a transform of functions"
        if any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
            return "tensors that are not float32 on the CPU"
        if torch.is_autocast_enabled("cpu"):
            return "mixed precision"
        if not self._fits(u, x, weights):
            return "weights or fields that are missing or do not fit"
        return None if compiler.available() else "no C++ compiler"

    def _fits(self, u: Tensor, x: Tensor | None, w: Weights) -> bool:
        """Whether all is there, of the shapes that compiled code takes them to have."""
        if w.first is None or w.second is None or w.first.ndim != 2 or w.second.ndim != 2:
            return False
        inputs, hidden, outputs = (*w.first.shape, w.second.shape[1])
        wanted: list[tuple[Tensor | None, tuple[int, ...] | None]] = [
            (u, (*u.shape[:-1], inputs)),
            (x, None if x is None else (*u.shape[:-1], outputs)),
            (w.skip, _weight_shape(self.skip, inputs)),
            (w.first_bias, (hidden,)),
            (w.second, (hidden, outputs)),
            (w.mlp_skip, _weight_shape(self.mlp_skip, outputs)),
            (w.second_bias, (outputs,)),
        ]
        if w.bias is not None:
            wanted.append((w.bias, (inputs,)))
        return (self.skip == "none" or inputs == outputs) and all(
            (None if t is None else tuple(t.shape)) == shape for t, shape in wanted
        )

    def reference(self, u: Tensor, x: Tensor | None, weights: Weights) -> Tensor:
        """The same by torch's operations."""
        w, gelu = weights, torch.nn.functional.gelu
        s = _sum(u, w.bias, _passed(self.skip, x, w.skip))
        if self.activated:
            s = gelu(s)
        if w.first is None or w.second is None:
            return s
        hidden = gelu(_sum(torch.matmul(s, w.first), w.first_bias))
        y = _sum(torch.matmul(hidden, w.second), w.second_bias, _passed(self.mlp_skip, x, w.mlp_skip))
        return gelu(y) if self.activated else y


def _sum(first: Tensor, *others: Tensor | None) -> Tensor:
    for other in others:
        first = first if other is None else first + other
    return first


def _passed(kind: Skip, x: Tensor | None, weight: Tensor | None) -> Tensor | None:
    if x is None or kind == "none":
        return None
    if weight is None:
        return x
    return torch.matmul(x, weight) if kind == "linear" else x * weight


def _weight_shape(kind: Skip, channels: int) -> tuple[int, ...] | None:
    return {"linear": (channels, channels), "soft_gating": (channels,)}.get(kind)


def _is_worth_it(u: Tensor, weights: Weights) -> bool:
    """Whether compiled code is worth its compilation, and beats plain operations."""
    return not is_traced(u) and (
        u.numel() >= _FEWEST_POINTS * u.shape[-1]
        and sum(w.numel() for w in weights if w is not None) <= _MOST_WEIGHTS
        and (torch.get_num_threads() == 1 or compiler.parallel())
    )


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pointwise: Pointwise, *tensors: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.pointwise = pointwise
        ctx.save_for_backward(*tensors)
        return _Kernel.of(pointwise, tensors).forward()

    @staticmethod
    def backward(ctx: Any, dresult: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        # For a derivative of the gradient, and for batches of gradients, which have no memory of their own.
        if torch.is_grad_enabled() or not torch._C._has_storage(dresult):
            return (None, *_by_reference(ctx.pointwise, tensors, needed, dresult))
        return (None, *_Kernel.of(ctx.pointwise, tensors).backward(dresult.contiguous(), needed))


def _by_reference(
    pointwise: Pointwise, tensors: Sequence[Tensor | None], needed: Sequence[bool], dresult: Tensor
) -> list[Tensor | None]:
    with torch.enable_grad():
        # Views end what is differentiated here: u itself was made of x.
        u, x, *weights = (None if t is None else t.view_as(t) for t in tensors)
        wanted = [t for t, need in zip((u, x, *weights), needed, strict=True) if need and t is not None]
        assert u is not None
        result = pointwise.reference(u, x, Weights(*weights))
        found = iter(torch.autograd.grad(result, wanted, dresult, create_graph=True))
    return [next(found) if need else None for need in needed]


@dataclass(frozen=True)
class _Kernel:
    """A call of the compiled code: u, x and the weights, contiguous."""

    pointwise: Pointwise
    u: Tensor
    x: Tensor | None
    weights: Weights

    @classmethod
    def of(cls, pointwise: Pointwise, tensors: Sequence[Tensor | None]) -> "_Kernel":
        u, x, *weights = (None if t is None else t.contiguous() for t in tensors)
        assert u is not None
        return cls(pointwise, u, x, Weights(*weights))

    def forward(self) -> Tensor:
        result = self.u.new_empty(*self.u.shape[:-1], self._channels[-1])
        self._library.forward(*self._sizes, *self._given, _address(result))
        return result

    def backward(self, dresult: Tensor, needed: Sequence[bool]) -> list[Tensor | None]:
        """The gradients of u, x and the weights that are needed."""
        given = (self.u, self.x, *self.weights)
        found = [
            torch.empty_like(t) if need and t is not None else None
            for t, need in zip(given, needed, strict=True)
        ]
        du, dx, *dweights = found
        self._library.backward(
            *self._sizes, *self._given, *map(_address, (dresult, du, dx)), _addresses(dweights)
        )
        return found

    @property
    def _channels(self) -> tuple[int, int, int]:
        first, second = self.weights.first, self.weights.second
        assert first is not None and second is not None
        return (first.shape[0], *second.shape)

    @property
    def _sizes(self) -> tuple[ctypes.c_long, ctypes.c_long]:
        points = self.u.numel() // self.u.shape[-1]
        # A thread should have work for longer than it takes to wake it.
        return ctypes.c_long(points), ctypes.c_long(max(1, min(torch.get_num_threads(), points // 1024)))

    @property
    def _given(self) -> tuple[Any, ...]:
        return _address(self.u), _address(self.x), _addresses(self.weights)

    @property
    def _library(self) -> ctypes.CDLL:
        return _library(self.pointwise, self._channels, self.weights.bias is not None)


@lru_cache(maxsize=256)
def _library(pointwise: Pointwise, channels: tuple[int, int, int], has_bias: bool) -> ctypes.CDLL:
    constants = {
        **dict(zip(("N_INPUTS", "N_HIDDEN", "N_OUTPUTS"), channels, strict=True)),
        "SKIP": f"Skip::{pointwise.skip}",
        "MLP_SKIP": f"Skip::{pointwise.mlp_skip}",
        "HAS_BIAS": int(has_bias),
        "IS_ACTIVATED": int(pointwise.activated),
    }
    definitions = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    library = compiler.load(
        definitions + files(__package__).joinpath("pointwise.cpp").read_text(encoding="utf-8")
    )
    library.forward.restype = library.backward.restype = None
    return library


def _address(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _addresses(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(None if t is None else t.data_ptr() for t in tensors))
