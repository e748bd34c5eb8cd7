"""One program of `benchmarks/triton_products.py`, in whatever environment has it: makes products and times them.

    python triton_products.py PROGRAM REPLIES

Needs torch and numpy beside the program itself; for the requests see `serve.py`, and {"do": "time"} besides. All
programs get the same random numbers, each in its own layout.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

Case = dict[str, Any]


@dataclass(frozen=True)
class Product:
    """A product that is ready to be timed.

    Attributes:
        function: of the inputs.
        inputs: those that derivatives are taken with respect to: weights first, then those that forces flow through.
        by_path: for a convolution, the result as one array `[n_atoms, 2 l + 1, channels]` per path.
        parameters: what else derivatives are taken with respect to, each program's in its own form.
    """

    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    by_path: Callable[[Tensor], list[Tensor]] | None = None
    parameters: tuple[Tensor, ...] = ()


def graph(n_atoms: int, n_neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Receivers and senders of a symmetric graph, sorted by receiver and then sender.

    Each atom neighbours those next to it on a ring whose labels are shuffled; with an odd number of neighbours also the
    atom opposite.
    """
    offsets = [s * k for k in range(1, n_neighbours // 2 + 1) for s in (1, -1)]
    if n_neighbours % 2:
        offsets.append(n_atoms // 2)
    label = np.random.default_rng(0).permutation(n_atoms)
    place = np.arange(n_atoms)
    edges = np.concatenate([np.stack([label[place], label[(place + k) % n_atoms]]) for k in offsets], axis=1)
    edges = edges[:, np.lexsort((edges[1], edges[0]))]
    return edges[0], edges[1]


def paths(lmax: int) -> list[tuple[int, int, int]]:
    """(l_in, l_edge, l_out) of all paths that conserve parity, ordered by output, input and edge degree."""
    degrees = range(lmax + 1)
    return [
        (a, b, c)
        for c in degrees
        for a in degrees
        for b in degrees
        if abs(a - b) <= c <= a + b and (a + b + c) % 2 == 0
    ]


def numbers(case: Case) -> dict[str, Tensor]:
    """Random weights `[n_edges, n_paths, channels]`, harmonics and features, or species, on the device."""
    generator = np.random.default_rng(1)

    def normal(*shape: int) -> Tensor:
        return torch.tensor(generator.standard_normal(shape), dtype=torch.float32, device=case["device"])

    components = (case["lmax"] + 1) ** 2
    found = {"features": normal(case["n_atoms"], components, case["channels"])}
    if case["product"] == "convolution":
        receivers, senders = graph(case["n_atoms"], case["n_neighbours"])
        found["receivers"] = torch.tensor(receivers, device=case["device"])
        found["senders"] = torch.tensor(senders, device=case["device"])
        found["weights"] = normal(len(receivers), len(paths(case["lmax"])), case["channels"])
        found["harmonics"] = normal(len(receivers), components)
    else:
        species = generator.integers(0, case["n_species"], case["n_atoms"])
        found["species"] = torch.tensor(species, device=case["device"])
    return found


def mul_ir(features: Tensor, lmax: int) -> Tensor:
    """`[n, components, channels]` in e3nn's layout, `[n, sum of channels * (2 l + 1)]`."""
    blocks = features.split([2 * l + 1 for l in range(lmax + 1)], dim=1)
    return torch.cat([block.transpose(1, 2).flatten(1) for block in blocks], dim=1)


def split_mul_ir(result: Tensor, case: Case) -> list[Tensor]:
    """By path, from e3nn's layout with one irrep for each path."""
    sizes = [case["channels"] * (2 * l + 1) for _, _, l in paths(case["lmax"])]
    return [part.view(len(part), case["channels"], -1).transpose(1, 2) for part in result.split(sizes, dim=1)]


def sciten(case: Case) -> Product:
    """This project's, on the executor for the device."""
    from sciten.equivariant.products.channelwise import convolution_map
    from sciten.equivariant.products.symmetric import contraction_map, coupling
    from sciten.tensor.multilinear import Index, evaluate

    given, lmax = numbers(case), case["lmax"]
    if case["product"] == "convolution":
        map_ = convolution_map(lmax, lmax, lmax)
        indices = {name: Index(given[name], case["n_atoms"]) for name in ("senders", "receivers")}

        def by_path(result: Tensor) -> list[Tensor]:
            found, start = [], 0
            for l in range(lmax + 1):
                count = sum(path[2] == l for path in paths(lmax))
                block = result[:, start : start + (2 * l + 1) * count]
                found += list(block.unflatten(1, (2 * l + 1, count)).unbind(2))
                start += (2 * l + 1) * count
            return found

        return Product(
            lambda *values: evaluate(map_, values, indices)[0],
            (given["weights"], given["harmonics"], given["features"]),
            by_path,
        )
    degrees, correlation = tuple(case["degrees"]), case["correlation"]
    contraction = contraction_map(lmax, degrees, correlation)
    bases = [coupling(lmax, l, n, reduced=True) for l in degrees for n in range(correlation, 0, -1)]
    couplings = [
        torch.tensor(b.coefficients, dtype=torch.float32, device=given["species"].device) for b in bases
    ]
    sizes = [matrix.shape[1] for matrix in couplings]
    weights = torch.randn(case["n_species"], sum(sizes), case["channels"], device=given["species"].device)
    index = {"species": Index(given["species"], case["n_species"])}

    def contract(weights: Tensor, features: Tensor) -> Tensor:
        # Weights become coefficients of monomials in every call, as they do in training.
        folded = [m @ w for m, w in zip(couplings, weights.split(sizes, dim=1), strict=True)]
        return evaluate(contraction, [torch.cat(folded, dim=1), features], index)[0]

    return Product(contract, (weights, given["features"]))


def _instructions(case: Case) -> list[tuple[int, int, int, str, bool]]:
    return [(a, b, p, "uvu", True) for p, (a, b, _) in enumerate(paths(case["lmax"]))]


def _irreps(case: Case) -> tuple[str, str, str]:
    """Features, harmonics, and one irrep of the result for each path."""
    channels, lmax = case["channels"], case["lmax"]
    parity = ["e" if l % 2 == 0 else "o" for l in range(lmax + 1)]
    return (
        " + ".join(f"{channels}x{l}{parity[l]}" for l in range(lmax + 1)),
        " + ".join(f"1x{l}{parity[l]}" for l in range(lmax + 1)),
        " + ".join(f"{channels}x{c}{parity[c]}" for _, _, c in paths(lmax)),
    )


def _only_convolution(case: Case, program: str) -> None:
    if case["product"] != "convolution":
        raise NotImplementedError(f"{program} has no symmetric contraction")


def e3nn(case: Case) -> Product:
    """e3nn's tensor product of gathered features, added up by torch."""
    _only_convolution(case, "e3nn")
    from e3nn import o3

    return gathered(case, o3.TensorProduct)


def gathered(case: Case, make: Callable[..., Any]) -> Product:
    """As `e3nn`, with any class that has the interface of its tensor product."""
    given = numbers(case)
    product = make(*_irreps(case), _instructions(case), shared_weights=False, internal_weights=False)
    product = product.to(given["features"].device)

    def convolve(weights: Tensor, harmonics: Tensor, features: Tensor) -> Tensor:
        messages = product(features[given["senders"]], harmonics, weights.flatten(1))
        return messages.new_zeros(case["n_atoms"], messages.shape[1]).index_add(
            0, given["receivers"], messages
        )

    inputs = (given["weights"], given["harmonics"], mul_ir(given["features"], case["lmax"]))
    return Product(convolve, inputs, lambda result: split_mul_ir(result, case))


def cuequivariance(case: Case) -> Product:
    """NVIDIA's, with its own gather and scatter; on the CPU (for tests) by its plain fallback."""
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    given, lmax = numbers(case), case["lmax"]
    device = given["features"].device
    method, integer = ("uniform_1d", torch.int32) if device.type == "cuda" else ("naive", torch.int64)
    features, harmonics, _ = (cue.Irreps("O3", i) for i in _irreps(case))
    if case["product"] == "contraction":
        chosen = " + ".join(f"{case['channels']}x{l}{'eo'[l % 2]}" for l in case["degrees"])
        contraction = cuet.SymmetricContraction(
            features,
            cue.Irreps("O3", chosen),
            case["correlation"],
            case["n_species"],
            layout=cue.ir_mul,
            device=device,
            dtype=torch.float32,
            method=method,
        )
        weights = contraction.weight.detach().clone()
        species = given["species"].to(integer)

        def contract(weights: Tensor, features: Tensor) -> Tensor:
            call = torch.func.functional_call
            return call(contraction, {"weight": weights}, (features, species))  # type: ignore[no-any-return]

        return Product(contract, (weights, given["features"].flatten(1)))
    product = cuet.ChannelWiseTensorProduct(
        features,
        harmonics,
        [ir for _, ir in harmonics],
        layout=cue.ir_mul,
        shared_weights=False,
        internal_weights=False,
        device=device,
        dtype=torch.float32,
        method=method,
    )
    senders, receivers = given["senders"].to(integer), given["receivers"].to(integer)

    def convolve(weights: Tensor, harmonics: Tensor, features: Tensor) -> Tensor:
        return product(  # type: ignore[no-any-return]
            features,
            harmonics,
            weights,
            indices_1=senders,
            indices_out=receivers,
            size_out=case["n_atoms"],
        )

    def by_path(result: Tensor) -> list[Tensor]:
        sizes = [case["channels"] * (2 * l + 1) for _, _, l in paths(lmax)]
        return [part.view(len(part), -1, case["channels"]) for part in result.split(sizes, dim=1)]

    return Product(
        convolve, (given["weights"].flatten(1), given["harmonics"], given["features"].flatten(1)), by_path
    )


def openequivariance(case: Case) -> Product:
    """OpenEquivariance's fused convolution, without atomics as ours is."""
    _only_convolution(case, "OpenEquivariance")
    import openequivariance as oeq

    given = numbers(case)
    irreps = [oeq.Irreps(i) for i in _irreps(case)]
    problem = oeq.TPProblem(*irreps, _instructions(case), shared_weights=False, internal_weights=False)
    product = oeq.TensorProductConv(problem, deterministic=True)
    order = torch.argsort(given["senders"], stable=True)

    def convolve(weights: Tensor, harmonics: Tensor, features: Tensor) -> Tensor:
        return product(  # type: ignore[no-any-return]
            features, harmonics, weights, given["receivers"], given["senders"], order
        )

    inputs = (given["weights"].flatten(1), given["harmonics"], mul_ir(given["features"], case["lmax"]))
    return Product(convolve, inputs, lambda result: split_mul_ir(result, case))


PROGRAMS: dict[str, Callable[[Case], Product]] = {
    "sciten": sciten,
    "e3nn": e3nn,
    "cuequivariance": cuequivariance,
    "openequivariance": openequivariance,
}
PACKAGES = {
    "sciten": ("sciten", "triton"),
    "e3nn": ("e3nn",),
    "cuequivariance": ("cuequivariance", "cuequivariance-torch"),
    "openequivariance": ("openequivariance",),
}


def passes(product: Product) -> dict[str, Callable[[], object]]:
    """What is timed: the result; it and its gradients; and a step of training on forces.

    Forces are gradients with respect to all inputs but the weights; training takes their gradients with respect to all.
    """
    inputs = [value.detach().requires_grad_() for value in product.inputs]
    fixed = [value.detach() for value in product.inputs]
    with torch.no_grad():
        result = product.function(*fixed)
    cotangent = torch.randn_like(result)

    def forward() -> object:
        with torch.no_grad():
            return product.function(*fixed)

    def backward() -> object:
        return torch.autograd.grad(product.function(*inputs), inputs, cotangent)

    def double_backward() -> object:
        forces = torch.autograd.grad(product.function(*inputs), inputs[1:], cotangent, create_graph=True)
        return torch.autograd.grad(forces, inputs, [force.detach() for force in forces])

    return {"forward": forward, "backward": backward, "double_backward": double_backward}


def fingerprint(product: Product) -> dict[str, list[float]]:
    """For each path of a convolution, the norm of the result and its projection on a random array."""
    if product.by_path is None:
        return {}
    with torch.no_grad():
        parts = product.by_path(product.function(*product.inputs))
    generator = np.random.default_rng(2)
    arrays = [part.double().cpu().numpy() for part in parts]
    projections = [float((generator.standard_normal(a.shape) * a).sum()) for a in arrays]
    return {"norm": [float(np.linalg.norm(a)) for a in arrays], "projection": projections}


def milliseconds(function: Callable[[], object], calls: int, device: str) -> list[float]:
    """Times of some calls; on a GPU by events, each after its cache has been overwritten."""
    if torch.device(device).type != "cuda":
        return [_wall(function) for _ in range(calls)]
    scrap = torch.empty(2**28, dtype=torch.int8, device=device)
    found = []
    for _ in range(calls):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        scrap.zero_()
        start.record()
        function()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end))
    return found


def _wall(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Answer requests until there are no more."""
    from serve import Job, serve  # beside this script, without the package around it

    program = sys.argv[1]
    state: dict[str, Any] = {}

    def prepare(request: dict[str, Any]) -> Any:
        case = request["case"]
        product = PROGRAMS[program](case)
        state["passes"], state["device"] = passes(product), case["device"]
        for function in state["passes"].values():  # compiling and warming up
            for _ in range(request["warm_up"]):
                function()
        versions = {name: version(name) for name in (*PACKAGES[program], "torch")}
        return Job(lambda: None, lambda: fingerprint(product), {"versions": versions})

    def timed(request: dict[str, Any]) -> dict[str, Any]:
        return {
            "milliseconds": milliseconds(state["passes"][request["pass"]], request["calls"], state["device"])
        }

    serve(prepare, {"time": timed})


if __name__ == "__main__":
    main()
