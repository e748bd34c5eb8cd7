"""The instructions of a tensor product: which irreps meet, how their multiplicities combine, and with what norm.

Modes, normalisations and the layout of weights are those of e3nn's `TensorProduct` (Geiger and Smidt 2022).
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf, sqrt
from numbers import Integral, Real
from typing import Any, NamedTuple

from sciten.equivariant.irreps import Irreps
from sciten.errors import ConfigError


class Instruction(NamedTuple):
    """One path of a tensor product.

    Attributes:
        i_in1, i_in2, i_out: entries of the three lists of irreps.
        connection_mode: how multiplicities combine, one of `MODES`.
        has_weight: whether the path carries weights.
        path_weight: what its couplings are multiplied by, normalisation included.
        path_shape: shape of its weights.
    """

    i_in1: int
    i_in2: int
    i_out: int
    connection_mode: str
    has_weight: bool
    path_weight: float
    path_shape: tuple[int, ...]

    @property
    def weight_numel(self) -> int:
        """How many weights the path takes."""
        numel = 1
        for n in self.path_shape:
            numel *= n
        return numel if self.has_weight else 0


class _Mode(NamedTuple):
    """What a connection mode means for multiplicities (u, v, w) of the inputs and the output."""

    shape: Callable[[int, int, int], tuple[int, ...]]  # of the weights
    fits: Callable[[int, int, int], bool]
    wants: str  # what `fits` checks
    elements: Callable[[int, int], int]  # how many products are added up in one element of the output


MODES: Mapping[str, _Mode] = {
    "uvw": _Mode(lambda u, v, w: (u, v, w), lambda u, v, w: True, "", lambda u, v: u * v),
    "uvu": _Mode(lambda u, v, w: (u, v), lambda u, v, w: u == w, "mul_out = mul_1", lambda u, v: v),
    "uvv": _Mode(lambda u, v, w: (u, v), lambda u, v, w: v == w, "mul_out = mul_2", lambda u, v: u),
    "uuw": _Mode(lambda u, v, w: (u, w), lambda u, v, w: u == v, "mul_1 = mul_2", lambda u, v: u),
    "uuu": _Mode(lambda u, v, w: (u,), lambda u, v, w: u == v == w, "equal multiplicities", lambda u, v: 1),
    "uvuv": _Mode(
        lambda u, v, w: (u, v), lambda u, v, w: u * v == w, "mul_out = mul_1 mul_2", lambda u, v: 1
    ),
    "uvu<v": _Mode(
        lambda u, v, w: (u * (u - 1) // 2,),
        lambda u, v, w: u == v and u * (u - 1) // 2 == w,
        "mul_1 = mul_2 = n and mul_out = n (n - 1) / 2",
        lambda u, v: 1,
    ),
    "u<vw": _Mode(
        lambda u, v, w: (u * (u - 1) // 2, w),
        lambda u, v, w: u == v,
        "mul_1 = mul_2",
        lambda u, v: u * (u - 1) // 2,
    ),
}


def normalised(
    name: str,
    irreps: tuple[Irreps, Irreps, Irreps],
    instructions: Sequence[Sequence[Any]],
    variances: tuple[Sequence[float], Sequence[float], Sequence[float]],
    irrep_normalization: str,
    path_normalization: str,
) -> tuple[Instruction, ...]:
    """Instructions `(i_in1, i_in2, i_out, mode, has_weight[, path_weight])` with their norm in `path_weight`.

    Args:
        name: of the product, for messages.
        irreps: of the inputs and the output.
        variances: expected for each entry of the inputs, wanted for each entry of the output.
        irrep_normalization: "component" (unit variance of each component in and out), "norm" (unit norm) or "none".
        path_normalization: "element" (every weight counts alike), "path" (every path counts alike) or "none".

    Raises:
        ConfigError: an instruction does not fit the irreps.
    """
    _require(name, "irrep_normalization", irrep_normalization, ("component", "norm", "none"))
    _require(name, "path_normalization", path_normalization, ("element", "path", "none"))
    raw = [_checked(name, irreps, instruction) for instruction in instructions]
    return tuple(
        ins._replace(
            path_weight=sqrt(
                ins.path_weight
                * variances[2][ins.i_out]
                * _irrep_factor(irreps, ins, irrep_normalization)
                / _path_variance(irreps, raw, ins, variances, path_normalization)
            )
        )
        for ins in raw
    )


def _require(name: str, argument: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(
            f"{name}: expected {argument} to be {', '.join(allowed[:-1])} or {allowed[-1]}, got {value!r}"
        )


def _checked(name: str, irreps: tuple[Irreps, Irreps, Irreps], given: Sequence[Any]) -> Instruction:
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) not in (5, 6):
        raise ConfigError(
            f"{name}: expected instructions (i_in1, i_in2, i_out, mode, has_weight[, path_weight]), got {given!r}"
        )
    i1, i2, i3, mode, has_weight, path_weight = (*given, 1.0)[:6]
    for position, side in zip((i1, i2, i3), irreps, strict=True):
        if not (isinstance(position, Integral) and 0 <= int(position) < len(side)):
            raise ConfigError(
                f"{name}: instruction {tuple(given)} names entry {position} of {side}, which is not there"
            )
    if mode not in MODES:
        raise ConfigError(f"{name}: expected a connection mode among {', '.join(MODES)}, got {mode!r}")
    entries = [side[int(p)] for side, p in zip(irreps, (i1, i2, i3), strict=True)]
    (u, a), (v, b), (w, c) = entries
    if a.p * b.p != c.p or not abs(a.l - b.l) <= c.l <= a.l + b.l:
        raise ConfigError(
            f"{name}: {a} x {b} does not contain {c}, which instruction {tuple(given)} asks for"
        )
    rules = MODES[str(mode)]
    if not rules.fits(u, v, w):
        raise ConfigError(
            f"{name}: mode {mode} expects {rules.wants}, got {entries[0]} x {entries[1]} -> {entries[2]}"
        )
    if not has_weight and (mode in ("uvw", "u<vw") or (mode == "uuw" and w != 1)):
        raise ConfigError(f"{name}: mode {mode} needs weights to reach {entries[2]}; set has_weight")
    if not (isinstance(path_weight, Real) and 0 <= float(path_weight) < inf):
        raise ConfigError(
            f"{name}: expected path weights that are finite and at least 0, got {path_weight!r}"
        )
    return Instruction(
        int(i1),
        int(i2),
        int(i3),
        str(mode),
        bool(has_weight),
        float(path_weight),
        rules.shape(u, v, w),
    )


def _irrep_factor(irreps: tuple[Irreps, Irreps, Irreps], ins: Instruction, normalization: str) -> float:
    if normalization == "component":
        return irreps[2][ins.i_out].ir.dim
    if normalization == "norm":
        return irreps[0][ins.i_in1].ir.dim * irreps[1][ins.i_in2].ir.dim
    return 1.0


def _path_variance(
    irreps: tuple[Irreps, Irreps, Irreps],
    instructions: Sequence[Instruction],
    ins: Instruction,
    variances: tuple[Sequence[float], Sequence[float], Sequence[float]],
    normalization: str,
) -> float:
    def variance(other: Instruction) -> float:
        elements = MODES[other.connection_mode].elements(
            irreps[0][other.i_in1].mul, irreps[1][other.i_in2].mul
        )
        return variances[0][other.i_in1] * variances[1][other.i_in2] * elements

    together = [other for other in instructions if other.i_out == ins.i_out]
    total = {
        "element": lambda: sum(map(variance, together)),
        "path": lambda: variance(ins) * len(together),
        "none": lambda: 1.0,
    }[normalization]()
    return total if total > 0 else 1.0
