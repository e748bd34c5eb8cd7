"""TensorNet: message passing with 3x3 matrices for interatomic potentials."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sciten.datasets.batch import AtomsBatch
from sciten.equivariant.harmonics import spherical_harmonics
from sciten.errors import ConfigError, DataError
from sciten.potentials.base import Potential
from sciten.potentials.periodic_table import sorted_elements
from sciten.potentials.radial import cosine_cutoff, exponential_normal, exponential_normal_parameters
from sciten.potentials.tables import RadialTables
from sciten.potentials.tensornet.algebra import Group
from sciten.potentials.tensornet.edges import Edges, Radial
from sciten.potentials.tensornet.layers import Embedding, Interaction, Readout
from sciten.tensor.multilinear import Executor, Index
from sciten.tensor.multilinear.interpolation import Table


class TensorNet(Potential):
    """The TensorNet potential, equal to torchmd-net's on the same weights.

    Simeon and De Fabritiis, TensorNet: Cartesian Tensor Representations for Efficient Learning of Molecular Potentials
    (NeurIPS 2023); charge and spin by Simeon et al., arXiv:2403.15073. As in torchmd-net, an atom is also a neighbour
    of itself. The cutoff function has a continuous slope: forces are continuous, their derivatives are not.

    Args:
        elements: atomic numbers or symbols that the model is to know.
        isolated_atom_energies: eV, one for each element in the order given; zero by default.
        cutoff: Å.
        channels: matrices per atom.
        layers: message-passing steps; none leaves the embedding alone.
        radial_functions: size of the radial basis.
        group: what energies are invariant under: "O(3)" or, to tell a molecule from its mirror image, "SO(3)".
        charge_coupling, spin_coupling: products are scaled by one plus `charge_coupling` times the total charge (e) and
            `spin_coupling` times the unpaired electrons of the frame, both zero where not known.
        scale, shift: eV; energy per atom = isolated atom + scale * network + shift.
        seed: of the initial weights.
        dtype: of the weights; energies are added up in float64 whatever it is.

    Raises:
        ConfigError: an argument is out of range; the message names it.
    """

    scale: Tensor
    shift: Tensor
    radial_centres: Tensor
    radial_inverse_widths: Tensor

    def __init__(
        self,
        elements: Sequence[int | str],
        *,
        isolated_atom_energies: Sequence[float] | None = None,
        cutoff: float = 4.5,
        channels: int = 128,
        layers: int = 2,
        radial_functions: int = 32,
        group: Group = "O(3)",
        charge_coupling: float = 0.1,
        spin_coupling: float = 0.0,
        scale: float = 1.0,
        shift: float = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self._arguments: dict[str, Any] = {
            "cutoff": float(cutoff),
            "channels": int(channels),
            "layers": int(layers),
            "radial_functions": int(radial_functions),
            "group": group,
            "charge_coupling": float(charge_coupling),
            "spin_coupling": float(spin_coupling),
            "seed": int(seed),
        }
        _check(self._arguments)
        self.elements, energies = sorted_elements("TensorNet", elements, isolated_atom_energies)
        self.cutoff = float(cutoff)
        self.channels = channels
        self.chiral = group == "SO(3)"
        self.executor: Executor | None = None  #: who computes the products; None for the fastest
        self._tables = RadialTables()
        self.keep_float64("isolated_atom_energies", torch.tensor(energies, dtype=torch.float64))
        self.keep_float64("scale", torch.tensor(float(scale), dtype=torch.float64))
        self.keep_float64("shift", torch.tensor(float(shift), dtype=torch.float64))
        centres, inverse_widths = exponential_normal_parameters(radial_functions, cutoff)
        self.keep_float64("radial_centres", centres)
        self.keep_float64("radial_inverse_widths", inverse_widths)
        options: dict[str, Any] = {"generator": torch.Generator().manual_seed(seed), "dtype": dtype}
        self.embedding = Embedding(len(self.elements), channels, radial_functions, **options)
        self.interactions = nn.ModuleList(
            Interaction(channels, radial_functions, group, **options) for _ in range(layers)
        )
        self.readout = Readout(channels, **options)

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {
            "elements": list(self.elements),
            "isolated_atom_energies": self.isolated_atom_energies.tolist(),
            **self._arguments,
            "scale": float(self.scale),
            "shift": float(self.shift),
        }

    def restricted_entry(self, name: str, value: Tensor, positions: Tensor) -> Tensor:
        """An entry of the state as a model of the elements at `positions` has it."""
        return value[positions] if name in ("isolated_atom_energies", "embedding.elements") else value

    def interaction_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        """Energies per atom beyond the isolated atom's, `[n_atoms]`, eV, float64."""
        return self._energies(batch, vectors, None)

    def inference_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        """As `interaction_energies`, with tables for the radial networks where that is as accurate as the dtype.

        In float64 the networks themselves are used.
        """
        if self.dtype == torch.float64:
            return self.interaction_energies(batch, vectors)
        networks = [self.embedding.radial, *(layer.radial for layer in self._layers())]
        return self._energies(batch, vectors, self._tables.of(networks, self._tabulated, self.cutoff))

    def _tabulated(self, network: nn.Module, distances: Tensor) -> Tensor:
        return network(self._radial(distances))  # type: ignore[no-any-return]

    def _layers(self) -> list[Interaction]:
        return cast("list[Interaction]", list(self.interactions))

    def _energies(self, batch: AtomsBatch, vectors: Tensor, tables: Sequence[Table | None] | None) -> Tensor:
        elements, species = torch.unique(self.species(batch), return_inverse=True)
        edges = self.edges(batch, vectors.to(self.dtype), species, len(elements), with_basis=tables is None)
        state = self._state(batch)
        first, *later = tables if tables is not None else [None] * (1 + len(self.interactions))
        matrices = self.embedding(elements, species, edges, table=first, executor=self.executor)
        for layer, table in zip(self._layers(), later, strict=True):
            matrices = layer(matrices, edges, state, table=table, executor=self.executor)
        energies = self.readout(matrices, self.executor)
        return self.scale * energies.double() + self.shift

    def edges(
        self, batch: AtomsBatch, vectors: Tensor, species: Tensor, n_elements: int, *, with_basis: bool = True
    ) -> Edges:
        """What the layers need to know of the edges; `species` are positions among `n_elements` elements."""
        distances = torch.linalg.vector_norm(vectors, dim=1)
        harmonics = spherical_harmonics(2, vectors / distances[:, None], executor=self.executor)
        kinds = species[batch.receivers] * n_elements + species[batch.senders]
        indices = {
            "senders": batch.sender_index,
            "receivers": batch.receiver_index,
            "elements": Index(kinds, n_elements**2),
        }
        here = distances[:0]
        if with_basis:
            here = distances[batch.pairs.edges]
            indices["pairs"] = batch.pairs.index
        # A neighbour list may be wider than the cutoff: tables end there, where every weight is zero.
        inside = distances.clamp(max=self.cutoff)
        return Edges(inside, harmonics, self._radial(here), self._radial(distances.new_zeros(1)), indices)

    def _radial(self, distances: Tensor) -> Radial:
        centres = self.radial_centres.to(distances.dtype)
        inverse_widths = self.radial_inverse_widths.to(distances.dtype)
        basis = exponential_normal(distances, centres, inverse_widths, self.cutoff)
        return Radial(basis, cosine_cutoff(distances, self.cutoff)[:, None, None])

    def _state(self, batch: AtomsBatch) -> Tensor | None:
        """What charge and spin add to one in the products of each atom, `[n_atoms, 1]`; None for nothing."""
        total = None
        if batch.charge is not None and self._arguments["charge_coupling"]:
            total = self._arguments["charge_coupling"] * batch.charge.nan_to_num(0.0)
        if batch.spin is not None and self._arguments["spin_coupling"]:
            unpaired = batch.spin.nan_to_num(1.0) - 1
            if bool((unpaired < 0).any()):
                raise DataError(
                    f"TensorNet: expected spin multiplicities of at least 1, got {float(batch.spin.min()):g}; "
                    "give 2S + 1 as spin, 1 for a closed shell"
                )
            total = (0.0 if total is None else total) + self._arguments["spin_coupling"] * unpaired
        if total is None or not bool(total.any()):
            return None
        return total[batch.frame, None].to(self.dtype)


def _check(arguments: dict[str, Any]) -> None:
    for name, least in (("channels", 2), ("layers", 0), ("radial_functions", 1)):
        if arguments[name] < least:
            raise ConfigError(f"TensorNet: expected {name} of at least {least}, got {arguments[name]}")
    if not arguments["cutoff"] > 0:
        raise ConfigError(f"TensorNet: expected cutoff above zero, got {arguments['cutoff']}")
    if arguments["group"] not in ("O(3)", "SO(3)"):
        raise ConfigError(f"TensorNet: expected group to be 'O(3)' or 'SO(3)', got {arguments['group']!r}")
