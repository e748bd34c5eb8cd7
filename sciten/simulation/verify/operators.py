"""The verification of a neural operator: does it belong to no grid, and does it commute with what it should?"""

import copy
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, prod, sqrt

import torch
from torch import Tensor
from tqdm import tqdm

from sciten.datasets import FieldDataset
from sciten.errors import ConfigError
from sciten.neural_operators import NeuralOperator, load_operator, save_operator
from sciten.neural_operators.classes import OPERATORS
from sciten.neural_operators.files import roles_of
from sciten.simulation.verify.result import CheckResult, Verification, judged, not_applicable
from sciten.training.field_data import open_for

_SAMPLES = 4
_WAVES = 2  # the highest frequency of fields that are compared across grids
_TERMS = 6
_MOST_POINTS = 1 << 18  # of the finest grid, for a check to take seconds
_SAME_FUNCTION = 0.1
_CONVERGING = 0.75  # half the spacing halves the deviation, at worst: coordinates jump where a period ends


@dataclass(frozen=True)
class OperatorSubject:
    """What is checked.

    Attributes:
        model: in float64.
        inputs: `[B, C_in, *grid]`, fields as it takes them.
        seed: of everything that is random.
    """

    model: NeuralOperator
    inputs: Tensor
    seed: int

    @property
    def grid(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(self.inputs.shape[2:])


OperatorCheck = Callable[[OperatorSubject], list[CheckResult]]


@torch.no_grad()
def verify_operator(
    target: NeuralOperator | str | os.PathLike[str],
    data: FieldDataset | str | os.PathLike[str] | None = None,
    *,
    device: str = "cpu",
    seed: int = 0,
    progress: bool = False,
) -> Verification:
    """Check that a neural operator is what a neural operator must be, in float64.

    Args:
        target: a model folder, a training output folder, or an operator.
        data: fields with the operator's channels, open or (where `target` is on disk) as a file: the first samples are
            tested on, and their grid is the coarsest. Without, smooth random fields on twice as many points as modes,
            in each patch where there are patches (or just as many, should that be too many for a quick check).
        device: where to compute.
        seed: of everything that is random.
        progress: show a progress bar.

    Raises:
        ModelError: the model cannot be loaded.
        DataError: the file cannot be used.
        ConfigError: its channels are not the operator's, or it needs the names of fields and the model has none.
    """
    started = time.perf_counter()
    if isinstance(target, NeuralOperator):
        name, model = type(target).__name__, target
    else:
        name, model = str(target), load_operator(target)
    model = _copy(model, torch.float64).to(device)
    inputs, words = _inputs(model, target, data, seed)
    model.require_fields(inputs)
    subject = OperatorSubject(model, inputs.to(device), seed)
    results: list[CheckResult] = []
    for check in tqdm(CHECKS, desc="verify", unit="check", disable=None if progress else True):
        results += check(subject)
    grid = " x ".join(map(str, subject.grid))
    return Verification(
        name, (f"{words} on {grid} points",), tuple(results), time.perf_counter() - started, "fields"
    )


def finite(subject: OperatorSubject) -> list[CheckResult]:
    """Outputs are numbers."""
    outputs = subject.model(subject.inputs)
    return [
        judged(
            "finite outputs", float((~outputs.isfinite()).sum()), 0, "values", "values that are not finite"
        )
    ]


def resolution(subject: OperatorSubject) -> list[CheckResult]:
    """The same function on finer grids gives the same function, the better the finer they are."""
    model, coarsest = subject.model, _coarsest(subject.model, subject.grid)
    grids = [_refined(coarsest, model.periodic, factor) for factor in (1, 2, 4)]
    outputs = [
        model(smooth_fields(model, grid, subject.seed)) for grid in grids if prod(grid) <= _MOST_POINTS
    ]
    deviations = [_deviation(model, a, b) for a, b in itertools.pairwise(outputs)]
    if not deviations:
        return [not_applicable("resolution", f"twice the grid has more than {_MOST_POINTS} points")]
    shapes = [" x ".join(map(str, grid)) for grid in grids]
    explanation = f"the same fields of {_WAVES} waves at most on {shapes[0]} and on {shapes[1]} points"
    found = [judged("resolution", deviations[0], _SAME_FUNCTION, "of the output", explanation)]
    if len(deviations) == 1 or deviations[0] < 1e-9:
        return found
    if model.patching is not None and not all(model.patching.in_proportion(coarsest)):
        reason = (
            "patches are other parts of the domain on each grid: their padding is rounded to whole points"
        )
        return [*found, not_applicable("resolution: convergence", reason)]
    ratio = deviations[1] / deviations[0]
    explanation = (
        f"deviation between {shapes[1]} and {shapes[2]} points over that between {shapes[0]} and {shapes[1]}"
    )
    return [*found, judged("resolution: convergence", ratio, _CONVERGING, "per halving", explanation)]


def translation(subject: OperatorSubject) -> list[CheckResult]:
    """Shifting the input along a periodic axis shifts the output, where it is cut by whole patches of all grids."""
    name, model = "translation", subject.model
    if not any(model.periodic):
        return [not_applicable(name, "no axis is periodic")]
    if model.positional_grid:
        return [not_applicable(name, "the coordinates are inputs (positional_grid)")]
    units = model.translations(subject.grid)
    axes = [2 + axis for axis, unit in enumerate(units) if unit]
    if not axes:
        return [not_applicable(name, "no shift is one by whole patches of all grids")]
    # A third of the axis, in whole patches where it is cut: between them lie other cuts.
    shifts = [max(1, subject.grid[axis - 2] // 3 // units[axis - 2]) * units[axis - 2] for axis in axes]
    moved = model(subject.inputs.roll(shifts, axes))
    size = _relative(moved, model(subject.inputs).roll(shifts, axes))
    explanation = f"shifted by {', '.join(map(str, shifts))} points along {len(axes)} periodic axes"
    return [judged(name, size, 1e-9, "of the output", explanation)]


def batches(subject: OperatorSubject) -> list[CheckResult]:
    """A sample's output does not depend on what else is in the batch."""
    together = subject.model(subject.inputs)
    alone = torch.cat([subject.model(sample[None]) for sample in subject.inputs])
    explanation = f"{len(alone)} samples together and one by one"
    return [judged("samples apart", _relative(alone, together), 1e-9, "of the output", explanation)]


def single_precision(subject: OperatorSubject) -> list[CheckResult]:
    """The operator in float32 against the same operator in float64."""
    single = _copy(subject.model, torch.float32)(subject.inputs.float())
    size = _relative(single.double(), subject.model(subject.inputs))
    return [judged("float32", size, 1e-3, "of the output", "against float64")]


def round_trip(subject: OperatorSubject) -> list[CheckResult]:
    """The operator saved and loaded again against the operator itself."""
    name, model = "save and load", subject.model
    if OPERATORS.get(type(model).__name__) is not type(model):
        return [not_applicable(name, "only for operators of sciten's own")]
    with tempfile.TemporaryDirectory() as folder:
        save_operator(model, folder)
        loaded = load_operator(folder, device=model.device)
    size = _relative(loaded(subject.inputs), model(subject.inputs))
    return [judged(name, size, 0.0, "of the output", "the same weights, and the same numbers")]


#: Every check, in the order of the table.
CHECKS: tuple[OperatorCheck, ...] = (finite, resolution, translation, batches, single_precision, round_trip)


def smooth_fields(model: NeuralOperator, grid: Sequence[int], seed: int) -> Tensor:
    """Random fields `[4, C_in, *grid]` of a few low frequencies, the same functions on every grid.

    They have the means and standard deviations of the operator's inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    sides, d = (_SAMPLES, model.in_channels), len(grid)
    fields = torch.zeros(*sides, *grid, dtype=torch.float64)
    for _ in range(_TERMS):
        term = torch.randn(*sides, generator=generator, dtype=torch.float64) * sqrt(2**d / _TERMS)
        term = term.view(*sides, *[1] * d)
        for axis, (n, periodic) in enumerate(zip(grid, model.periodic, strict=True)):
            waves = int(torch.randint(0, _WAVES + 1, (1,), generator=generator))
            phase = float(torch.rand(1, generator=generator)) * 2 * pi
            points = torch.arange(n, dtype=torch.float64) / (n if periodic else n - 1)
            line = torch.cos((2 if periodic else 1) * pi * waves * points + phase)
            term = term * line.view([-1 if k == axis else 1 for k in range(d)])
        fields = fields + term
    along = (-1, *[1] * d)
    scaled = fields.to(model.device) * model.input_std.double().view(along)
    return scaled + model.input_mean.double().view(along)


def _inputs(
    model: NeuralOperator,
    target: NeuralOperator | str | os.PathLike[str],
    data: FieldDataset | str | os.PathLike[str] | None,
    seed: int,
) -> tuple[Tensor, str]:
    """What to test on, and what it is in words."""
    if data is None:
        return _random_inputs(model, seed), "smooth random fields"
    if not isinstance(data, FieldDataset):
        if isinstance(target, NeuralOperator):
            raise ConfigError(
                f"verify_operator: {type(target).__name__} does not say which fields of {data} it takes; give an open "
                "FieldDataset"
            )
        data = open_for(roles_of(target), data)
    with data:
        samples = [data[i].inputs.double() for i in range(min(_SAMPLES, len(data)))]
    return torch.stack(samples), data.paths[0].name


def _random_inputs(model: NeuralOperator, seed: int) -> Tensor:
    modes: Sequence[int] = model.arguments().get("modes", [8] * model.n_dims)
    patches = [1] * model.n_dims if model.patching is None else model.patching.patches
    ample = [2 * count * n for n, count in zip(modes, patches, strict=True)]
    sparing = [max(2, count) * n for n, count in zip(modes, patches, strict=True)]
    fits = prod(_refined(ample, model.periodic, 2)) <= _MOST_POINTS
    return smooth_fields(model, ample if fits else sparing, seed)


def _refined(grid: Sequence[int], periodic: Sequence[bool], factor: int) -> tuple[int, ...]:
    """The grid with spacings divided by `factor`; all its points are points of the new one."""
    return tuple(factor * n if p else factor * (n - 1) + 1 for n, p in zip(grid, periodic, strict=True))


def _coarsest(model: NeuralOperator, grid: tuple[int, ...]) -> tuple[int, ...]:
    """Along each axis the points of `grid`, or the next number whose patches are the same on finer grids."""
    patching = model.patching
    if patching is None:
        return grid
    lines = (
        (m for m in range(n, 2 * n) if patching.in_proportion([m] * len(grid))[axis])
        for axis, n in enumerate(grid)
    )
    return tuple(next(line, n) for line, n in zip(lines, grid, strict=True))


def _deviation(model: NeuralOperator, coarse: Tensor, fine: Tensor) -> float:
    """Where the grids coincide, in units of the standard deviation of the outputs' channels."""
    shared = fine
    for axis in range(2, fine.ndim):
        shared = shared.index_select(axis, torch.arange(0, fine.shape[axis], 2, device=fine.device))
    difference = shared - coarse
    scale = model.output_std.view(-1, *[1] * model.n_dims)
    spread = coarse / scale - (coarse / scale).mean(tuple(range(2, coarse.ndim)), keepdim=True)
    size = spread.square().mean().sqrt()
    return float((difference / scale).square().mean().sqrt() / size.clamp(min=1e-300))


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp(min=1e-300))


def _copy(model: NeuralOperator, dtype: torch.dtype) -> NeuralOperator:
    return copy.deepcopy(model).to(dtype).requires_grad_(False).eval()
