"""Fourier neural operators, with dense and with tensorised weights.

Li et al., Fourier neural operator for parametric partial differential equations, ICLR (2021); Kossaifi, Kovachki,
Azizzadenesheli and Anandkumar, Multi-grid tensorized Fourier neural operator for high-resolution PDEs, TMLR (2024).
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sciten.errors import ConfigError
from sciten.neural_operators.arguments import require_modes, require_whole
from sciten.neural_operators.base import NeuralOperator
from sciten.neural_operators.blocks import ChannelMLP, FourierBlock, SkipConnection
from sciten.neural_operators.factorizations import Dense, Factorization, TuckerFactors, factorization_from
from sciten.neural_operators.fourier import require_resolution
from sciten.neural_operators.patching import MultigridPatching
from sciten.neural_operators.pointwise import Skip
from sciten.neural_operators.spectral import SpectralConvolution


class FNO(NeuralOperator):
    """The Fourier neural operator: lifting, blocks of a convolution by low frequencies beside a skip, projection.

    It holds no number that belongs to a resolution: the same function on another grid gives the same function, up to
    what the grids do not resolve. Axes that are not periodic are continued by zeros over `padding` of their length
    before the blocks, which is cut off after them.

    Programs of `torch.export` take other batches, and without padding and patches other grids too, if the range of
    their `Dim`s begins with two points more than there are modes.

    Args:
        in_channels, out_channels: numbers at each point of inputs and outputs.
        modes: frequencies kept along each axis, negative ones counted; a grid, or a patch of it and of coarser grids,
            needs at least so many points.
        hidden_channels: within the blocks.
        n_layers: blocks.
        lifting_channels, projection_channels: hidden channels of the maps at each point before and after the blocks;
            twice `hidden_channels` without.
        skip: what goes past each convolution: "linear", "identity", "soft_gating" or "none".
        mlp_channels: hidden channels of the map at each point in the blocks; half of `hidden_channels` without, 0 for
            no such map.
        mlp_skip: what goes past the whole block.
        positional_grid: whether the coordinates, from 0 to 1, are further inputs; without them and with periodic axes
            the operator commutes with translations, of cut axes with those in `translations`.
        periodic: for each axis, or for all; see `NeuralOperator` for where points lie.
        padding: of the other axes, and of those that are cut into patches, relative to their length.
        factorization: format of the convolutions' weights, or its description; dense without.
        separable: whether convolutions treat each channel by itself.
        dropout: probability with which each rank of factorised weights is left out of a training step (Kolbeinsson et
            al., IEEE J. Sel. Top. Signal Process. 15, 630 (2021)).
        patching: how fields are cut into patches that the operator sees one by one, or its description; its `periodic`
            is that of the operator. For each of its levels there is another operator of the same kind and size.
        active_modes: those of the `modes` that take part, the lowest; all without. See `set_modes`.
        input_scale, output_scale: means and standard deviations, see `NeuralOperator`.
        seed: of the first values of the weights.
        dtype: of the weights.

    Raises:
        ConfigError: an argument is out of range.
    """

    default_factorization: ClassVar[Factorization] = Dense()
    coarse: "FNO | None"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        modes: Sequence[int] = (16, 16),
        hidden_channels: int = 32,
        n_layers: int = 4,
        lifting_channels: int | None = None,
        projection_channels: int | None = None,
        skip: Skip = "linear",
        mlp_channels: int | None = None,
        mlp_skip: Skip = "soft_gating",
        positional_grid: bool = True,
        periodic: bool | Sequence[bool] = True,
        padding: float = 0.0,
        factorization: Factorization | Mapping[str, Any] | None = None,
        separable: bool = False,
        dropout: float = 0.0,
        patching: MultigridPatching | Mapping[str, Any] | None = None,
        active_modes: Sequence[int] | None = None,
        input_scale: Sequence[tuple[float, float]] | None = None,
        output_scale: Sequence[tuple[float, float]] | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        name = type(self).__name__
        modes = require_modes(name, modes)
        flags = (periodic,) * len(modes) if isinstance(periodic, bool) else tuple(periodic)
        super().__init__(
            in_channels, out_channels, flags, input_scale, output_scale, positional_grid, patching, dtype
        )
        if len(flags) != len(modes):
            raise ConfigError(
                f"{name}: expected periodic for each of {len(modes)} axes, got {len(flags)} values"
            )
        require_whole(
            name,
            hidden_channels=hidden_channels,
            n_layers=n_layers,
            lifting_channels=lifting_channels,
            projection_channels=projection_channels,
        )
        require_whole(name, 0, mlp_channels=mlp_channels)
        if not 0 <= padding < inf:
            raise ConfigError(f"{name}: expected padding of at least 0, got {padding}")
        if padding and all(self.patch_periodic):
            raise ConfigError(
                f"{name}: expected no padding={padding:g} where all axes are periodic; leave it out, or say "
                "periodic=False for an axis with ends"
            )
        self.modes, self.hidden_channels, self.n_layers = modes, int(hidden_channels), int(n_layers)
        self.lifting_channels = int(2 * hidden_channels if lifting_channels is None else lifting_channels)
        self.projection_channels = int(
            2 * hidden_channels if projection_channels is None else projection_channels
        )
        self.mlp_channels = int(max(1, round(hidden_channels / 2)) if mlp_channels is None else mlp_channels)
        self.skip, self.mlp_skip, self.separable = skip, mlp_skip, separable
        self.padding, self.dropout = padding, dropout
        self.factorization = factorization_from(factorization or self.default_factorization)
        generator = torch.Generator().manual_seed(seed)

        def mlp(inputs: int, hidden: int, outputs: int) -> ChannelMLP:
            return ChannelMLP(inputs, hidden, outputs, generator=generator, dtype=dtype)

        self.lifting = mlp(self.patch_channels, self.lifting_channels, hidden_channels)
        self.blocks = nn.ModuleList([self._block(k, generator, dtype) for k in range(n_layers)])
        self.projection = mlp(hidden_channels, self.projection_channels, out_channels)
        if self.patching is not None and self.patching.levels:
            self.coarse = self._coarser(self.patching.coarser(), generator, dtype)
        if active_modes is not None:
            self.set_modes(active_modes)

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "modes": list(self.modes),
            "hidden_channels": self.hidden_channels,
            "n_layers": self.n_layers,
            "lifting_channels": self.lifting_channels,
            "projection_channels": self.projection_channels,
            "skip": self.skip,
            "mlp_channels": self.mlp_channels,
            "mlp_skip": self.mlp_skip,
            "positional_grid": self.positional_grid,
            "periodic": list(self.periodic),
            "padding": self.padding,
            "factorization": self.factorization.description(),
            "separable": self.separable,
            "dropout": self.dropout,
            "patching": None if self.patching is None else self.patching.description(),
            "active_modes": None if self.active_modes == self.modes else list(self.active_modes),
            **self.scales(),
        }

    def transform(self, fields: Tensor) -> Tensor:
        """Scaled fields to scaled fields, `[batch, channels, *grid]`."""
        found = fields.movedim(1, -1)
        grid = found.shape[1:-1]
        found = self._padded(self.lifting(found), grid)
        for block in self.blocks:
            found = block(found)
        for axis, (n, periodic) in enumerate(zip(grid, self.patch_periodic, strict=True), 1):
            if self.padding and not periodic:  # otherwise the backward pass would copy all of it
                found = found.narrow(axis, 0, n)
        return self.projection(found).movedim(-1, 1)  # type: ignore[no-any-return]

    @property
    def active_modes(self) -> tuple[int, ...]:
        """Those that take part."""
        return self.convolutions()[0].active_modes

    def set_modes(self, modes: Sequence[int]) -> None:
        """Let only the lowest `modes` take part in all convolutions, for training from coarse to fine."""
        for convolution in self.convolutions():
            convolution.set_modes(modes)

    def convolutions(self) -> list[SpectralConvolution]:
        """The convolution of each block, and those of the operators of coarser grids."""
        own: list[SpectralConvolution] = [block.convolution for block in self.blocks]  # type: ignore[misc]
        return own + (self.coarse.convolutions() if self.coarse is not None else [])

    def require_fields(self, fields: Tensor) -> None:
        """Raise `ConfigError` unless the model can take `fields`."""
        super().require_fields(fields)
        name, grid = type(self).__name__, tuple(fields.shape[2:])
        if self.patching is None:
            require_resolution(name, grid, self.active_modes)
            return
        for patching, own in self.patching.grids(grid):
            of = "" if own == grid else f" of the coarser grid {' × '.join(map(str, own))}"
            require_resolution(f"{name} on patches{of}", patching.patch_shape(own), self.active_modes)

    def with_factorization(self, factorization: Factorization | Mapping[str, Any]) -> "FNO":
        """The same operator with its weights in another format, as near as its ranks allow: dense to factors and back.

        An `FNO` where the format is `Dense`, else a `TFNO`; in training or evaluation as this one, all to be trained.
        """
        dense = isinstance(factorization_from(factorization), Dense)
        arguments = self.arguments() | {"factorization": factorization}
        if dense:
            arguments["dropout"] = 0.0  # which a dense weight cannot have
        kind = FNO if dense else TFNO
        found = kind(**arguments, dtype=self.dtype).to(self.device)
        theirs = {name: value for name, value in self.state_dict().items() if ".weight.factors." not in name}
        found.load_state_dict(theirs, strict=False)
        for ours, mine in zip(self.convolutions(), found.convolutions(), strict=True):
            mine.weight.copy_from(ours.weight.full())
        return found.train(self.training)

    def _coarser(self, patching: MultigridPatching, generator: torch.Generator, dtype: torch.dtype) -> "FNO":
        changes = {
            "patching": patching,
            "padding": 0.0 if all(patching.patch_periodic) else self.padding,
            "input_scale": None,
            "output_scale": None,
            "seed": int(torch.randint(2**62, (), generator=generator)),
        }
        return FNO(**(FNO.arguments(self) | changes), dtype=dtype)

    def _block(self, k: int, generator: torch.Generator, dtype: torch.dtype) -> FourierBlock:
        channels, activated = self.hidden_channels, k + 1 < self.n_layers
        convolution = SpectralConvolution(
            channels,
            channels,
            self.modes,
            factorization=self.factorization,
            separable=self.separable,
            dropout=self.dropout,
            generator=generator,
            dtype=dtype,
        )
        mlp, mlp_skip = None, None
        if self.mlp_channels:
            mlp = ChannelMLP(channels, self.mlp_channels, channels, generator=generator, dtype=dtype)
            mlp_skip = SkipConnection(self.mlp_skip, channels, generator=generator, dtype=dtype)
        skip = SkipConnection(self.skip, channels, generator=generator, dtype=dtype)
        return FourierBlock(convolution, skip, mlp, mlp_skip, activated=activated)

    def _padded(self, fields: Tensor, grid: Sequence[int]) -> Tensor:
        if not self.padding or all(self.patch_periodic):
            return fields
        widths = []
        for n, periodic in zip(grid, self.patch_periodic, strict=True):
            # The period in units of the spacing, for the padded domain to be as long on every grid, to half a point.
            widths += [(0, 0 if periodic else max(0, round((1 + self.padding) * (n - 1)) - n))]
        return nn.functional.pad(fields, [0, 0, *(w for pair in reversed(widths) for w in pair)])


class TFNO(FNO):
    """An `FNO` whose convolutions' weights are factors, by default of Tucker's format with a tenth of the numbers."""

    default_factorization: ClassVar[Factorization] = TuckerFactors(0.1)
