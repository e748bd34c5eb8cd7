"""A product as the checks see it: a function of features, directions and weights, whatever its own form is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sciten.equivariant.irreps import Irreps
from sciten.equivariant.products.base import from_channels, to_channels
from sciten.equivariant.products.cartesian import CartesianProduct
from sciten.equivariant.products.so2 import SO2Product
from sciten.equivariant.products.variants import TensorSquare
from sciten.errors import ConfigError


@dataclass(frozen=True)
class Argument:
    """One argument of a product.

    Attributes:
        name: for messages.
        irreps: how it is transformed, and the layout of its last axis; None for weights, which nothing transforms.
        shape: of one sample, or of the whole for weights that all samples share.
        batched: whether there is a batch axis before.
        directions: whether it is the vector of an edge, which must not be zero.
    """

    name: str
    irreps: Irreps | None
    shape: tuple[int, ...]
    batched: bool = True
    directions: bool = False

    def blocks(self) -> list[tuple[str, slice]]:
        """Parts that errors can be told apart by: degrees, or all of it."""
        if self.irreps is None or self.directions:
            return [(self.name, slice(None))]
        pairs = zip(self.irreps, self.irreps.slices(), strict=True)
        return [(f"{self.name} of irrep {entry.ir}", where) for entry, where in pairs]


@dataclass(frozen=True)
class Subject:
    """A product under test.

    Attributes:
        name: for messages.
        product: the product itself, or what its `as_bilinear()` gives.
        arguments: what `call` takes; features in e3nn's layout.
        irreps_out: of its result.
        call: the product as a function of its arguments alone, the weights of a module among them.
        inputs: the arguments that `caller` is called with, from those of `call`.
        caller: what is called with them, weights as they are, and what is recorded: the product itself, or where it
            has a layout of its own its `as_irreps`. Cartesian tensors are as many numbers as their irreps, so that
            `CartesianProduct` is recorded as it is used.
    """

    name: str
    product: Any
    arguments: tuple[Argument, ...]
    irreps_out: Irreps
    call: Callable[..., Tensor]
    inputs: Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
    caller: Callable[..., Tensor]

    @classmethod
    def of(cls, product: Any) -> "Subject":
        """The subject for a product; one with a method `as_bilinear` stands for what that gives, but for `SO2Product`.

        Raises:
            ConfigError: the product does not say its irreps.
        """
        if isinstance(product, Subject):
            return product
        if isinstance(product, SO2Product):
            return _so2(product)
        name = type(product).__name__
        if hasattr(product, "as_bilinear"):
            product = product.as_bilinear()
        try:
            sides = [("x", Irreps(product.irreps_in1)), ("y", Irreps(product.irreps_in2))]
            out = Irreps(product.irreps_out)
        except AttributeError as error:
            raise ConfigError(
                f"{name}: expected a product with irreps_in1, irreps_in2 and irreps_out, got none"
            ) from error
        features = [Argument(side, irreps, (irreps.dim,)) for side, irreps in sides]
        if isinstance(product, TensorSquare):
            features = features[:1]
        weights, names = _weights(product)
        inner = len(features) + (0 if names else len(weights))
        target, prefix = _target(product)

        def call(*arguments: Tensor) -> Tensor:
            if not names:
                return target(*arguments)
            given = {prefix + n: value for n, value in zip(names, arguments[inner:], strict=True)}
            return functional_call(target, given, arguments[:inner])  # type: ignore[no-any-return, arg-type]

        caller = product if isinstance(product, CartesianProduct) else target
        return cls(name, product, (*features, *weights), out, call, lambda a: tuple(a[:inner]), caller)

    @property
    def conserves_parity(self) -> bool:
        """Whether it claims to commute with inversion."""
        return bool(getattr(self.product, "conserves_parity", getattr(self.product, "parity", True)))

    @property
    def unit_variance(self) -> bool:
        """Whether it claims to keep unit variance."""
        return bool(getattr(self.product, "unit_variance", False))

    @property
    def directional(self) -> bool:
        """Whether an argument is a direction, on which the product does not depend linearly."""
        return any(argument.directions for argument in self.arguments)

    def own_dtype(self) -> torch.dtype:
        """That of the product's weights; float64 without any."""
        return next((p.dtype for p in self._parameters()), torch.float64)

    def own_device(self) -> torch.device:
        """That of the product's weights; the CPU without any."""
        return next((p.device for p in self._parameters()), torch.device("cpu"))

    def _parameters(self) -> list[Tensor]:
        parameters = self.product.parameters() if isinstance(self.product, nn.Module) else ()
        return [p for p in parameters if p.numel()]

    def draw(
        self,
        seed: int,
        batch: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> list[Tensor]:
        """Random arguments; from six samples on (the default with directions) edges along all axes are among them."""
        batch = (8 if self.directional else 3) if batch is None else batch
        generator = torch.Generator().manual_seed(seed)
        drawn = []
        for argument in self.arguments:
            shape = (batch, *argument.shape) if argument.batched else argument.shape
            values = torch.randn(shape, generator=generator, dtype=torch.float64)
            if argument.directions and batch >= 6:
                values[:6] = torch.cat([torch.eye(3), -torch.eye(3)])
            drawn.append(values.to(device, dtype))
        return drawn


class _AsIrreps(nn.Module):
    """The `as_irreps` of a module as a module, so that its weights can be put in place of its own."""

    def __init__(self, product: nn.Module) -> None:
        super().__init__()
        self.product = product

    # `torch.export` wants to be told the arguments one by one.
    def forward(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        given = (x, y) if weight is None else (x, y, weight)
        return self.product.as_irreps(*given)  # type: ignore[no-any-return, operator]


def _target(product: Any) -> tuple[Callable[..., Tensor], str]:
    """What is called with features laid out by irreps, and what precedes the names of the product's weights in it."""
    if not hasattr(product, "as_irreps"):
        return product, ""
    if isinstance(product, nn.Module):
        return _AsIrreps(product), "product."
    return product.as_irreps, ""


def _weights(product: Any) -> tuple[list[Argument], list[str]]:
    """The weights, and the names of those that are parameters of a module, in which case they all are."""
    if isinstance(product, nn.Module):
        own = {name: p for name, p in product.named_parameters() if p.numel()}
        if own:
            return [Argument(name, None, tuple(p.shape), batched=False) for name, p in own.items()], list(own)
    numel = int(getattr(product, "weight_numel", 0))
    each = not getattr(product, "shared_weights", True)
    return [Argument("weight", None, (numel,), batched=each)] if numel else [], []


def _so2(product: SO2Product) -> Subject:
    features = Irreps.natural(product.lmax_in, product.channels_in)
    out = Irreps.natural(product.lmax_out, product.channels_out)
    weights, names = _weights(product)
    arguments = (
        Argument("features", features, (features.dim,)),
        Argument("vectors", Irreps("1o"), (3,), directions=True),
        Argument("radial", Irreps([(product.radial_numel, (0, 1))]), (product.radial_numel,)),
        *weights,
    )

    def inputs(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return to_channels(given[0], features).transpose(1, 2), given[1], given[2]

    def call(*given: Tensor) -> Tensor:
        state = dict(zip(names, given[3:], strict=True))
        return from_channels(functional_call(product, state, inputs(given)).transpose(1, 2), out)

    return Subject(type(product).__name__, product, arguments, out, call, inputs, product)
