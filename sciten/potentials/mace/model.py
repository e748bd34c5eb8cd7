"""MACE: higher-order equivariant message passing for interatomic potentials."""

import re
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, cast

import torch
from torch import Tensor, nn

from sciten.datasets.batch import AtomsBatch
from sciten.equivariant.harmonics import spherical_harmonics
from sciten.equivariant.products.base import SignalProduct
from sciten.equivariant.products.gaunt import GauntProduct
from sciten.equivariant.wigner import LMAX
from sciten.errors import ConfigError
from sciten.potentials.base import Potential
from sciten.potentials.mace.choices import ProductChoice, chosen, described
from sciten.potentials.mace.gaunt import GauntManyBodyProduct
from sciten.potentials.mace.interaction import Edges, Interaction
from sciten.potentials.mace.product import ManyBodyProduct
from sciten.potentials.periodic_table import sorted_elements
from sciten.potentials.radial import (
    SILU_NORMALISATION,
    RadialNetwork,
    agnesi,
    bessel,
    bessel_frequencies,
    polynomial_cutoff,
)
from sciten.potentials.tables import RadialTables
from sciten.potentials.zbl import zbl_pair_energies
from sciten.tensor.multilinear import Executor, Index
from sciten.tensor.multilinear.interpolation import Table


class LinearReadout(nn.Module):
    """Energies per atom as a linear function of the invariant features."""

    def __init__(self, channels: int, *, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.randn(channels, 1, generator=generator, dtype=torch.float64).to(dtype)
        )

    def forward(self, features: Tensor) -> Tensor:
        """`[n_atoms, components, channels]` to `[n_atoms]`."""
        return (features[:, 0] @ self.weight)[:, 0] / sqrt(self.weight.shape[0])


class PerceptronReadout(nn.Module):
    """Energies per atom by one hidden layer on the invariant features."""

    def __init__(self, channels: int, width: int, *, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        first = torch.randn(channels, width, generator=generator, dtype=torch.float64)
        second = torch.randn(width, 1, generator=generator, dtype=torch.float64)
        self.weight_1 = nn.Parameter(first.to(dtype))
        self.weight_2 = nn.Parameter(second.to(dtype))

    def forward(self, features: Tensor) -> Tensor:
        """`[n_atoms, components, channels]` to `[n_atoms]`."""
        hidden = features[:, 0] @ self.weight_1 / sqrt(self.weight_1.shape[0])
        hidden = SILU_NORMALISATION * nn.functional.silu(hidden)
        return (hidden @ self.weight_2)[:, 0] / sqrt(self.weight_2.shape[0])


class MACE(Potential):
    """The MACE potential, equal to mace-torch's `ScaleShiftMACE` on the same weights.

    Batatia et al., MACE: Higher Order Equivariant Message Passing Neural Networks for Fast and Accurate Force Fields
    (NeurIPS 2022); scale, shift and density blocks as in mace-torch 0.3.

    Args:
        elements: atomic numbers or symbols that the model is to know.
        isolated_atom_energies: eV, one for each element in the order given; zero by default.
        cutoff: Å.
        lmax: highest degree of the spherical harmonics and messages.
        channels: features per degree.
        hidden_lmax: highest degree of the node features between layers (MACE's "L").
        correlation: factors in the many-body product (body order minus one).
        reduced_basis: whether the product's couplings are a linearly independent set (mace-torch's choice where
            cuequivariance is installed) instead of all of them; the same functions with fewer weights.
        layers: message-passing steps.
        bessel_functions: size of the radial basis.
        cutoff_power: exponent of the polynomial cutoff.
        radial_mlp: hidden widths of the radial network.
        readout_width: hidden width of the last readout.
        average_neighbors: what messages are divided by.
        scale, shift: eV; energy per atom = isolated atom + scale * network + shift.
        residual: for each layer (or all) whether its input is added to its output.
        density: for each layer (or all) whether messages are divided by a learned density.
        product: how an atom's message is raised to powers: `ClebschGordanProduct()` (MACE's symmetric contraction, the
            default) or `GauntProduct(method=...)`.
        edge_product: how features and edge harmonics are multiplied: `ClebschGordanProduct()` (the default) or
            `GauntProduct()`, which is always on a grid here.
        zbl: whether the Ziegler-Biersack-Littmark repulsion is added (inside the scale, as mace-torch does).
        agnesi: whether distances are transformed before the radial basis.
        seed: of the initial weights.
        dtype: of the weights; energies are added up in float64 whatever it is.

    Raises:
        ConfigError: an argument is out of range; the message names it.
    """

    bessel_frequencies: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        elements: Sequence[int | str],
        *,
        isolated_atom_energies: Sequence[float] | None = None,
        cutoff: float = 5.0,
        lmax: int = 3,
        channels: int = 64,
        hidden_lmax: int = 1,
        correlation: int = 3,
        reduced_basis: bool = False,
        layers: int = 2,
        bessel_functions: int = 8,
        cutoff_power: int = 5,
        radial_mlp: Sequence[int] = (64, 64, 64),
        readout_width: int = 16,
        average_neighbors: float = 1.0,
        scale: float = 1.0,
        shift: float = 0.0,
        residual: bool | Sequence[bool] = True,
        density: bool | Sequence[bool] = False,
        product: ProductChoice = None,
        edge_product: ProductChoice = None,
        zbl: bool = False,
        agnesi: bool = False,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.elements, energies = sorted_elements("MACE", elements, isolated_atom_energies)
        self.residual = _per_layer("residual", residual, layers)
        self.density = _per_layer("density", density, layers)
        kinds = chosen("product", product), chosen("edge_product", edge_product)
        self._arguments: dict[str, Any] = {
            "elements": list(self.elements),
            "isolated_atom_energies": None,  # weights of the model: filled in when asked for
            "cutoff": float(cutoff),
            "lmax": lmax,
            "channels": channels,
            "hidden_lmax": hidden_lmax,
            "correlation": correlation,
            "reduced_basis": reduced_basis,
            "layers": layers,
            "bessel_functions": bessel_functions,
            "cutoff_power": cutoff_power,
            "radial_mlp": list(radial_mlp),
            "readout_width": readout_width,
            "average_neighbors": float(average_neighbors),
            "scale": float(scale),
            "shift": float(shift),
            "residual": list(self.residual),
            "density": list(self.density),
            "product": described(kinds[0]),
            "edge_product": described(kinds[1]),
            "zbl": zbl,
            "agnesi": agnesi,
            "seed": seed,
        }
        _check(self._arguments)
        self.cutoff = float(cutoff)
        self.lmax = lmax
        self.channels = channels
        self.cutoff_power = cutoff_power
        self.zbl = zbl
        self.agnesi = agnesi
        self.executor: Executor | None = None  #: None: the fastest one for the device
        self._tables = RadialTables()

        self.keep_float64("isolated_atom_energies", torch.tensor(energies, dtype=torch.float64))
        self.keep_float64("scale", torch.tensor(float(scale), dtype=torch.float64))
        self.keep_float64("shift", torch.tensor(float(shift), dtype=torch.float64))
        self.keep_float64("bessel_frequencies", bessel_frequencies(bessel_functions, cutoff))

        generator = torch.Generator().manual_seed(seed)
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.embedding = nn.ParameterDict(
            {
                "weight": torch.randn(len(elements), channels, generator=generator, dtype=torch.float64).to(
                    dtype
                )
            }
        )
        self.interactions = nn.ModuleList()
        self.products = nn.ModuleList()
        self.readouts = nn.ModuleList()
        for t in range(layers):
            self._add_layer(t, *kinds, options)

    def _add_layer(
        self, t: int, product: SignalProduct, edge_product: SignalProduct, options: Mapping[str, Any]
    ) -> None:
        settings, last = self._arguments, t == len(self.residual) - 1
        n_elements, hidden_lmax = len(self.elements), settings["hidden_lmax"]
        degree_out = 0 if last else hidden_lmax
        self.interactions.append(
            Interaction(
                0 if t == 0 else hidden_lmax,
                degree_out,
                lmax=self.lmax,
                channels=self.channels,
                n_elements=n_elements,
                bessel_functions=settings["bessel_functions"],
                radial_mlp=settings["radial_mlp"],
                average_neighbors=settings["average_neighbors"],
                residual=self.residual[t],
                density=self.density[t],
                product=edge_product,
                **options,
            )
        )
        self.products.append(self._many_body_product(product, degree_out, options))
        self.readouts.append(
            PerceptronReadout(self.channels, settings["readout_width"], **options)
            if last
            else LinearReadout(self.channels, **options)
        )

    def _many_body_product(
        self, product: SignalProduct, degree_out: int, options: Mapping[str, Any]
    ) -> nn.Module:
        shared: dict[str, Any] = {"channels": self.channels, "n_elements": len(self.elements), **options}
        correlation = self._arguments["correlation"]
        if isinstance(product, GauntProduct):
            return GauntManyBodyProduct(self.lmax, degree_out, correlation, method=product.method, **shared)
        reduced = self._arguments["reduced_basis"]
        return ManyBodyProduct(self.lmax, degree_out, correlation, reduced=reduced, **shared)

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {
            **self._arguments,
            "isolated_atom_energies": self.isolated_atom_energies.tolist(),
            "scale": float(self.scale),
            "shift": float(self.shift),
        }

    def signs_from_e3nn_04(self) -> dict[str, Tensor]:
        """By parameter name, the signs that turn weights made with e3nn 0.4's couplings into ours."""
        return {
            f"products.{t}.{name}": signs
            for t, product in enumerate(cast("list[ManyBodyProduct | GauntManyBodyProduct]", self.products))
            for name, signs in product.signs_from_e3nn_04().items()
        }

    def restricted_entry(self, name: str, value: Tensor, positions: Tensor) -> Tensor:
        """An entry of the state as a model of the elements at `positions` has it."""
        if name == "isolated_atom_energies" or re.fullmatch(r"products\.\d+\.weight_\w+", name):
            return value[positions]
        # One-hot elements enter with the factor 1/sqrt(n_elements), which changes with their number.
        factor = sqrt(len(positions) / len(self.elements))
        if name == "embedding.weight":
            return value[positions] * factor
        if ".skip." in name:
            return value[:, positions] * factor
        return value

    def interaction_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        """Energies per atom beyond the isolated atom's, `[n_atoms]`, eV, float64."""
        return self._energies(batch, vectors, [None] * len(self.interactions))

    def inference_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        """As `interaction_energies`, with tables for the radial networks where that is as accurate as the dtype.

        In float64, and after a distance transform (which depends on the elements), the networks themselves are used.
        """
        if self.dtype == torch.float64 or self.agnesi:
            return self.interaction_energies(batch, vectors)
        networks = [interaction.radial for interaction in cast("list[Interaction]", self.interactions)]
        return self._energies(batch, vectors, self._tables.of(networks, self._path_weights, self.cutoff))

    def _path_weights(self, network: RadialNetwork, distances: Tensor) -> Tensor:
        return network(self.radial_basis(distances)).view(len(distances), -1, self.channels)  # type: ignore[no-any-return]

    def _energies(self, batch: AtomsBatch, vectors: Tensor, tables: Sequence[Table | None]) -> Tensor:
        elements, local = torch.unique(self.species(batch), return_inverse=True)
        groups = [(int(element), (local == i).nonzero()[:, 0]) for i, element in enumerate(elements)]
        species = Index(local, len(elements))
        edges = self.edges(batch, vectors.to(self.dtype), with_basis=None in tables or any(self.density))
        energies = self._repulsion(batch, edges.distances)
        features = (self.embedding["weight"] / sqrt(len(self.elements)))[elements][local][:, None, :]
        layers = zip(self.interactions, self.products, self.readouts, tables, strict=True)
        for interaction, product, readout, table in layers:
            message, skip = interaction(features, edges, groups, table=table, executor=self.executor)
            coefficients = cast("ManyBodyProduct | GauntManyBodyProduct", product).coefficients(elements)
            features = product(message, coefficients, species, self.executor)
            if skip is not None:
                features = _add_leading(features, skip)
            energies = energies + readout(features)
        return self.scale * energies.double() + self.shift

    def edges(self, batch: AtomsBatch, vectors: Tensor, *, with_basis: bool = True) -> Edges:
        """What interactions need to know of the edges."""
        distances = torch.linalg.vector_norm(vectors, dim=1)
        harmonics = spherical_harmonics(self.lmax, vectors / distances[:, None], executor=self.executor)
        basis = distances.new_zeros(len(distances), 0)
        if with_basis:
            bonds = 0.5 * self._bond_lengths(batch, distances) if self.agnesi else None
            basis = self.radial_basis(distances, bonds)
        indices = {"senders": batch.sender_index, "receivers": batch.receiver_index}
        return Edges(distances, harmonics, basis, indices)

    def radial_basis(self, distances: Tensor, bond_lengths: Tensor | None = None) -> Tensor:
        """Bessel functions under the cutoff, `[n_edges, bessel_functions]`; `bond_lengths` for the Agnesi transform."""
        envelope = polynomial_cutoff(distances, self.cutoff, self.cutoff_power)
        transformed = distances if bond_lengths is None else agnesi(distances, bond_lengths)
        return (
            bessel(transformed, self.bessel_frequencies.to(distances.dtype), self.cutoff) * envelope[:, None]
        )

    def _repulsion(self, batch: AtomsBatch, distances: Tensor) -> Tensor:
        zero = distances.new_zeros(batch.n_atoms)
        if not self.zbl:
            return zero
        za, zb = batch.numbers[batch.senders], batch.numbers[batch.receivers]
        pairs = zbl_pair_energies(distances, za, zb, self._bond_lengths(batch, distances), self.cutoff_power)
        return zero.index_add(0, batch.receivers, pairs)

    def _bond_lengths(self, batch: AtomsBatch, like: Tensor) -> Tensor:
        from ase.data import covalent_radii

        radii = torch.tensor(covalent_radii, dtype=like.dtype, device=like.device)[batch.numbers]
        return radii[batch.senders] + radii[batch.receivers]


def _add_leading(features: Tensor, skip: Tensor) -> Tensor:
    """`features` with `skip`, which may hold fewer degrees, added to its leading components."""
    if skip.shape == features.shape:
        return features + skip
    return torch.cat([features[:, : skip.shape[1]] + skip, features[:, skip.shape[1] :]], dim=1)


def _per_layer(name: str, value: bool | Sequence[bool], layers: int) -> tuple[bool, ...]:
    flags = (value,) * layers if isinstance(value, bool) else tuple(bool(v) for v in value)
    if len(flags) != layers:
        raise ConfigError(
            f"MACE: expected {name} to be one flag or one for each of {layers} layers, got {len(flags)}"
        )
    return flags


def _check(arguments: dict[str, Any]) -> None:
    for name in ("channels", "correlation", "layers", "bessel_functions", "cutoff_power", "readout_width"):
        if arguments[name] < 1:
            raise ConfigError(f"MACE: expected {name} of at least 1, got {arguments[name]}")
    for name in ("cutoff", "average_neighbors"):
        if not arguments[name] > 0:
            raise ConfigError(f"MACE: expected {name} above zero, got {arguments[name]}")
    if not 0 <= arguments["hidden_lmax"] <= arguments["lmax"]:
        raise ConfigError(
            "MACE: expected 0 <= hidden_lmax <= lmax, "
            f"got hidden_lmax={arguments['hidden_lmax']}, lmax={arguments['lmax']}"
        )
    if arguments["lmax"] > LMAX:
        raise ConfigError(f"MACE: expected lmax up to {LMAX}, got {arguments['lmax']}")
    if arguments["correlation"] > 4:
        raise ConfigError(f"MACE: expected correlation up to 4, got {arguments['correlation']}")
    if arguments["reduced_basis"] and arguments["product"]["kind"] != "ClebschGordanProduct":
        raise ConfigError(
            "MACE: expected reduced_basis only with ClebschGordanProduct(), got it with "
            f"{arguments['product']['kind']}; leave it out"
        )
