"""The SO(2) product of eSCN (Passaro and Zitnick, ICML 2023): the channel-mixing convolution with the harmonics of an
edge, of all degrees, done in the frame of the edge, where it is sparse."""

from collections.abc import Mapping, Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from sciten.equivariant.edge_frames import EdgeFrames
from sciten.equivariant.products.so2_bilinear import SO2Bilinear
from sciten.equivariant.products.so2_convolution import convolution_to_so2
from sciten.equivariant.products.so2_frames import (
    block_size,
    into_frames,
    into_frames_map,
    out_of_frames,
    out_of_frames_map,
    radial_size,
)
from sciten.equivariant.wigner import LMAX, recursion_map
from sciten.errors import ConfigError
from sciten.tensor.multilinear import Executor

#: Size of the features of the edges that are worked on at a time.
_PART_BYTES = 2**23


class SO2Product(nn.Module):
    """Messages along edges: features are rotated into the frame of their edge, mixed within each order, rotated back.

    Without `parity` it commutes with rotations (SO(3)): the orders +m and -m are mixed like the real and imaginary
    part of a complex number. With `parity` it commutes with O(3), where every degree l has its natural parity (-1)^l:
    mirror planes through the edge forbid the imaginary part, which leaves half of the weights and operations. Features
    that hold both parities of a degree are not offered. Degree by degree, inputs and outputs are those of e3nn:
    component normalisation, polar axis y.

    Args:
        lmax_in: highest degree of the features, at most `sciten.equivariant.wigner.LMAX`.
        lmax_out: highest degree of the messages, likewise.
        channels_in: features per component.
        channels_out: messages per component.
        mmax: highest order that is kept in the frame of an edge; by default all of them, min(lmax_in, lmax_out).
        parity: whether to conserve natural parity.
        rescale: whether to multiply degrees l > mmax of the messages by sqrt((2l + 1) / (2 mmax + 1)), so that
            leaving out orders does not take away variance (as fairchem's `CoefficientMapping` can do it).
        generator: source of the initial weights; by default torch's own, as for any `torch.nn` layer.
        dtype: of the weights, float32 or float64; by default torch's.
        executor: who rotates; by default the fastest one that is ready in seconds.

    Weights are `weight_{m}`, standard normal at first: `[(lmax_in - m + 1) * channels_in, (lmax_out - m + 1) *
    channels_out]` for m = 0 and with `parity`, else `[2, ...]`, real and imaginary part. They are applied with the
    factor 1 / sqrt(number of inputs), so that inputs of unit variance give outputs of unit variance where no order is
    left out.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        lmax_in: int,
        lmax_out: int,
        channels_in: int,
        channels_out: int,
        *,
        mmax: int | None = None,
        parity: bool = False,
        rescale: bool = False,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        executor: Executor | None = None,
    ) -> None:
        super().__init__()
        dtype = dtype or torch.get_default_dtype()
        top = max(lmax_in, lmax_out)
        _check_arguments(lmax_in, lmax_out, channels_in, channels_out, top if mmax is None else mmax, dtype)
        self.lmax_in, self.lmax_out = lmax_in, lmax_out
        self.channels_in, self.channels_out = channels_in, channels_out
        # An order that one side does not have couples with nothing.
        self.mmax = min(lmax_in, lmax_out, top if mmax is None else mmax)
        self.parity, self.rescale, self.executor = parity, rescale, executor
        for m in range(self.mmax + 1):
            shape = self._weight_shape(m)
            weight = torch.randn(shape, generator=generator, dtype=torch.float64)
            self.register_parameter(f"weight_{m}", nn.Parameter(weight.to(dtype)))

    @classmethod
    def from_convolution(
        cls,
        weights: Mapping[tuple[int, int, int], Tensor],
        lmax_in: int,
        lmax_out: int,
        *,
        mmax: int | None = None,
        parity: bool = False,
        rescale: bool = False,
        normalize: bool = True,
        executor: Executor | None = None,
    ) -> "SO2Product":
        """The product that equals a convolution over paths, if no order is left out.

        The convolution is e3nn's tensor product "uvw" of features with one set of spherical harmonics of the edge
        (component normalisation), `FullyConnectedTensorProduct` where all paths are there.

        Args:
            weights: `[channels_in, channels_out]` for each path (l_in, l_edge, l_out); paths not named are zero.
            lmax_in: highest degree of the features.
            lmax_out: highest degree of the messages.
            mmax: as for the class.
            parity: as for the class; the paths must conserve it.
            rescale: as for the class.
            normalize: whether a path carries 1 / sqrt(channels_in * number of paths into its l_out), e3nn's
                path normalisation "element".
            executor: as for the class.

        Raises:
            ConfigError: a path is impossible or does not conserve parity, or shapes or dtypes differ.
        """
        blocks = convolution_to_so2(weights, lmax_in, lmax_out, parity=parity, normalize=normalize)
        channels_in, channels_out = next(iter(weights.values())).shape
        product = cls(
            lmax_in,
            lmax_out,
            channels_in,
            channels_out,
            mmax=mmax,
            parity=parity,
            rescale=rescale,
            generator=torch.Generator(),  # what is drawn is overwritten; torch's own state is left alone
            dtype=blocks[0].dtype,
            executor=executor,
        ).to(blocks[0].device)
        with torch.no_grad():
            for m in range(product.mmax + 1):
                product._weight(m).copy_(blocks[m] / product._factor(m))
        return product

    @property
    def unit_variance(self) -> bool:
        """Whether messages have unit variance, each of its degrees over all its components: where no order is left out,
        or `rescale` makes up for it."""
        return self.rescale or self.mmax >= self.lmax_out

    def as_bilinear(self) -> SO2Bilinear:
        """This product as a map of features and harmonics of the edge, for `expressivity` and `interactability`."""
        return SO2Bilinear(self)

    @property
    def radial_numel(self) -> int:
        """Radial weights of an edge: for each order m and degree l >= m in turn, one per input channel."""
        return radial_size(self.lmax_in, self.mmax) * self.channels_in

    def operations(self) -> int:
        """Multiplications and additions for one edge with radial factors: rotations, and the mixing of degrees and
        channels; once for an edge also the Wigner matrices beyond degree one."""
        top = max(self.lmax_in, self.lmax_out)
        frames = sum(recursion_map(l, min(l, self.mmax)).operations() for l in range(2, top + 1))
        into = into_frames_map(self.lmax_in, self.mmax, True).operations(1, self.channels_in)
        out = out_of_frames_map(self.lmax_out, self.mmax, self.rescale).operations(1, self.channels_out)
        mixed = sum(
            2 * block_size(self.lmax_in, m) * self.channels_in * matrix.shape[1]
            for m, matrix in enumerate(self._matrices())
        )
        return frames + into + mixed + out

    def forward(self, features: Tensor, vectors: Tensor | EdgeFrames, radial: Tensor | None = None) -> Tensor:
        """Messages, `[n_edges, (lmax_out + 1)**2, channels_out]`.

        Deterministic (for a given number of threads), and smooth in the vectors wherever they point. Moving `radial`
        with the length of the edge is up to the caller; the product itself uses only the direction. Where no gradient
        is recorded, edges are worked on some at a time, which may change the last digit.

        Args:
            features: of the sending node of each edge, `[n_edges, (lmax_in + 1)**2, channels_in]`.
            vectors: of the edges, `[n_edges, 3]`, of any unit; or the `EdgeFrames` made from them, to be shared
                between products on the same edges.
            radial: `[n_edges, radial_numel]`, factors of the features in the frame of the edge, the same for +m and
                -m; by default one.

        Raises:
            ConfigError: a shape, dtype or device does not fit, or an edge is zero or not finite.
        """
        self._check(features, vectors, radial)
        frames = vectors
        if isinstance(frames, Tensor):
            top = max(self.lmax_in, self.lmax_out)
            frames = EdgeFrames.from_vectors(
                frames, top, self.mmax, executor=self.executor, owner="SO2Product"
            )
        factors = None if radial is None else radial.unflatten(1, (-1, self.channels_in))
        if self._recorded(features, factors, *frames.matrices) or features.device.type != "cpu":
            return self._messages(features, frames, factors, self._matrices())
        return self._in_parts(features, frames, factors)

    def _messages(
        self,
        features: Tensor,
        frames: EdgeFrames,
        factors: Tensor | None,
        matrices: Sequence[Tensor],
    ) -> Tensor:
        blocks = into_frames(features, frames, factors, self.lmax_in, self.mmax, self.executor)
        mixed = [
            self._mix(m, block, matrix)
            for m, (block, matrix) in enumerate(zip(blocks, matrices, strict=True))
        ]
        return out_of_frames(mixed, frames, self.lmax_out, self.rescale, self.executor)

    def _in_parts(self, features: Tensor, frames: EdgeFrames, factors: Tensor | None) -> Tensor:
        """Some edges at a time, where no gradient needs the blocks: they stay in the cache and in memory that the
        allocator has at hand (fresh pages cost more than the arithmetic of the rotations)."""
        messages = features.new_empty(len(features), (self.lmax_out + 1) ** 2, self.channels_out)
        row = max(features[:1].numel(), messages[:1].numel(), 1) * features.element_size()
        step = max(1, _PART_BYTES // row)
        matrices = self._matrices()
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            some = None if factors is None else factors[part]
            messages[part] = self._messages(features[part], frames.part(part), some, matrices)
        return messages

    def _recorded(self, *tensors: Tensor | None) -> bool:
        needed = any(t.requires_grad for t in (*tensors, *self.parameters()) if t is not None)
        return torch.is_grad_enabled() and needed

    def _matrices(self) -> list[Tensor]:
        return [self._matrix(m) for m in range(self.mmax + 1)]

    def _mix(self, m: int, block: Tensor, matrix: Tensor) -> Tensor:
        rows = block.numel() // len(matrix)
        mixed = block.view(rows, len(matrix)) @ matrix
        return mixed.view(block.shape[0], block_size(self.lmax_out, m), self.channels_out)

    def _matrix(self, m: int) -> Tensor:
        """A real matrix; with an imaginary part it takes the pair (+m, -m) to the pair."""
        weight = self._weight(m) * self._factor(m)
        if weight.ndim == 2:
            return weight
        real, imaginary = weight.unbind()
        return torch.cat([torch.cat([real, imaginary], 1), torch.cat([-imaginary, real], 1)])

    def _weight(self, m: int) -> Tensor:
        weight: Tensor = getattr(self, f"weight_{m}")
        return weight

    def _weight_shape(self, m: int) -> tuple[int, ...]:
        sizes = (self.lmax_in - m + 1) * self.channels_in, (self.lmax_out - m + 1) * self.channels_out
        return sizes if m == 0 or self.parity else (2, *sizes)

    def _factor(self, m: int) -> float:
        parts = 1 if m == 0 or self.parity else 2
        return 1 / sqrt(parts * (self.lmax_in - m + 1) * self.channels_in)

    def extra_repr(self) -> str:
        """For `print`."""
        return (
            f"lmax_in={self.lmax_in}, lmax_out={self.lmax_out}, channels_in={self.channels_in}, "
            f"channels_out={self.channels_out}, mmax={self.mmax}, parity={self.parity}, rescale={self.rescale}"
        )

    def _check(self, features: Tensor, vectors: Tensor | EdgeFrames, radial: Tensor | None) -> None:
        weight, why = self._weight(0), f"lmax_in={self.lmax_in}, mmax={self.mmax}"
        components = (self.lmax_in + 1) ** 2
        _check_tensor("features", features, [None, components, self.channels_in], weight, why)
        edges = features.shape[0]
        if not isinstance(vectors, EdgeFrames):
            _check_tensor("vectors", vectors, [edges, 3], weight, why)
        else:
            self._check_frames(vectors)
            _check_tensor("frames", vectors.matrices[0], [edges, 1, 1], weight, why)
        if radial is not None:
            _check_tensor("radial", radial, [edges, self.radial_numel], weight, why)

    def _check_frames(self, frames: EdgeFrames) -> None:
        top = max(self.lmax_in, self.lmax_out)
        if frames.lmax < top or frames.mmax < self.mmax:
            raise ConfigError(
                f"SO2Product: expected frames of degrees up to {top} and orders up to {self.mmax}, got "
                f"{frames.lmax} and {frames.mmax}"
            )


def _check_tensor(name: str, tensor: Tensor, expected: list[int | None], weight: Tensor, why: str) -> None:
    if not isinstance(tensor, Tensor):
        raise ConfigError(f"SO2Product: expected {name} to be a tensor, got a {type(tensor).__name__}")
    # Compared one by one: membership would ask a symbol of a recorded program whether it is None.
    fits = tensor.ndim == len(expected) and all(
        wanted is None or wanted == found for wanted, found in zip(expected, tensor.shape, strict=True)
    )
    if not fits:
        shape = ", ".join("n_edges" if size is None else str(size) for size in expected)
        raise ConfigError(
            f"SO2Product: expected {name} of shape [{shape}] for {why}, got {list(tensor.shape)}"
        )
    if (tensor.dtype, tensor.device) != (weight.dtype, weight.device):
        raise ConfigError(
            f"SO2Product: expected {name} in {weight.dtype} on {weight.device}, as the weights are, got "
            f"{tensor.dtype} on {tensor.device}"
        )


def _check_arguments(
    lmax_in: int, lmax_out: int, channels_in: int, channels_out: int, mmax: int, dtype: torch.dtype
) -> None:
    for name, value, least, most in (
        ("lmax_in", lmax_in, 0, LMAX),
        ("lmax_out", lmax_out, 0, LMAX),
        ("mmax", mmax, 0, max(lmax_in, lmax_out)),
        ("channels_in", channels_in, 1, None),
        ("channels_out", channels_out, 1, None),
    ):
        if not isinstance(value, int):
            raise ConfigError(f"SO2Product: expected {name} to be an integer, got {value!r}")
        if value < least or (most is not None and value > most):
            bounds = f"from {least} to {most}" if most is not None else f"of at least {least}"
            raise ConfigError(f"SO2Product: expected {name} {bounds}, got {value}")
    if dtype not in (torch.float32, torch.float64):
        raise ConfigError(f"SO2Product: expected weights in float32 or float64, got {dtype}")
