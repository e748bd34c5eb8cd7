"""The worker for tensor products, ours and e3nn's: `python -m sciten.cli.benchmarks.workers.products`.

All programs of a case get the same random numbers, each in its own layout. A request names the `program`, the `pass`
("forward" or "backward", which is both) and, for e3nn, the `mode`: "eager", "script" (TorchScript) or "compile"
(`torch.compile` of everything that is timed).
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciten.cli.benchmarks.workers import triton_products
from sciten.cli.benchmarks.workers.serve import Job, Request, serve
from sciten.cli.benchmarks.workers.triton_products import Product

_CHECKED = 2  # samples whose results are compared in full


def natural(lmax: int, channels: int = 1) -> list[tuple[int, tuple[int, int]]]:
    """Irreps of the harmonics up to a degree."""
    return [(channels, (l, (-1) ** l)) for l in range(lmax + 1)]


def channelwise_instructions(lmax: int) -> list[tuple[int, int, int, str, bool]]:
    """All paths that conserve natural parity, each with weights, in mode "uuu"."""
    return [
        (a, b, c, "uuu", True)
        for a in range(lmax + 1)
        for b in range(lmax + 1)
        for c in range(abs(a - b), min(a + b, lmax) + 1, 2)
    ]


def _random(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = np.random.default_rng(0)
    return [torch.tensor(generator.standard_normal(shape), dtype=torch.float32) for shape in shapes]


def _channelwise(request: Request, make: Callable[..., Any]) -> Product:
    lmax, samples, channels = request["lmax"], request["samples"], request["channels"]
    irreps = natural(lmax, channels)
    product = make(
        irreps, irreps, irreps, channelwise_instructions(lmax), shared_weights=True, internal_weights=False
    )
    dim = channels * (lmax + 1) ** 2
    return Product(product, tuple(_random((samples, dim), (samples, dim), (product.weight_numel,))))


def _signals(request: Request, make: Callable[[int], Callable[..., Tensor]]) -> Product:
    """A product of signals `[samples, channels, (lmax + 1)**2]`, without weights."""
    shape = (request["samples"], request["channels"], (request["lmax"] + 1) ** 2)
    return Product(make(request["lmax"]), tuple(_random(shape, shape)))


def _clebsch_gordan(parity: Callable[[int], int], out: Callable[[int], int]) -> Callable[[int], Any]:
    from sciten.equivariant import ClebschGordanProduct

    def make(lmax: int) -> Any:
        first = [(1, (l, parity(l))) for l in range(lmax + 1)]
        return ClebschGordanProduct.from_irreps(first, first, [(1, (l, out(l))) for l in range(lmax + 1)])

    return make


def build(request: Request) -> Product:
    """The program that a request names."""
    import sciten.equivariant as ours

    kind = request["program"]
    if kind == "e3nn":
        return _e3nn(request)
    if kind == "TensorProduct":
        return _channelwise(request, ours.TensorProduct)
    if kind == "convolution":
        return triton_products.sciten(request["case"])
    if kind == "TensorProduct convolution":
        return triton_products.gathered(request["case"], ours.TensorProduct)
    if kind == "SO2Product":
        return _so2(request)
    makers: dict[str, Callable[[int], Callable[..., Tensor]]] = {
        "GauntProduct": lambda lmax: ours.GauntProduct(lmax, lmax, lmax, method="grid"),
        "VectorGauntProduct": lambda lmax: ours.VectorGauntProduct(lmax, lmax, lmax),
        "MatrixProduct": lambda lmax: ours.MatrixProduct(lmax, lmax, lmax),
        "ClebschGordanProduct": lambda lmax: ours.ClebschGordanProduct(lmax, lmax, lmax),
        "ClebschGordanProduct, odd paths": _clebsch_gordan(lambda l: (-1) ** l, lambda l: -((-1) ** l)),
        "ClebschGordanProduct, all paths": _clebsch_gordan(lambda l: 1, lambda l: 1),
    }
    return _signals(request, makers[kind])


def _e3nn(request: Request) -> Product:
    import e3nn
    from e3nn import o3

    mode = request["mode"]
    e3nn.set_optimization_defaults(jit_mode="script" if mode == "script" else "eager")
    if "case" in request:
        product = triton_products.gathered(request["case"], o3.TensorProduct)
    elif "edges" in request:
        product = _fully_connected(request)
    else:
        product = _channelwise(
            request,
            lambda *irreps, **options: o3.TensorProduct(*map(o3.Irreps, irreps[:3]), irreps[3], **options),
        )
    return product if mode != "compile" else replace(product, function=torch.compile(product.function))


def _edges(request: Request) -> tuple[Tensor, Tensor, dict[tuple[int, int, int], Tensor]]:
    """Features in e3nn's layout, edges, and weights `[channels, channels]` of all paths, in e3nn's order."""
    lmax, channels, edges = request["lmax"], request["channels"], request["edges"]
    degrees = range(lmax + 1)
    paths = [(a, b, c) for a in degrees for b in degrees for c in degrees if abs(a - b) <= c <= a + b]
    features, vectors, *weights = _random(
        (edges, (lmax + 1) ** 2, channels), (edges, 3), *[(channels, channels)] * len(paths)
    )
    return features, vectors, dict(zip(paths, weights, strict=True))


def _fully_connected(request: Request) -> Product:
    """e3nn's convolution with the harmonics of edges; parities do not forbid a path, as they do not for SO(2)."""
    from e3nn import o3

    features, vectors, weights = _edges(request)
    lmax, channels = request["lmax"], request["channels"]
    irreps = o3.Irreps([(channels, (l, 1)) for l in range(lmax + 1)])
    harmonics = o3.Irreps([(1, (l, 1)) for l in range(lmax + 1)])
    product = o3.FullyConnectedTensorProduct(
        irreps, harmonics, irreps, shared_weights=True, internal_weights=False
    )
    flat = torch.cat([weight.flatten() for weight in weights.values()])

    def convolve(features: Tensor, vectors: Tensor) -> Tensor:
        values = o3.spherical_harmonics(
            list(range(lmax + 1)), vectors, normalize=True, normalization="component"
        )
        return product(features, values, flat)  # type: ignore[no-any-return]

    def by_degree(result: Tensor) -> list[Tensor]:
        parts = result.split([channels * (2 * l + 1) for l in range(lmax + 1)], dim=1)
        return [part.unflatten(1, (channels, -1)).transpose(1, 2) for part in parts]

    return Product(convolve, (triton_products.mul_ir(features, lmax), vectors), by_degree)


def _so2(request: Request) -> Product:
    from sciten.equivariant import SO2Product

    features, vectors, weights = _edges(request)
    product = SO2Product.from_convolution(weights, request["lmax"], request["lmax"]).requires_grad_(False)
    degrees = [2 * l + 1 for l in range(request["lmax"] + 1)]
    return Product(product, (features, vectors), lambda result: list(result.split(degrees, dim=1)))


class _Timed:
    """A product, its result alone or its gradients too."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.fixed = [value.detach() for value in product.inputs]
        self.leaves = [value.detach().requires_grad_() for value in product.inputs]
        self.cotangent: Tensor | None = None

    def forward(self) -> Tensor:
        with torch.no_grad():
            return self.product.function(*self.fixed)

    def backward(self) -> tuple[Tensor, ...]:
        result = self.product.function(*self.leaves)
        if self.cotangent is None:
            # Equal for all layouts of the same result.
            self.cotangent = torch.ones_like(result)
        return torch.autograd.grad(result, self.leaves, self.cotangent)

    def check(self, *, gradients: bool) -> dict[str, Any]:
        result = self.forward()
        parts = self.product.by_path(result) if self.product.by_path else [result]
        arrays = [part.double() for part in parts]
        found: dict[str, Any] = {
            "some": [value for array in arrays for value in array[:_CHECKED].flatten().tolist()],
            "squares": [float(array.square().sum()) for array in arrays],
        }
        if gradients:
            found["gradient"] = [float(g.double().square().sum()) for g in self.backward()]
        return found


def prepare(request: Request) -> Job:
    """Build a program."""
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    timed = _Timed(build(request))
    load_s = time.perf_counter() - start
    gradients = request["pass"] == "backward"
    packages = ("e3nn",) if request["program"] == "e3nn" else ()
    facts = {"load_s": load_s, "versions": {name: version(name) for name in packages}}
    return Job(
        timed.backward if gradients else timed.forward, lambda: timed.check(gradients=gradients), facts
    )


if __name__ == "__main__":
    serve(prepare)
