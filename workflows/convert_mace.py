"""Convert a mace-torch model file into a sciten model folder.

Run it with the Python of a mace-torch environment that also has safetensors; sciten need not be there:

    python workflows/convert_mace.py MODEL.model OUTDIR [--dtype float32|float64]

The folder holds `model.safetensors` (weights) and `model.json` (the constructor's arguments);
`load_potential(OUTDIR)` and `SciTenCalculator(OUTDIR)` read it. Whatever sciten does not support is refused
in one sentence that names it, and every weight of the model must find its place.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import combinations_with_replacement, permutations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Interaction blocks by class name: (residual, density).
BLOCKS = {
    "RealAgnosticInteractionBlock": (False, False),
    "RealAgnosticResidualInteractionBlock": (True, False),
    "RealAgnosticDensityInteractionBlock": (False, True),
    "RealAgnosticDensityResidualInteractionBlock": (True, True),
}
#: Largest error of coupling tensors that went through float32.
ROUNDING = 1e-5
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class NotSupportedError(Exception):
    """The model has something that sciten's MACE has not; the message names it."""


@dataclass(frozen=True)
class Converted:
    """A model in sciten's terms.

    Attributes:
        arguments: of sciten's `MACE`, as JSON values.
        weights: parameters by sciten's names, in the model's dtype.
        buffers: constants by sciten's names, float64.
        convention: which version of e3nn the signs of the Clebsch-Gordan coefficients are those of.
        basis: how the weights of the many-body product were obtained.
    """

    arguments: dict[str, Any]
    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    convention: str
    basis: str


def require(condition: bool, what: str) -> None:
    """Refuse the model because of `what`, unless `condition` holds."""
    if not condition:
        raise NotSupportedError(f"sciten's MACE does not support this model: {what}")


class Weights:
    """A model's parameters, each to be taken once; what nobody took is reported by `finish`."""

    def __init__(self, model: Any) -> None:
        self.left = {name: value.detach() for name, value in model.named_parameters() if value.numel()}

    def take(self, name: str, *shape: int) -> Tensor:
        """The parameter called `name` as a view of the given shape."""
        if name not in self.left:
            raise NotSupportedError(f"sciten's MACE does not support this model: it has no parameter {name}")
        value = self.left.pop(name)
        expected = int(np.prod(shape)) if -1 not in shape else value.numel()
        require(
            value.numel() == expected, f"parameter {name} has {value.numel()} numbers instead of {expected}"
        )
        return value.view(shape)

    def degrees(self, name: str, shapes: Mapping[int, tuple[int, ...]]) -> dict[int, Tensor]:
        """A flat e3nn weight cut into one view for each degree."""
        flat = self.take(name, -1)
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        require(
            flat.numel() == sum(sizes), f"parameter {name} has {flat.numel()} numbers instead of {sum(sizes)}"
        )
        return {l: part.view(shapes[l]) for l, part in zip(shapes, flat.split(sizes), strict=True)}

    def discard(self, prefixes: tuple[str, ...]) -> None:
        """Forget the parameters whose names start so."""
        self.left = {name: value for name, value in self.left.items() if not name.startswith(prefixes)}

    def finish(self) -> None:
        """Refuse the model if parameters are left over."""
        for name in self.left:
            require(False, f"it has the parameter {name}")


def convert(model: Any) -> Converted:
    """Translate a mace-torch model; raises `NotSupportedError`.

    Weights whose layout needs no arithmetic are views of the model's own parameters.
    """
    arguments = read_arguments(model)
    weights = Weights(model)
    elements = len(arguments["elements"])
    channels, layers = arguments["channels"], arguments["layers"]
    result = {"embedding.weight": weights.take("node_embedding.linear.weight", elements, channels)}
    basis = set()
    arguments["reduced_basis"] = has_reduced_basis(model, arguments["lmax"])
    for t in range(layers):
        degree_in = arguments["hidden_lmax"] if t else 0
        degree_out = arguments["hidden_lmax"] if t < layers - 1 else 0
        result |= interaction_weights(weights, arguments, t, degree_in, degree_out)
        for degree in range(degree_out + 1):
            contraction = model.products[t].symmetric_contractions.contractions[degree]
            found, how = product_weights(weights, arguments, contraction, t, degree)
            result |= found
            basis |= how
        square = dict.fromkeys(range(degree_out + 1), (channels, channels))
        for degree, weight in weights.degrees(f"products.{t}.linear.weight", square).items():
            result[f"products.{t}.linear.weight_{degree}"] = weight
        result |= readout_weights(weights, arguments, t)
    buffers = read_buffers(model)
    # Trainable constants: the Bessel frequencies are a buffer of ours, the others were found unchanged.
    weights.discard(("radial_embedding.", "pair_repulsion_fn."))
    weights.finish()
    by_number = np.argsort(model.atomic_numbers.cpu().numpy(), kind="stable")
    if not np.array_equal(by_number, np.arange(elements)):
        result = {name: by_element(name, weight, by_number) for name, weight in result.items()}
    return Converted(arguments, result, buffers, convention(), ", ".join(sorted(basis)))


def interaction_weights(
    weights: Weights, arguments: Mapping[str, Any], t: int, degree_in: int, degree_out: int
) -> dict[str, Tensor]:
    """Weights of the interaction in layer `t`."""
    channels, lmax, elements = arguments["channels"], arguments["lmax"], len(arguments["elements"])
    theirs = f"interactions.{t}"
    paths = {l: convolution_paths(degree_in, lmax, l) for l in range(lmax + 1)}
    up = dict.fromkeys(range(degree_in + 1), (channels, channels))
    mixed = {l: (paths[l] * channels, channels) for l in range(lmax + 1)}
    skipped = range(min(degree_in, degree_out) + 1) if arguments["residual"][t] else range(lmax + 1)
    skip = dict.fromkeys(skipped, (channels, elements, channels))
    named = {
        "linear_up": weights.degrees(f"{theirs}.linear_up.weight", up),
        "linear": weights.degrees(f"{theirs}.linear.weight", mixed),
        "skip": weights.degrees(f"{theirs}.skip_tp.weight", skip),
    }
    widths = [arguments["bessel_functions"], *arguments["radial_mlp"], sum(paths.values()) * channels]
    named["radial"] = {
        n: weights.take(f"{theirs}.conv_tp_weights.layer{n}.weight", widths[n], widths[n + 1])
        for n in range(len(widths) - 1)
    }
    if arguments["density"][t]:
        named["density"] = {0: weights.take(f"{theirs}.density_fn.layer0.weight", widths[0], 1)}
    return {
        f"interactions.{t}.{module}.weight_{key}": weight
        for module, parts in named.items()
        for key, weight in parts.items()
    }


def convolution_paths(degree_in: int, lmax: int, degree: int) -> int:
    """How many pairs of input and harmonic degrees couple to `degree` with natural parity."""
    return sum(
        abs(a - b) <= degree <= a + b and (a + b + degree) % 2 == 0
        for a in range(degree_in + 1)
        for b in range(lmax + 1)
    )


def readout_weights(weights: Weights, arguments: Mapping[str, Any], t: int) -> dict[str, Tensor]:
    """Weights of the readout after layer `t`."""
    channels, width = arguments["channels"], arguments["readout_width"]
    if t < arguments["layers"] - 1:
        return {f"readouts.{t}.weight": weights.take(f"readouts.{t}.linear.weight", channels, 1)}
    return {
        f"readouts.{t}.weight_1": weights.take(f"readouts.{t}.linear_1.weight", channels, width),
        f"readouts.{t}.weight_2": weights.take(f"readouts.{t}.linear_2.weight", width, 1),
    }


def by_element(name: str, weight: Tensor, order: np.ndarray) -> Tensor:
    """`weight` with its element axis, where it has one, put into the given order."""
    index = torch.as_tensor(order, device=weight.device)
    if ".skip." in name:
        return weight.index_select(1, index)
    if name == "embedding.weight" or re.fullmatch(r"products\.\d+\.weight_\d+_\d+", name):
        return weight.index_select(0, index)
    return weight


# The many-body product: its weights have a meaning only with mace-torch's coupling tensors ("U matrices").


def has_reduced_basis(model: Any, lmax: int) -> bool:
    """Whether the products have cuequivariance's independent coupling tensors instead of all of e3nn's."""
    return any(
        contraction.U_tensors(count).shape[-1] != coupling_tensors(lmax, degree, count).shape[-1]
        for product in model.products
        for degree, contraction in enumerate(product.symmetric_contractions.contractions)
        for count in range(1, contraction.correlation + 1)
    )


def product_weights(
    weights: Weights, arguments: Mapping[str, Any], contraction: Any, t: int, degree: int
) -> tuple[dict[str, Tensor], set[str]]:
    """Weights of one contraction (with a reduced basis its couplings too), and how they were obtained."""
    channels, lmax, elements = arguments["channels"], arguments["lmax"], len(arguments["elements"])
    prefix = f"products.{t}.symmetric_contractions.contractions.{degree}"
    result, basis = {}, set()
    for count in range(contraction.correlation, 0, -1):
        own = contraction.U_tensors(count).detach().double().cpu()
        below = contraction.correlation - count
        place = f"weights.{below - 1}" if below else "weights_max"
        weight = weights.take(f"{prefix}.{place}", elements, own.shape[-1], channels)
        if arguments["reduced_basis"]:
            how = "reduced"
            result[f"products.{t}.coupling_{degree}_{count}"] = monomial_coefficients(
                own, lmax, degree, count
            )
        else:
            weight, how = in_complete_basis(weight, own, lmax, degree, count)
        result[f"products.{t}.weight_{degree}_{count}"] = weight
        basis.add(how)
    return result, basis


def in_complete_basis(weight: Tensor, own: Tensor, lmax: int, degree: int, count: int) -> tuple[Tensor, str]:
    """Weights `[elements, paths, channels]` for the couplings `own` as weights for the installed e3nn's."""
    full = coupling_tensors(lmax, degree, count)
    if torch.allclose(own, full, atol=ROUNDING, rtol=0):
        return weight, "complete"
    signs = torch.sign((own * full).flatten(0, -2).sum(0))
    # They may have been made with the other version of e3nn.
    same = torch.allclose(own, signs * full, atol=ROUNDING, rtol=0)
    require(same, f"the product of {count} factors to degree {degree} has foreign coupling tensors")
    return weight * signs.to(weight)[:, None], "complete, signs changed"


def monomial_coefficients(own: Tensor, lmax: int, degree: int, count: int) -> Tensor:
    """The coefficient of each monomial in each order of the result, `[rows, paths]`.

    A row is a monomial (ascending component numbers, in lexicographic order) and an order m for which some
    path of e3nn's complete basis has a coefficient: all terms that symmetry allows.
    """
    shape = (2 * degree + 1, *[(lmax + 1) ** 2] * count, -1)
    full = symmetric_part(coupling_tensors(lmax, degree, count), count, degree > 0).reshape(shape)
    mine = symmetric_part(own, count, degree > 0).reshape(shape)
    allowed = full.abs().amax(-1) > ROUNDING
    foreign = float(mine.abs().amax(-1)[~allowed].max()) if not allowed.all() else 0.0
    require(
        foreign <= ROUNDING,
        f"the product of {count} factors to degree {degree} has foreign couplings (error {foreign:.1e})",
    )
    rows = [
        mine[(m, *indices)] * len(set(permutations(indices)))
        for indices in combinations_with_replacement(range((lmax + 1) ** 2), count)
        for m in range(2 * degree + 1)
        if allowed[(m, *indices)]
    ]
    return torch.stack(rows)


def symmetric_part(tensor: Tensor, count: int, leading: bool) -> Tensor:
    """`tensor` averaged over the permutations of its `count` input axes."""
    first = [0] if leading else []
    axes = range(len(first), len(first) + count)
    result = torch.zeros_like(tensor)
    for order in permutations(axes):
        result += tensor.permute(*first, *order, tensor.ndim - 1)
    return result / factorial(count)


@cache
def coupling_tensors(lmax: int, degree: int, count: int) -> Tensor:
    """e3nn's complete set of coupling tensors, float64."""
    from e3nn import o3
    from mace.tools.cg import U_matrix_real

    inputs = o3.Irreps.spherical_harmonics(lmax)
    output = o3.Irreps([(1, (degree, (-1) ** degree))])
    options = {"correlation": count, "use_cueq_cg": False, "dtype": torch.float64}
    return U_matrix_real(irreps_in=inputs, irreps_out=output, **options)[-1]


def convention() -> str:
    """Which version's signs the Clebsch-Gordan coefficients of the installed e3nn have."""
    from e3nn import o3

    # The coupling 1 x 2 -> 2 is one of those whose sign e3nn changed in version 0.5.
    sample = o3.wigner_3j(1, 2, 2, dtype=torch.float64)
    first = sample.flatten()[sample.abs().flatten() > 1e-3][0]
    return "e3nn-0.4" if first > 0 else "e3nn-0.5"


# What the model is: arguments and constants.


def read_arguments(model: Any) -> dict[str, Any]:
    """The arguments of sciten's `MACE`; raises `NotSupportedError` for what they cannot express."""
    check_kind(model)
    check_blocks(model)
    flags = [BLOCKS[type(block).__name__] for block in model.interactions]
    channels, hidden_lmax, lmax = read_irreps(model)
    radial = model.radial_embedding
    network = model.interactions[0].conv_tp_weights
    neighbors = {float(block.avg_num_neighbors) for block in model.interactions}
    require(len(neighbors) == 1, f"the layers have different average neighbours, {sorted(neighbors)}")
    correlations = {c.correlation for p in model.products for c in p.symmetric_contractions.contractions}
    require(len(correlations) == 1, f"the layers have different correlations, {sorted(correlations)}")
    order = np.argsort(model.atomic_numbers.cpu().numpy(), kind="stable")
    buffers = read_buffers(model)
    return {
        "elements": model.atomic_numbers.cpu().numpy()[order].tolist(),
        "isolated_atom_energies": buffers["isolated_atom_energies"].tolist(),
        "cutoff": float(model.r_max),
        "lmax": lmax,
        "channels": channels,
        "hidden_lmax": hidden_lmax,
        "correlation": correlations.pop(),
        "layers": len(model.interactions),
        "bessel_functions": len(radial.bessel_fn.bessel_weights),
        "cutoff_power": int(radial.cutoff_fn.p),
        "radial_mlp": [layer.weight.shape[0] for layer in list(network.children())[1:]],
        "readout_width": model.readouts[-1].hidden_irreps.dim,
        "average_neighbors": neighbors.pop(),
        "scale": float(buffers["scale"]),
        "shift": float(buffers["shift"]),
        "residual": [residual for residual, _ in flags],
        "density": [density for _, density in flags],
        "zbl": hasattr(model, "pair_repulsion_fn"),
        "agnesi": hasattr(radial, "distance_transform"),
    }


def read_buffers(model: Any) -> dict[str, Tensor]:
    """Constants that sciten keeps in float64 whatever the dtype of the weights."""
    order = torch.as_tensor(np.argsort(model.atomic_numbers.cpu().numpy(), kind="stable"))
    one, zero = torch.ones(1), torch.zeros(1)
    # mace-torch's plain MACE is its ScaleShiftMACE without scale and shift.
    scale = model.scale_shift.scale if hasattr(model, "scale_shift") else one
    shift = model.scale_shift.shift if hasattr(model, "scale_shift") else zero
    energies = model.atomic_energies_fn.atomic_energies
    single = energies.numel() == len(order) and scale.numel() == 1 and shift.numel() == 1
    require(single, "it has energies or scales of several heads")
    found = {
        "isolated_atom_energies": energies.flatten()[order.to(energies.device)],
        "scale": scale.reshape(()),
        "shift": shift.reshape(()),
        "bessel_frequencies": model.radial_embedding.bessel_fn.bessel_weights.flatten(),
    }
    return {name: value.detach().double().cpu().contiguous() for name, value in found.items()}


def check_kind(model: Any) -> None:
    """Refuse what is not a MACE energy model, and options of the whole model."""
    name = type(model).__name__
    require(name in ("MACE", "ScaleShiftMACE"), f"it is of class {name} instead of MACE or ScaleShiftMACE")
    heads = getattr(model, "heads", None) or ["Default"]
    require(len(heads) == 1, f"it has the heads {', '.join(heads)} (keep one with mace_select_head)")
    for option, what in {
        "joint_embedding": "a joint embedding (embedding_specs)",
        "embedding_readout": "an embedding readout",
        "lora": "LoRA adapters",
    }.items():
        require(not hasattr(model, option), f"it has {what}")
    for option in ("use_so3", "use_agnostic_product", "use_last_readout_only", "use_edge_irreps_first"):
        require(not getattr(model, option, False), f"it has the option {option}")
    require(len(model.interactions) > 1, "it has a single layer, hence only a linear readout")
    harmonics = model.spherical_harmonics
    require(
        harmonics.normalize and harmonics.normalization == "component",
        "its harmonics are not normalised",
    )


def check_blocks(model: Any) -> None:
    """Refuse blocks, radial bases, transforms and kernels that sciten's MACE has not."""
    radial = model.radial_embedding
    require_class(radial.bessel_fn, "BesselBasis", "radial basis")
    require_class(radial.cutoff_fn, "PolynomialCutoff", "cutoff")
    require(getattr(radial, "apply_cutoff", True), "the radial embedding has apply_cutoff=False")
    if hasattr(radial, "distance_transform"):
        require_class(radial.distance_transform, "AgnesiTransform", "distance transform")
        require_constants(
            radial.distance_transform, {"q": 0.9183, "p": 4.5791, "a": 1.0805}, "Agnesi transform"
        )
    if hasattr(model, "pair_repulsion_fn"):
        require_class(model.pair_repulsion_fn, "ZBLBasis", "pair repulsion")
        constants = {"a_exp": 0.3, "a_prefactor": 0.4543, "c": [0.1818, 0.5099, 0.2802, 0.02817]}
        require_constants(
            model.pair_repulsion_fn, {**constants, "p": int(radial.cutoff_fn.p)}, "ZBL repulsion"
        )
    for t, block in enumerate(model.interactions):
        name = type(block).__name__
        require(name in BLOCKS, f"layer {t} has the interaction block {name}")
        require_class(block.conv_tp_weights, "FullyConnectedNet", f"radial network of layer {t}")
        edge_irreps = getattr(block, "edge_irreps", None) or block.node_feats_irreps
        require(edge_irreps == block.node_feats_irreps, f"layer {t} has the edge_irreps {edge_irreps}")
        for part in ("linear_up", "conv_tp", "linear", "skip_tp"):
            require_e3nn(getattr(block, part), f"{part} of layer {t}")
    for t, product in enumerate(model.products):
        require_class(product, "EquivariantProductBasisBlock", f"product of layer {t}")
        require(
            not getattr(product, "use_agnostic_product", False),
            "it has the option use_agnostic_product",
        )
        require_class(
            product.symmetric_contractions, "SymmetricContraction", f"symmetric contraction of layer {t}"
        )
        require(
            hasattr(product.symmetric_contractions, "contractions"),
            "it has cuequivariance's symmetric contraction (undo it with mace_cueq_to_e3nn)",
        )
        require_e3nn(product.linear, f"linear map of product {t}")
    *linear, last = model.readouts
    require(len(model.readouts) == len(model.interactions), f"it has {len(model.readouts)} readouts")
    for t, readout in enumerate(linear):
        require_class(readout, "LinearReadoutBlock", f"readout {t}")
    require_class(last, "NonLinearReadoutBlock", "last readout")
    gate = getattr(getattr(last.non_linearity.acts[0], "f", None), "__name__", "None")
    require(gate == "silu", f"the last readout has the gate {gate} instead of silu")


def require_class(module: object, expected: str, what: str) -> None:
    """Refuse a part of another class."""
    name = type(module).__name__
    require(name == expected, f"the {what} is of class {name} instead of {expected}")


def require_constants(module: Any, expected: Mapping[str, Any], what: str) -> None:
    """Refuse constants that were trained away from their published values."""
    for name, value in expected.items():
        own = getattr(module, name).detach().double().cpu()
        same = torch.allclose(own, torch.as_tensor(value, dtype=torch.float64), rtol=1e-6)
        require(same, f"the {what} has {name} = {own.tolist()} instead of {value}")


def require_e3nn(module: nn.Module, what: str) -> None:
    """Refuse accelerated or adapted versions of e3nn's modules."""
    origin = f"{type(module).__module__}.{type(module).__name__}"
    require(
        origin.startswith("e3nn."),
        f"the {what} is {origin} instead of e3nn's (undo acceleration with mace_cueq_to_e3nn or "
        "mace.cli.convert_oeq_e3nn, and merge adapters, first)",
    )


def read_irreps(model: Any) -> tuple[int, int, int]:
    """Channels, highest degree of hidden features, highest degree of messages."""
    hidden = model.interactions[-1].node_feats_irreps
    channels = hidden[0].mul
    hidden_lmax = hidden.lmax
    regular = [(channels, (l, (-1) ** l)) for l in range(hidden_lmax + 1)]
    found = [(mul, (ir.l, ir.p)) for mul, ir in hidden]
    require(
        found == regular,
        f"it has the hidden irreps {hidden}: not every degree once with equal channels",
    )
    harmonics = model.interactions[0].edge_attrs_irreps
    lmax = harmonics.lmax
    natural = [(1, (l, (-1) ** l)) for l in range(lmax + 1)]
    found = [(mul, (ir.l, ir.p)) for mul, ir in harmonics]
    require(found == natural, f"it has the edge harmonics {harmonics} (option use_so3)")
    require(hidden_lmax <= lmax, f"the hidden irreps {hidden} exceed the harmonics' degree {lmax}")
    for t, block in enumerate(model.interactions):
        target = [(mul, (ir.l, ir.p)) for mul, ir in block.target_irreps]
        expected = [(channels, (l, (-1) ** l)) for l in range(lmax + 1)]
        require(target == expected, f"layer {t} has messages of irreps {block.target_irreps}")
    out = model.products[-1].linear.irreps_out
    require(
        out.lmax == 0, f"the last layer gives {out} instead of scalars only (option keep_last_layer_irreps)"
    )
    scalars = all(ir.l == 0 and ir.p == 1 for _, ir in model.readouts[-1].hidden_irreps)
    require(scalars, f"the last readout has the hidden irreps {model.readouts[-1].hidden_irreps}")
    return channels, hidden_lmax, lmax


# Files.


def load(path: Path) -> Any:
    """Unpickle a mace-torch model. Only the user can say whether the file is to be trusted."""
    try:
        import mace  # noqa: F401  (its classes are what the pickle refers to)
    except ImportError as error:
        raise SystemExit(
            f"convert_mace: run this with the Python of a mace-torch environment ({error})"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = torch.load(path, map_location="cpu", weights_only=False)
    except OSError:
        raise
    except Exception as error:  # unpickling foreign content can fail in any way
        raise NotSupportedError(f"the file cannot be read as a model of mace-torch ({error})") from error
    require(not isinstance(model, dict), "the file holds a training checkpoint instead of a model")
    require(not isinstance(model, torch.jit.ScriptModule), "the file is a compiled (TorchScript) model")
    require(isinstance(model, nn.Module), f"the file holds a {type(model).__name__} instead of a model")
    return model


def canonical_sha256(description: Mapping[str, Any]) -> str:
    """Hash of a description's canonical JSON."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_folder(
    folder: Path, converted: Converted, dtype: torch.dtype, provenance: Mapping[str, str]
) -> None:
    """Write a sciten model folder; it appears complete or not at all."""
    from safetensors.torch import save_file

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SystemExit(f"convert_mace: {folder} exists already; remove it or name another folder")
    identity = {
        "class": "MACE",
        "arguments": converted.arguments,
        "dtype": str(dtype).removeprefix("torch."),
        "clebsch_gordan": converted.convention,
    }
    weights = {name: weight.to(dtype).contiguous().clone() for name, weight in converted.weights.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        tensors = temporary / "model.safetensors"
        save_file(
            {**weights, **converted.buffers}, tensors, {"sciten_model_sha256": canonical_sha256(identity)}
        )
        description = {
            "format": "sciten-potential",
            "format_version": 1,
            **identity,
            "tensors_sha256": hashlib.sha256(tensors.read_bytes()).hexdigest(),
            "units": {"energy": "eV", "length": "Å"},
            "provenance": dict(provenance),
        }
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        (temporary / "model.json").write_text(text, encoding="utf-8")
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)  # temporary files are private; users expect the usual permissions
        tensors.chmod(0o666 & ~umask)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def provenance_of(path: Path, converted: Converted) -> dict[str, str]:
    """Where a converted model comes from."""
    return {
        "converted_from": path.name,
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "converter": "workflows/convert_mace.py",
        "product_basis": converted.basis,
        "mace_torch": metadata.version("mace-torch"),
        "e3nn": metadata.version("e3nn"),
        "torch": torch.__version__,
    }


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Convert a mace-torch model file into a sciten model folder.",
        epilog="MODEL is a pickle, loaded with torch.load(weights_only=False), which runs whatever code it "
        "contains: convert only files whose origin you trust. sciten itself never unpickles.",
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="model file of mace-torch (a pickle: see below)"
    )
    parser.add_argument(
        "folder", type=Path, metavar="OUTDIR", help="folder to write; must not exist or be empty"
    )
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="of the weights (default: the model's own)")
    options = parser.parse_args(argv)
    try:
        model = load(options.model)
        converted = convert(model)
        own = converted.weights["embedding.weight"].dtype
        dtype = DTYPES[options.dtype] if options.dtype else own
        write_folder(options.folder, converted, dtype, provenance_of(options.model, converted))
    except NotSupportedError as error:
        print(f"convert_mace: {options.model}: {error}.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"convert_mace: {error}", file=sys.stderr)
        return 1
    kind = f"L={converted.arguments['hidden_lmax']}, {converted.arguments['channels']} channels"
    print(f"{options.folder}: MACE, {kind}, {len(converted.arguments['elements'])} elements, {dtype}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
