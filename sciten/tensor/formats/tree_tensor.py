"""Tree tensor networks: a core at every node of a tree whose leaves are the modes.

Hackbusch and Kühn, J. Fourier Anal. Appl. 15, 706 (2009); Grasedyck, SIAM J. Matrix Anal. Appl. 31, 2029 (2010). The
core of a leaf is `[n, r]`, of operators `[n, m, r]`; that of another node `[r_1, ..., r_m, r]`, ranks towards its
children and then towards its parent, which for the root is one. Axes before these are a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.formats import branches, indexing
from sciten.tensor.formats.base import Format, as_array, require_cores
from sciten.tensor.formats.tree import Tree


@dataclass(frozen=True, eq=False, repr=False)
class TreeTensor(Format):
    """An immutable tree tensor network.

    Args:
        tree: `Tree.balanced(d)`, `Tree.caterpillar(d)` or any other.
        cores: in the order of `tree.nodes`, children before parents.
        operator: whether this is a linear map, to be applied by `@`.

    Raises:
        ConfigError: cores do not fit the tree or each other; the message names the first that does not.
    """

    tree: Tree
    cores: tuple[Tensor, ...]
    operator: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cores", tuple(self.cores))
        _check(self.tree, self.cores, self.operator)

    @property
    def modes(self) -> tuple[tuple[int, ...], ...]:
        """Lengths of each mode: `(n,)`, or `(n, m)` of operators."""
        axes = 3 if self.operator else 2
        return tuple(tuple(self.cores[leaf].shape[-axes:-1]) for leaf in self.tree.leaves)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Between each node and its parent, in the order of `tree.nodes`; that of the root is one."""
        return tuple(core.shape[-1] for core in self.cores)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Axes of the batch, none for a single tensor."""
        return tuple(self.cores[-1].shape[: self._n_batch])

    @property
    def _n_batch(self) -> int:
        return self.cores[-1].ndim - len(self.tree.nodes[-1].children) - 1

    # Making them.

    @classmethod
    def rank_one(cls, tree: Tree, factors: Sequence[Tensor], *, operator: bool = False) -> "TreeTensor":
        """The outer product of vectors `[..., n]`, or with `operator` the Kronecker product of matrices `[..., n,
        m]`."""
        batch = factors[0].shape[: factors[0].ndim - (2 if operator else 1)]
        cores = [
            factors[0].new_ones(*batch, *[1] * (len(node.children) + 1))
            if node.mode is None
            else factors[node.mode].unsqueeze(-1)
            for node in tree.nodes
        ]
        return cls(tree, tuple(cores), operator)

    @classmethod
    def identity(
        cls,
        tree: Tree,
        shape: Sequence[int],
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> "TreeTensor":
        """The identity on tensors of a shape."""
        return cls.rank_one(tree, [torch.eye(n, dtype=dtype, device=device) for n in shape], operator=True)

    @classmethod
    def random(
        cls,
        tree: Tree,
        shape: Sequence[int],
        rank: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        batch_shape: Sequence[int] = (),
    ) -> "TreeTensor":
        """Normal cores, so that every entry has zero mean and unit variance; `rank` at every bond."""
        cores = []
        for node in tree.nodes:
            above = 1 if node.parent is None else rank
            own = [shape[node.mode]] if node.mode is not None else [rank] * len(node.children)
            core = torch.randn(
                (*batch_shape, *own, above), generator=generator, dtype=dtype, device=generator.device
            )
            cores.append(core if node.mode is not None else core / sqrt(prod(own)))
        return cls(tree, tuple(cores))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "TreeTensor":
        """The tensor that `to_arrays` took apart; raises `ConfigError` where an array is missing."""
        try:
            tree, operator = _read(arrays["tree"]), bool(arrays["operator"])
            cores = [torch.from_numpy(np.array(arrays[f"core_{k}"])) for k in range(len(tree.nodes))]
        except KeyError as error:
            raise ConfigError(f"TreeTensor: expected arrays as of to_arrays, {error} is missing") from error
        return cls(tree, tuple(cores), operator)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its parts as plain arrays: `tree` (for each node its parent, -1 for the root, and its mode, -1 for none),
        `operator`, and `core_0`, `core_1`, ..."""
        rows = [[-1 if end is None else end for end in (node.parent, node.mode)] for node in self.tree.nodes]
        cores = {f"core_{k}": as_array(core) for k, core in enumerate(self.cores)}
        return {"tree": np.array(rows), "operator": np.array(self.operator), **cores}

    def to(
        self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> "TreeTensor":
        """The same tensor in another dtype or on another device."""
        return self._with(core.to(device=device, dtype=dtype) for core in self.cores)

    # Algebra.

    def __add__(self, other: "TreeTensor") -> "TreeTensor":
        self._require_alike("+", other)
        return self._like(branches.add(self.tree, self._merged(), other._merged(), self._n_batch))

    def __mul__(self, other: "TreeTensor | complex | Tensor") -> "TreeTensor":
        if isinstance(other, TreeTensor):
            self._require_alike("*", other)
            return self._like(branches.multiply(self.tree, self._merged(), other._merged(), self._n_batch))
        root = self.cores[-1] * self._factor(other, self.cores[-1].ndim - self._n_batch)
        return self._with([*(core.to(root.dtype) for core in self.cores[:-1]), root])

    def __matmul__(self, other: "TreeTensor") -> "TreeTensor":
        """An operator applied to a vector, or to an operator, on the same tree."""
        if not self.operator or not isinstance(other, TreeTensor) or self.tree != other.tree:
            raise ConfigError(
                f"TreeTensor: @ expects an operator and a tensor on the same tree, got {self!r} and {other!r}"
            )
        inner = [mode[1] for mode in self.modes]
        if inner != [mode[0] for mode in other.modes]:
            raise ConfigError(f"TreeTensor: @ of {self!r} expects something of shape {inner}, got {other!r}")
        self._require_kind("@", other)
        rule = "...nma,...mkb->...nkab" if other.operator else "...nma,...mb->...nab"
        cores = [
            branches.kron(a, b, self._n_batch) if node.children else torch.einsum(rule, a, b).flatten(-2)
            for node, a, b in zip(self.tree.nodes, self.cores, other.cores, strict=True)
        ]
        return TreeTensor(self.tree, tuple(cores), other.operator)

    def conj(self) -> "TreeTensor":
        """The complex conjugate."""
        return self._with(core.conj() for core in self.cores)

    @property
    def mT(self) -> "TreeTensor":  # noqa: N802 - as torch names it
        """The transposed operator."""
        if not self.operator:
            raise ConfigError(f"TreeTensor: expected an operator to transpose, got {self!r}")
        return self._with(
            core if node.children else core.transpose(-3, -2)
            for node, core in zip(self.tree.nodes, self.cores, strict=True)
        )

    @property
    def mH(self) -> "TreeTensor":  # noqa: N802 - as torch names it
        """The adjoint operator."""
        return self.mT.conj()

    def kron(self, other: "TreeTensor") -> "TreeTensor":
        """The product of each entry with each entry: the modes of `other` follow those of this one."""
        self._require_factor("kron", other)
        root = self.cores[-1].new_ones(*self.batch_shape, 1, 1, 1)
        return TreeTensor(
            self.tree.beside(other.tree), (*self._hanging(), *other._hanging(), root), self.operator
        )

    def _hanging(self) -> list[Tensor]:
        """The cores below another root, where a single mode is a leaf alone."""
        if self.tree.n_modes > 1:
            return list(self.cores)
        leaf, root = self.cores
        return [(leaf.flatten(self._n_batch, -2) @ root).reshape(*leaf.shape[:-1], 1)]

    def inner(self, other: "TreeTensor") -> Tensor:
        """Sum over all entries of conj(self) * other, one for each element of the batch."""
        self._require_alike("inner", other)
        return branches.inner(self.tree, self._merged(), other._merged(), self._n_batch)

    def norm(self) -> Tensor:
        """The Frobenius norm, one for each element of the batch; as accurate as that of `TensorTrain`."""
        if torch.is_grad_enabled() and any(core.requires_grad for core in self.cores):
            return self.inner(self).real.sqrt()
        return branches.norm(self.tree, self._merged(), self._n_batch)

    # Entries.

    def full(self) -> Tensor:
        """The full tensor, `[*batch, *shape]`; of operators rows first, then columns."""
        flat = branches.full(self.tree, self._merged(), self._n_batch)
        if not self.operator:
            return flat
        d, batch = self.tree.n_modes, self._n_batch
        pairs = flat.reshape(*self.batch_shape, *(n for mode in self.modes for n in mode))
        return pairs.permute(
            *range(batch), *(batch + 2 * k for k in range(d)), *(batch + 2 * k + 1 for k in range(d))
        )

    def at(self, indices: Tensor) -> Tensor:
        """Entries at `indices`, `[n_places, d]` of int64: `[*batch, n_places]`.

        Raises:
            ConfigError: an index lies outside, or the shape or dtype is not as above; or this is an operator.
        """
        self._require_vector("at")
        self._require_indices(indices)
        return branches.entries(self.tree, self.cores, indices, self._n_batch)

    def __getitem__(self, key: Any) -> "TreeTensor | Tensor":
        """As of every format. A node that keeps a single child becomes one with it, so that the tree may be smaller;
        the modes that stay keep their order."""
        self._require_vector("[]")
        keys = indexing.parsed("TreeTensor", self.shape, key)
        found = indexing.tree_part(self.tree, self.cores, keys, self._n_batch)
        return found if isinstance(found, Tensor) else TreeTensor(*found)

    # Smaller ranks.

    def round(self, tolerance: float = 1e-12, *, rank: int | None = None) -> "TreeTensor":
        """The tensor with small ranks within an error: ‖x - round(x)‖ ≤ tolerance ‖x‖.

        Gradients are as those of `TensorTrain.round`.

        Args:
            tolerance: relative.
            rank: largest rank of any bond; what it costs is not bounded by the tolerance.

        Raises:
            ConfigError: cores are not finite; or, in the backward pass, a cut goes through equal singular values.
        """
        if not 0 <= tolerance < 1 or (rank is not None and rank < 1):
            raise ConfigError(
                f"TreeTensor: expected a tolerance from 0 to 1 and a rank of at least 1, got {tolerance} and {rank}"
            )
        most = [rank] * len(self.cores)
        return self._like(branches.rounded(self.tree, self._merged(), tolerance, most, self._n_batch))

    def _require_alike(self, what: str, other: object) -> None:
        if isinstance(other, TreeTensor) and self.tree != other.tree:
            raise ConfigError(f"TreeTensor: {what} expects one tree, got {self.tree} and {other.tree}")
        super()._require_alike(what, other)

    # Its cores with the modes of operators merged, and back.

    def _merged(self) -> list[Tensor]:
        if not self.operator:
            return list(self.cores)
        return [
            core if node.children else core.flatten(-3, -2)
            for node, core in zip(self.tree.nodes, self.cores, strict=True)
        ]

    def _like(self, cores: Sequence[Tensor]) -> "TreeTensor":
        if not self.operator:
            return self._with(cores)
        return self._with(
            core if node.mode is None else core.unflatten(-2, self.modes[node.mode])
            for node, core in zip(self.tree.nodes, cores, strict=True)
        )

    def _with(self, cores: Any) -> "TreeTensor":
        return TreeTensor(self.tree, tuple(cores), self.operator)


def _read(rows: Any) -> Tree:
    parents = np.asarray(rows)[:, 0].tolist()
    modes = np.asarray(rows)[:, 1].tolist()

    def nested(place: int) -> Any:
        if modes[place] >= 0:
            return int(modes[place])
        return tuple(nested(child) for child, parent in enumerate(parents) if parent == place)

    return Tree(nested(len(parents) - 1))


def _check(tree: Tree, cores: tuple[Tensor, ...], operator: bool) -> None:
    if len(cores) != len(tree.nodes):
        raise ConfigError(f"TreeTensor: expected {len(tree.nodes)} cores for {tree}, got {len(cores)}")
    leaf = "[..., n, m, r]" if operator else "[..., n, r]"
    axes = [len(node.children) + 1 if node.children else (3 if operator else 2) for node in tree.nodes]
    wanted = ["[..., one rank for each child, r]" if node.children else leaf for node in tree.nodes]
    require_cores("TreeTensor", cores, axes, wanted)
    for k, node in enumerate(tree.nodes):
        found = list(cores[k].shape[cores[k].ndim - axes[k] : -1]) if node.children else []
        below = [cores[child].shape[-1] for child in node.children]
        if found != below:
            raise ConfigError(
                f"TreeTensor: expected core {k} to have ranks {below} towards its children, got {found}"
            )
    if cores[-1].shape[-1] != 1:
        raise ConfigError(
            f"TreeTensor: expected the root to have rank 1 at its end, got {cores[-1].shape[-1]}"
        )
