"""How well a neural operator reproduces fields: relative errors by step, as a table, JSON and plots."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor
from tqdm import tqdm

from sciten.datasets import FieldDataset, FieldGrid
from sciten.errors import ConfigError, DataError
from sciten.files import write_text
from sciten.neural_operators import NeuralOperator
from sciten.training.field_errors import measures
from sciten.training.rollout import evaluating, require_channels, rollout, scaled

_SHOWN_STEPS = 12  # rows of the table; JSON has them all
_RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """Errors of many samples in a few numbers; `low` and `high` enclose the mean with 95 % confidence.

    The interval is the bootstrap's (percentiles of resampled means); None for a single sample.
    """

    mean: float
    low: float | None
    high: float | None
    median: float
    largest: float

    @classmethod
    def of(cls, errors: np.ndarray) -> "Summary":
        """Of one error for each sample, `[n]`."""
        low, high = _interval(errors)
        return cls(float(errors.mean()), low, high, float(np.median(errors)), float(errors.max()))


@dataclass(frozen=True, eq=False)
class Course:
    """Where predictions start, and what they are compared with.

    Attributes:
        dataset: of the samples.
        starts: the samples that are predicted from.
        steps: of the rollout; 1 where there is none.
        windows: samples of one trajectory, one stored time after the other.
    """

    dataset: FieldDataset
    starts: tuple[int, ...]
    steps: int
    windows: int

    @classmethod
    def of(cls, dataset: FieldDataset, indices: Sequence[int], steps: int | None = None) -> "Course":
        """For some samples of a dataset; raises `ConfigError` where there are fewer than `steps` steps."""
        if not dataset.autoregressive:
            if steps not in (None, 1):
                raise ConfigError(
                    f"steps: expected 1, as the targets do not follow from themselves, got {steps}"
                )
            return cls(dataset, tuple(indices), 1, 1)
        places = [dataset.place(i) for i in range(len(dataset))]
        wanted = {(places[i].path, places[i].trajectory) for i in indices}
        starts = [i for i, p in enumerate(places) if p.frame == 0 and (p.path, p.trajectory) in wanted]
        windows = min(np.diff([i for i, p in enumerate(places) if p.frame == 0], append=len(places)))
        longest = int(windows - 1) // dataset.stride + dataset.horizon
        if steps is not None and not 1 <= steps <= longest:
            raise ConfigError(f"steps: expected 1 to {longest}, which the trajectories have, got {steps}")
        return cls(dataset, tuple(starts), steps or longest, int(windows))

    def reference(self, starts: Sequence[int], step: int) -> Tensor:
        """The targets `[B, C_out, *grid]` of a step."""
        ahead = min(step, (self.windows - 1) // self.dataset.stride)
        samples = (self.dataset[i + ahead * self.dataset.stride] for i in starts)
        return torch.stack([sample.targets[step - ahead] for sample in samples])

    def name(self, index: int) -> str:
        """Where a sample comes from."""
        place = self.dataset.place(index)
        return f"{place.path.name}, trajectory {place.trajectory}"


@dataclass(frozen=True, eq=False)
class Example:
    """One sample, at the last step.

    Attributes:
        name: what it is an example of.
        place: where it comes from.
        error: relative L2 error over all steps.
        reference, prediction: `[C_out, *grid]`.
    """

    name: str
    place: str
    error: float
    reference: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True, eq=False)
class FieldEvaluation:
    """An operator against a dataset.

    Attributes:
        dataset, model: their names, for the record.
        channels: names of the targets.
        grid: of the fields.
        time_step: from one step to the next; None where nothing varies in time.
        errors: by the names in `sciten.training.field_errors.measures`, `[n_samples, n_steps]`.
        examples: the best, the median and the worst sample.
    """

    dataset: str
    model: str
    channels: tuple[str, ...]
    grid: FieldGrid
    time_step: float | None
    errors: dict[str, np.ndarray]
    examples: tuple[Example, ...]

    @property
    def steps(self) -> int:
        """Steps of the rollout; 1 where nothing varies in time."""
        return self.errors["relative_l2"].shape[1]

    @property
    def remark(self) -> str:
        """What the headings of the table mean."""
        text = (
            "Relative errors of whole fields, each channel in units of its standard deviation: L2 of values, H1 of "
            "values and slopes. Intervals hold the mean with 95 % confidence (bootstrap over samples)."
        )
        return text if self.steps == 1 else f"{text} Each step starts from the model's own predictions."

    def overall(self, measure: str = "relative_l2") -> Summary:
        """Errors of the samples, averaged over the steps."""
        return Summary.of(self.errors[measure].mean(1))

    def at(self, step: int, measure: str = "relative_l2") -> Summary:
        """Errors of the samples at a step, from 0."""
        return Summary.of(self.errors[measure][:, step])

    def rows(self) -> list[list[str]]:
        """The table as cells, headings first."""
        heads = [
            f"{name.removeprefix('relative_').upper()} {kind}"
            for name in self.errors
            for kind in ("mean", "95 %", "median", "largest")
        ]
        table = [["step", "samples", *heads]]
        shown = np.unique(np.linspace(0, self.steps - 1, min(self.steps, _SHOWN_STEPS)).round().astype(int))
        for step in shown if self.steps > 1 else ():
            table.append(self._row(self._step_name(step), [self.at(step, name) for name in self.errors]))
        table.append(self._row("all", [self.overall(name) for name in self.errors]))
        return table

    def table(self) -> str:
        """The table as text."""
        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    def to_json(self) -> dict[str, Any]:
        """The errors as JSON values; None for those that are no finite numbers, after a rollout that diverged."""
        document = {
            "model": self.model,
            "dataset": self.dataset,
            "channels": list(self.channels),
            "grid": list(self.grid.shape),
            "samples": len(self.errors["relative_l2"]),
            "time_step": self.time_step,
            "confidence": 0.95,
            "overall": {name: vars(self.overall(name)) for name in self.errors},
            "steps": [
                {name: vars(self.at(step, name)) for name in self.errors} for step in range(self.steps)
            ],
            "examples": {entry.name: {"place": entry.place, "error": entry.error} for entry in self.examples},
        }
        found: dict[str, Any] = _finite(document)
        return found

    def write(self, folder: str | os.PathLike[str], prefix: str = "") -> list[Path]:
        """Write `evaluation.json`, `evaluation.txt` and the plots to `folder`; returns the PNG files."""
        from sciten.training.field_plots import error_histogram, error_over_time, example_plot

        folder = Path(folder)
        document = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(folder / f"{prefix}evaluation.json", document + "\n")
        write_text(folder / f"{prefix}evaluation.txt", self.table() + "\n")
        figures = [example_plot(self, folder, prefix), error_histogram(self, folder, prefix)]
        return figures if self.steps == 1 else [*figures, error_over_time(self, folder, prefix)]

    def _step_name(self, step: int) -> str:
        return (
            str(step + 1) if self.time_step is None else f"{step + 1} (t + {(step + 1) * self.time_step:.4g})"
        )

    def _row(self, name: str, summaries: Sequence[Summary]) -> list[str]:
        cells = [name, str(len(self.errors["relative_l2"]))]
        for entry in summaries:
            interval = "-" if entry.low is None else f"{entry.low:.4f}-{entry.high:.4f}"
            cells += [f"{entry.mean:.4f}", interval, f"{entry.median:.4f}", f"{entry.largest:.4f}"]
        return cells


def evaluate_operator(
    model: NeuralOperator,
    dataset: FieldDataset,
    *,
    indices: Sequence[int] | np.ndarray | None = None,
    steps: int | None = None,
    batch_size: int = 32,
    model_name: str = "",
    progress: bool = False,
) -> FieldEvaluation:
    """Compare an operator, in evaluation mode, with the fields of a dataset.

    Where the targets are what varies in time among the inputs, the operator is applied to its own predictions: from
    the first frame of each trajectory to its last one. Otherwise samples are compared one by one.

    Args:
        model: its channels are those of the dataset.
        dataset: what to compare with.
        indices: which samples, or the trajectories of which; by default all.
        steps: fewer steps than the trajectories have.
        batch_size: samples at once.
        model_name: for the record.
        progress: whether to show a bar on a terminal.

    Raises:
        DataError: there is no sample, or the times of a rollout are not equally spaced.
        ConfigError: the channels, the grid or the steps do not fit.
    """
    name = ", ".join(str(path) for path in dataset.paths)
    chosen = [int(i) for i in (range(len(dataset)) if indices is None else indices)]
    if not chosen:
        raise DataError(f"{name}: expected samples to evaluate, got none")
    require_channels(model, dataset)
    course = Course.of(dataset, chosen, steps)
    time_step = dataset.time_step if course.steps > 1 else None  # times that are uneven are said at once
    starts = range(0, len(course.starts), batch_size)
    bar = tqdm(starts, desc="evaluate", leave=False, disable=None if progress else True)
    with evaluating(model):
        parts = [_errors(model, course, course.starts[start : start + batch_size]) for start in bar]
        errors = {measure: np.concatenate([part[measure] for part in parts]) for measure in parts[0]}
        examples = _examples(model, course, errors["relative_l2"].mean(1))
    return FieldEvaluation(
        dataset=name,
        model=model_name or type(model).__name__,
        channels=dataset.channels.targets,
        grid=dataset.grid,
        time_step=time_step,
        errors=errors,
        examples=examples,
    )


def _errors(model: NeuralOperator, course: Course, starts: Sequence[int]) -> dict[str, np.ndarray]:
    """By measure, `[n_samples, n_steps]`."""
    known = measures(course.dataset.grid)
    found: dict[str, list[np.ndarray]] = {name: [] for name in known}
    for step, prediction in enumerate(_predictions(model, course, starts)):
        ours = scaled(model, prediction)
        theirs = scaled(model, course.reference(starts, step).to(model.device))
        for name, measure in known.items():
            found[name].append(measure.ratios(ours, theirs).double().cpu().numpy())
    return {name: np.stack(columns, axis=1) for name, columns in found.items()}


@torch.no_grad()
def _predictions(model: NeuralOperator, course: Course, starts: Sequence[int]) -> Iterator[Tensor]:
    inputs = torch.stack([course.dataset[i].inputs for i in starts]).to(model.device, model.dtype)
    yield from rollout(model, course.dataset, inputs, course.steps)


def _examples(model: NeuralOperator, course: Course, errors: np.ndarray) -> tuple[Example, ...]:
    order = np.argsort(errors, kind="stable")
    rows = dict.fromkeys([int(order[0]), int(order[len(order) // 2]), int(order[-1])])
    names = (
        ("best", "median", "worst") if len(rows) == 3 else ("best", "worst") if len(rows) == 2 else ("only",)
    )
    starts = [course.starts[row] for row in rows]
    *_, predictions = _predictions(model, course, starts)
    references = course.reference(starts, course.steps - 1)
    return tuple(
        Example(
            name,
            course.name(i),
            float(errors[row]),
            reference.double().numpy(),
            prediction.double().cpu().numpy(),
        )
        for name, row, i, reference, prediction in zip(
            names, rows, starts, references, predictions, strict=True
        )
    )


def _finite(value: Any) -> Any:
    """A JSON value with None in the place of numbers that JSON has not: NaN and infinities."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _interval(errors: np.ndarray) -> tuple[float | None, float | None]:
    if len(errors) < 2 or not np.isfinite(errors).all():
        return None, None
    found = bootstrap(
        (errors,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=50,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
