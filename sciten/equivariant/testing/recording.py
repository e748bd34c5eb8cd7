"""Can a product be compiled, recorded together with its derivatives, and exported, for any batch?"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from sciten.equivariant.testing.errors import TOLERANCES, ConformanceError, deviation
from sciten.equivariant.testing.subjects import Subject
from sciten.tensor.multilinear.description import Multilinear

#: Sizes of the batch; sizes of features that happened to be equal would be recorded as one symbol.
_RECORDED, _OTHER = 61, 67


def check_compile(
    product: object, *, backend: str = "aot_eager", tolerance: float | None = None, seed: int = 0
) -> float:
    """`torch.compile(fullgraph=True)` gives the results and the gradients of eager code, also for another batch.

    What torch has compiled before is forgotten: it gives up on code that it has compiled for many products.

    Args:
        product: see `check_equivariance`; in its own dtype and on its own device.
        backend: of `torch.compile`.
        tolerance: largest deviation allowed, relative to the largest value.
        seed: of the inputs.

    Returns:
        The largest deviation.

    Raises:
        ConformanceError: it cannot be compiled in one graph, or deviates, or eager results are others afterwards.
    """
    subject = Subject.of(product)
    torch._dynamo.reset()
    compiled = torch.compile(subject.caller, fullgraph=True, backend=backend)

    def check(batch: int) -> float:
        inputs = _inputs(subject, batch, seed)
        return _worst(
            _with_gradients(subject, compiled, inputs), _with_gradients(subject, subject.caller, inputs)
        )

    return _recorded(subject, "torch.compile", lambda: max(check(_RECORDED), check(_OTHER)), tolerance)


def check_recorded_derivatives(product: object, *, tolerance: float | None = None, seed: int = 0) -> float:
    """`make_fx` records a gradient and the gradients of a function of it, as training on forces needs them.

    `torch.compile` refuses to differentiate twice, so this is the way to compiled forces: what is recorded holds no
    derivatives any more, and can be compiled. It is run for another batch than it was recorded for.

    Args, Returns, Raises: as `check_compile`.
    """
    subject = Subject.of(product)

    def forces(*inputs: Tensor) -> list[Tensor]:
        (gradient,) = torch.autograd.grad(subject.caller(*inputs).sin().sum(), inputs[:1], create_graph=True)
        return [gradient, *torch.autograd.grad(gradient.square().sum(), inputs, allow_unused=True)]

    def check() -> float:
        recorded = make_fx(forces, tracing_mode="symbolic", _allow_non_fake_inputs=True)(
            *_inputs(subject, _RECORDED, seed)
        )
        inputs = _inputs(subject, _OTHER, seed + 1)
        return _worst(recorded(*(i.detach() for i in inputs)), forces(*inputs))

    return _recorded(subject, "make_fx", check, tolerance)


def check_export(product: object, *, tolerance: float | None = None, seed: int = 0) -> float:
    """`torch.export` with a dynamic batch gives a program with the results of eager code, for another batch.

    Args, Returns, Raises: as `check_compile`.
    """
    subject = Subject.of(product)
    module = subject.caller if isinstance(subject.caller, nn.Module) else _Module(subject.caller)

    def check() -> float:
        batch = torch.export.Dim("batch", min=2)
        inputs = _inputs(subject, _RECORDED, seed)
        batched = [argument.batched for argument in subject.arguments][: len(inputs)]
        shapes = tuple({0: batch} if axis else None for axis in batched)
        program = torch.export.export(module, tuple(i.detach() for i in inputs), dynamic_shapes=shapes)
        others = [i.detach() for i in _inputs(subject, _OTHER, seed + 1)]
        return _worst([program.module()(*others)], [subject.caller(*others)])

    return _recorded(subject, "torch.export", check, tolerance)


def check_operator(product: object, *, maps: int = 4, seed: int = 0) -> float:
    """`torch.library.opcheck` passes on the operator `sciten::multilinear` with the maps of a product and its gradient.

    Args:
        product: see `check_equivariance`; in its own dtype.
        maps: how many different ones are checked, those of the fewest terms; none where it uses none.
        seed: of the inputs.

    Returns:
        Zero: there is nothing to measure.

    Raises:
        ConformanceError: the operator fails; the message holds what torch says.
    """
    subject = Subject.of(product)
    calls = _calls(subject, seed)
    for text in sorted(calls, key=lambda text: len(Multilinear.from_text(text).terms))[:maps]:
        operator, arguments = calls[text]
        try:
            torch.library.opcheck(operator, arguments)
        except Exception as error:
            raise ConformanceError(
                f"{subject.name}: torch.library.opcheck fails on one of its maps, of "
                f"{len(Multilinear.from_text(text).terms)} terms: {_said(error)}"
            ) from error
    return 0.0


class _Module(nn.Module):
    """A plain function, as `torch.export` wants it."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        return self.function(x, y) if weight is None else self.function(x, y, weight)


class _Recorder(TorchDispatchMode):
    """Keeps the arguments of each call of the operator; under a mode products go by way of it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, tuple[Any, tuple[Any, ...]]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.sciten.multilinear.default:
            self.calls.setdefault(args[0], (func, args))
        return func(*args, **(kwargs or {}))


def _calls(subject: Subject, seed: int) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """The calls of the operator, by map: `(operator, arguments)`."""
    with _Recorder() as recorder:
        _with_gradients(subject, subject.caller, _inputs(subject, 3, seed))
    fresh = {}
    for text, (operator, arguments) in recorder.calls.items():
        tensors = [a.detach().clone().requires_grad_(True) for a in arguments[3]]
        fresh[text] = operator, (*arguments[:3], tensors, *arguments[4:])
    return fresh


def _inputs(subject: Subject, batch: int, seed: int) -> list[Tensor]:
    drawn = subject.draw(seed, batch, subject.own_dtype(), subject.own_device())
    return [i.detach().requires_grad_(True) for i in subject.inputs(drawn)]


def _with_gradients(
    subject: Subject, function: Callable[..., Tensor], inputs: Sequence[Tensor]
) -> list[Tensor]:
    """The result, and gradients by the inputs and the product's weights."""
    weights = list(subject.product.parameters()) if isinstance(subject.product, nn.Module) else []
    by = [*inputs, *(w for w in weights if w.requires_grad and w.numel())]
    result = function(*inputs)
    gradients = torch.autograd.grad(result.sin().sum(), by, allow_unused=True)
    return [result.detach(), *(g for g in gradients if g is not None)]


def _worst(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    pairs = [(f.detach(), e.detach()) for f, e in zip(found, expected, strict=True) if e is not None]
    return max(deviation(f, e) for f, e in pairs)


def _recorded(subject: Subject, way: str, check: Callable[[], float], tolerance: float | None) -> float:
    allowed = TOLERANCES[subject.own_dtype()][2] if tolerance is None else tolerance
    before = subject.caller(*_inputs(subject, _OTHER, seed=3)).detach()
    try:
        deviates = check()
    except Exception as error:
        raise ConformanceError(f"{subject.name}: {way} cannot record it: {_said(error)}") from error
    if not deviates <= allowed:
        raise ConformanceError(
            f"{subject.name}: results or gradients by {way} deviate from eager ones by {deviates:.1e} of the largest "
            f"(at most {allowed:.0e} is allowed)"
        )
    if not torch.equal(subject.caller(*_inputs(subject, _OTHER, seed=3)), before):
        raise ConformanceError(
            f"{subject.name}: its eager results are others after {way}: a cache was spoilt"
        )
    return deviates


def _said(error: Exception) -> str:
    """The first line that says something, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:300]}"
