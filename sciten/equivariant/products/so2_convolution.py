"""From a convolution over paths (l_in, l_edge, l_out) to weights of an SO(2) product.

Along the polar axis the harmonics of the edge are sqrt(2 l_edge + 1) for order zero and nothing else. What is left of
the coupling joins the orders +m and -m only (Passaro and Zitnick 2023, section 3): the same numbers for both where
l_in + l_edge + l_out is even, opposite ones across where it is odd.
"""

from collections import Counter
from collections.abc import Mapping
from math import sqrt

from torch import Tensor

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.errors import ConfigError


def convolution_to_so2(
    weights: Mapping[tuple[int, int, int], Tensor],
    lmax_in: int,
    lmax_out: int,
    *,
    parity: bool,
    normalize: bool,
) -> list[Tensor]:
    """For each order the matrices that act in the frame of the edge, without any further factor.

    Args:
        weights: `[channels_in, channels_out]` for each path (l_in, l_edge, l_out).
        lmax_in: highest degree of the features.
        lmax_out: highest degree of the messages.
        parity: whether all paths must conserve natural parity; there are no imaginary parts then.
        normalize: whether a path carries 1 / sqrt(channels_in * number of paths into its l_out).

    Returns:
        For m = 0..min(lmax_in, lmax_out) `[(lmax_in - m + 1) * channels_in, (lmax_out - m + 1) * channels_out]`, with
        `[2, ...]` (real, imaginary) before for m > 0 without `parity`.

    Raises:
        ConfigError: a path is impossible or does not conserve parity, or shapes or dtypes differ.
    """
    _check(weights, lmax_in, lmax_out, parity)
    like = next(iter(weights.values()))
    channels_in, channels_out = like.shape
    into = Counter(l_out for _, _, l_out in weights)
    blocks = []
    for m in range(min(lmax_in, lmax_out) + 1):
        shape = 2, lmax_in - m + 1, channels_in, lmax_out - m + 1, channels_out
        block = like.new_zeros(shape)
        for path, weight in weights.items():
            l_in, _, l_out = path
            if m > min(l_in, l_out):
                continue
            scale = 1 / sqrt(channels_in * into[l_out]) if normalize else 1.0
            for part, value in enumerate(_along_the_edge(path, m)):
                block[part, l_in - m, :, l_out - m] += scale * value * weight.detach()
        parts = block.view(2, shape[1] * channels_in, shape[3] * channels_out)
        blocks.append(parts[0] if m == 0 or parity else parts)
    return blocks


def _along_the_edge(path: tuple[int, int, int], m: int) -> tuple[float, float]:
    """What joins +m to +m (real part) and +m to -m (imaginary part)."""
    l_in, l_edge, l_out = path
    coupling = sqrt((2 * l_out + 1) * (2 * l_edge + 1)) * wigner_3j(*path)[l_in + m, l_edge]
    return float(coupling[l_out + m]), float(coupling[l_out - m]) if m else 0.0


def _check(weights: Mapping[tuple[int, int, int], Tensor], lmax_in: int, lmax_out: int, parity: bool) -> None:
    if not weights:
        raise ConfigError("SO2Product: expected the weights of at least one path, got none")
    like = next(iter(weights.values()))
    for path, weight in weights.items():
        l_in, l_edge, l_out = path
        if not (abs(l_in - l_out) <= l_edge <= l_in + l_out and l_in <= lmax_in and l_out <= lmax_out):
            raise ConfigError(
                f"SO2Product: expected paths (l_in, l_edge, l_out) that obey the triangle inequality, l_in <= "
                f"{lmax_in} and l_out <= {lmax_out}, got {path}"
            )
        if parity and sum(path) % 2:
            raise ConfigError(
                f"SO2Product: expected paths with an even sum of degrees, which conserve natural parity, got {path}; "
                "leave it out or say parity=False"
            )
        if weight.ndim != 2 or weight.shape != like.shape or weight.dtype != like.dtype:
            raise ConfigError(
                "SO2Product: expected weights of one shape [channels_in, channels_out] and one dtype for all paths, "
                f"got {list(like.shape)}, {like.dtype} and for {path} {list(weight.shape)}, {weight.dtype}"
            )
