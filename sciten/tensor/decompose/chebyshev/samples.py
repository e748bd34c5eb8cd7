"""Points that decide on degrees and ranks, and others that tell whether the result is right."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.decompose.chebyshev.container import Bounds, ChebyshevTucker
from sciten.tensor.decompose.chebyshev.polynomials import GATHERED
from sciten.tensor.formats.tucker import Tucker

Function = Callable[[Tensor], Tensor]

_SAMPLES = 4096
#: Between samples errors are larger than at them.
_MARGIN = 0.5
#: Places with large values that get samples on all lines through them, and how many on each.
_NEAR, _ON_LINE = 4, 32
#: Relative errors of coefficients that are tried, in units of the tolerance, and what they are known to before. They
#: and the largest error of a value are in no fixed ratio: those of all coefficients may add up in a single place.
CUTS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
ACCURATE = 1e-4


class Values:
    """A function of points, which counts its values and refuses those that are none."""

    def __init__(self, name: str, function: Function) -> None:
        self.name, self.function, self.count = name, function, 0

    def __call__(self, points: Tensor) -> Tensor:
        step = max(1, GATHERED // points.shape[1])
        return torch.cat([self._checked(part) for part in points.split(step)])

    def on_fibres(self, anchors: Tensor, variable: int, x: Tensor) -> Tensor:
        """Values `[a, n]` where a variable of `[a, d]` anchors takes the values `[n]`."""
        points = anchors.repeat_interleave(len(x), 0)
        points[:, variable] = x.to(points.device).repeat(len(anchors))
        return self(points).reshape(len(anchors), len(x))

    def _checked(self, points: Tensor) -> Tensor:
        self.count += len(points)
        values = self.function(points)
        if not isinstance(values, Tensor) or values.shape != points.shape[:1]:
            found = list(values.shape) if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise ConfigError(
                f"{self.name}: expected the function to return values [{len(points)}] for points "
                f"{list(points.shape)}, got {found}"
            )
        values = values.detach()
        if not (values.is_floating_point() or values.is_complex()):
            values = values.double()
        wrong = ~torch.isfinite(values)
        if bool(wrong.any()):
            first = int(wrong.nonzero()[0])
            raise ConfigError(
                f"{self.name}: expected finite values, got {values[first].item()} at {tuple(points[first].tolist())}"
            )
        return values


class Columns:
    """The factors of one variable: from points `[n]` to values `[n, r]`."""

    def __init__(self, name: str, variable: int, function: Function, rank: int) -> None:
        self.name, self.variable, self.function, self.rank = name, variable, function, rank

    def __call__(self, x: Tensor) -> Tensor:
        values = self.function(x)
        if not isinstance(values, Tensor) or values.shape != (len(x), self.rank):
            found = list(values.shape) if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise ConfigError(
                f"{self.name}: expected factor {self.variable} to return values [{len(x)}, {self.rank}] for points "
                f"[{len(x)}], got {found}"
            )
        return values.detach()


class Samples(NamedTuple):
    """Points `[n, d]` with values of the function, and those whose fibres decide on the degrees."""

    points: Tensor
    values: Tensor
    anchors: Tensor

    @property
    def largest(self) -> float:
        """The largest modulus of a value."""
        return float(self.values.abs().max())


def take_samples(
    values: Values, box: Bounds, generator: torch.Generator, before: Samples | None = None
) -> Samples:
    """Random points, and points on lines through those where the function is largest."""
    low, high = torch.tensor(box, dtype=torch.float64, device=generator.device).mT

    def uniform(count: int) -> Tensor:
        unit = torch.rand(count, len(box), generator=generator, dtype=torch.float64, device=generator.device)
        return torch.lerp(low, high, unit).clamp(low, high)

    points = torch.cat([((low + high) / 2)[None], uniform(_SAMPLES)])
    found = values(points)
    if before is not None:
        points, found = torch.cat([before.points, points]), torch.cat([before.values, found])
    near = points[found.abs().topk(min(_NEAR, len(found))).indices]
    lines = []
    for k in range(len(box)):
        line = near.repeat(_ON_LINE, 1)
        line[:, k] = uniform(len(line))[:, k]
        lines.append(line)
    every = torch.cat(lines)
    more = values(every)
    anchors = torch.cat([near, points[: _NEAR + 1]]) if before is None else torch.cat([near, before.anchors])
    return Samples(torch.cat([points, every]), torch.cat([found, more]), anchors)


def least_ranks(
    coefficients: Tucker,
    values: Values,
    box: Bounds,
    samples: Samples,
    tolerance: float,
    generator: torch.Generator,
) -> tuple[Tucker, float, Samples]:
    """The least ranks that keep the tolerance at samples; their error at others, and samples with what failed."""
    for cut in CUTS:
        found = coefficients.round(min(cut * tolerance, 0.5))
        if errors_at(found, box, samples).max() <= _MARGIN * tolerance * samples.largest:
            break
    fresh = take_samples(values, box, generator)
    scale = max(samples.largest, fresh.largest)
    every = [errors_at(found, box, part) for part in (samples, fresh)]
    error = float(torch.cat(every).max())
    failed = [
        part.points[wrong.topk(_NEAR).indices] for part, wrong in zip((samples, fresh), every, strict=True)
    ]
    joint = Samples(
        torch.cat([samples.points, fresh.points]),
        torch.cat([samples.values, fresh.values]),
        torch.cat([samples.anchors, *failed]),
    )
    return found, error / scale if scale else error, joint


def errors_at(coefficients: Tucker, box: Bounds, samples: Samples) -> Tensor:
    """Of values at the samples, `[n]`."""
    return (ChebyshevTucker(coefficients, box)(samples.points) - samples.values).abs()
