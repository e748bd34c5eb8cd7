"""The worker for tensor products, ours and e3nn's: `python -m sciten.cli.benchmarks.workers.products`.

All programs of a case get the same random numbers, each in its own layout. A request names the `program`, the `pass`
("forward" or "backward", which is both) and, for e3nn, the `mode`: "eager", "script" (TorchScript) or "compile"
(`torch.compile` of everything that is timed).
"""

import time
import warnings
from collections.abc import Callable, Mapping
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


#: Parities of the degrees of the inputs and of the output, by which paths (l1, l2, l3) they leave: those whose sum is
#: even, those whose sum is odd, or all.
_PARITIES: Mapping[str, tuple[Callable[[int], int], Callable[[int], int]]] = {
    "even": (lambda l: (-1) ** l, lambda l: (-1) ** l),
    "odd": (lambda l: (-1) ** l, lambda l: -((-1) ** l)),
    "all": (lambda l: 1, lambda l: 1),
}


def channelwise(make: Callable[..., Any], paths: str, lmax: int, channels: int = 1) -> Any:
    """A tensor product in mode "uuu" of all degrees up to lmax, with a weight for each path and channel.

    Args:
        make: `TensorProduct`, or what has its interface.
        paths: "even" (natural parities), "odd" (those that a cross product reaches) or "all".
        lmax: of the inputs and the output.
        channels: of each irrep.
    """
    degrees = range(lmax + 1)
    inputs, out = ([(channels, (l, parity(l))) for l in degrees] for parity in _PARITIES[paths])
    instructions = [
        (a, b, c, "uuu", True)
        for a in degrees
        for b in degrees
        for c in range(abs(a - b), min(a + b, lmax) + 1)
        if paths == "all" or (a + b + c) % 2 == (paths == "odd")
    ]
    return make(inputs, inputs, out, instructions, shared_weights=True, internal_weights=False)


def _random(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = np.random.default_rng(0)
    return [torch.tensor(generator.standard_normal(shape), dtype=torch.float32) for shape in shapes]


def _channelwise(request: Request, make: Callable[..., Any]) -> Product:
    lmax, samples, channels = request["lmax"], request["samples"], request["channels"]
    product = channelwise(make, request["paths"], lmax, channels)
    dim = channels * (lmax + 1) ** 2
    return Product(product, tuple(_random((samples, dim), (samples, dim), (product.weight_numel,))))


def _signals(request: Request, make: Callable[[int], Callable[..., Tensor]]) -> Product:
    """A product of signals `[samples, channels, (lmax + 1)**2]`, without weights."""
    shape = (request["samples"], request["channels"], (request["lmax"] + 1) ** 2)
    return Product(make(request["lmax"]), tuple(_random(shape, shape)))


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
    if kind == "SO2Product, radial":
        return _so2_radial(request)
    makers: dict[str, Callable[[int], Callable[..., Tensor]]] = {
        "GauntProduct": lambda lmax: ours.GauntProduct(lmax, lmax, lmax, method="grid"),
        "GauntProduct, fourier": lambda lmax: ours.GauntProduct(lmax, lmax, lmax, method="fourier"),
        "VectorGauntProduct": lambda lmax: ours.VectorGauntProduct(lmax, lmax, lmax),
        "MatrixProduct": lambda lmax: ours.MatrixProduct(lmax, lmax, lmax),
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


def _so2_radial(request: Request) -> Product:
    """With the features, edges, radial factors and weights of a file; edges come as vectors in every call."""
    from sciten.equivariant import SO2Product

    with np.load(request["inputs"]) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    features, vectors, radial = (arrays.pop(name) for name in ("features", "vectors", "radial"))
    lmax, channels = request["lmax"], request["channels"]
    product = SO2Product(lmax, lmax, channels, channels, mmax=request["mmax"], dtype=torch.float32)
    product.load_state_dict(arrays)
    product.requires_grad_(request["pass"] == "backward")
    return Product(product, (features, vectors, radial), parameters=tuple(product.parameters()))


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
        return torch.autograd.grad(result, [*self.leaves, *self.product.parameters], self.cotangent)

    def check(self, *, backward: bool) -> dict[str, Any]:
        result = self.forward()
        parts = self.product.by_path(result) if self.product.by_path else [result]
        arrays = [part.double() for part in parts]
        found: dict[str, Any] = {
            "some": [value for array in arrays for value in array[:_CHECKED].flatten().tolist()],
            "squares": [float(array.square().sum()) for array in arrays],
        }
        if backward:
            gradients = self.backward()[: len(self.leaves)]
            found["gradient"] = [float(gradient.double().square().sum()) for gradient in gradients]
        return found


def prepare(request: Request) -> Job:
    """Build a program."""
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    timed = _Timed(build(request))
    load_s = time.perf_counter() - start
    backward = request["pass"] == "backward"
    packages = ("e3nn",) if request["program"] == "e3nn" else ()
    facts = {"load_s": load_s, "versions": {name: version(name) for name in packages}}
    return Job(timed.backward if backward else timed.forward, lambda: timed.check(backward=backward), facts)


if __name__ == "__main__":
    serve(prepare)
