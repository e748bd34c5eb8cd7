"""The Clebsch-Gordan tensor product of irreps with multiplicities, in the manner of e3nn's `TensorProduct`."""

from collections.abc import Iterable, Iterator, Sequence
from math import inf, prod
from typing import Any

import torch
from torch import Tensor, nn

from sciten.equivariant.irreps import Irreps, IrrepsLike
from sciten.equivariant.products.arguments import require_alike, require_features
from sciten.equivariant.products.instructions import normalised
from sciten.equivariant.products.program import Program
from sciten.errors import ConfigError
from sciten.tensor.multilinear import Executor

#: The generated code of e3nn's products, which keeps constants (`_w3j_1_1_1`, `_triu_indices_2`) in the state; the same
#: for all of its products and every `jit_mode` (found by listing the states that e3nn 0.6.0 makes).
_E3NN_MODULES = ("_compiled_main_left_right.", "_compiled_main_right.")


class TensorProduct(nn.Module):
    """A drop-in for `e3nn.o3.TensorProduct`: same arguments, same numbers, same weights.

    Couplings are kept in float64 whatever the default dtype is, and rounded once to the dtype of the features.

    Args:
        irreps_in1, irreps_in2, irreps_out: irreps of the inputs and of the output; features lie `[..., mul (2l + 1)]`.
        instructions: `(i_in1, i_in2, i_out, mode, has_weight[, path_weight])`; modes are "uvw", "uvu", "uvv", "uuw",
            "uuu", "uvuv", "uvu<v" and "u<vw".
        in1_var, in2_var, out_var: variances of the entries, one by default.
        irrep_normalization: "component" (default), "norm" or "none".
        path_normalization: "element" (default), "path" or "none".
        internal_weights: whether the weights are parameters of the module; by default where they are shared.
        shared_weights: whether all samples have the same weights (default).
        compile_left_right, compile_right: accepted for e3nn's sake; nothing is compiled ahead.
        normalization: e3nn's old name of `irrep_normalization`.
        executor: who runs the couplings; by default the fastest one for the device.

    Raises:
        ConfigError: irreps, instructions, shapes or dtypes do not fit.

    The state holds `weight` and `output_mask`; the constants of generated code that e3nn's has beside them are ignored.
    """

    weight: Tensor
    output_mask: Tensor

    def __init__(
        self,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        irreps_out: IrrepsLike,
        instructions: Iterable[Sequence[Any]],
        in1_var: Sequence[float] | Tensor | None = None,
        in2_var: Sequence[float] | Tensor | None = None,
        out_var: Sequence[float] | Tensor | None = None,
        irrep_normalization: str | None = None,
        path_normalization: str | None = None,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        compile_left_right: bool = True,
        compile_right: bool = False,
        normalization: str | None = None,
        *,
        executor: Executor | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.irreps_in1, self.irreps_in2 = Irreps(irreps_in1), Irreps(irreps_in2)
        self.irreps_out = Irreps(irreps_out)
        irreps = (self.irreps_in1, self.irreps_in2, self.irreps_out)
        if not isinstance(instructions, Iterable):
            raise ConfigError(f"{name}: expected a list of instructions, got {instructions!r}")
        given = [
            tuple(instruction) if isinstance(instruction, Sequence) else instruction
            for instruction in instructions
        ]
        self.instructions = normalised(
            name,
            irreps,
            given,
            (
                _variances(name, "in1_var", in1_var, irreps[0]),
                _variances(name, "in2_var", in2_var, irreps[1]),
                _variances(name, "out_var", out_var, irreps[2]),
            ),
            normalization or irrep_normalization or "component",
            path_normalization or "element",
        )
        plain = in1_var is None and in2_var is None and out_var is None
        #: Whether inputs and weights of unit variance give an output of unit variance.
        self.unit_variance = (
            plain
            and (normalization or irrep_normalization or "component") == "component"
            and path_normalization != "none"
            and all(float(path_weight) == 1 for *_, path_weight in (ins for ins in given if len(ins) == 6))
        )
        self.shared_weights = True if shared_weights is None else shared_weights
        if internal_weights is None:
            internal_weights = self.shared_weights and any(ins.has_weight for ins in self.instructions)
        if internal_weights and not self.shared_weights:
            raise ConfigError(
                f"{name}: weights inside the module are shared; expected shared_weights with internal_weights"
            )
        self.internal_weights = internal_weights
        self.executor = executor
        self.weight_numel = sum(ins.weight_numel for ins in self.instructions)
        if internal_weights and self.weight_numel:
            self.weight = nn.Parameter(torch.randn(self.weight_numel))
        else:
            self.register_buffer("weight", torch.empty(0))
        reached = {ins.i_out for ins in self.instructions if ins.path_weight != 0 and 0 not in ins.path_shape}
        mask = [torch.full((entry.dim,), float(i in reached)) for i, entry in enumerate(self.irreps_out)]
        self.register_buffer("output_mask", torch.cat([torch.empty(0), *mask]))
        self._program = Program.of(irreps, self.instructions, shared_weights=self.shared_weights)

    def forward(self, x: Tensor, y: Tensor, weight: Tensor | Sequence[Tensor] | None = None) -> Tensor:
        """The product, `[..., irreps_out.dim]`.

        Args:
            x: `[..., irreps_in1.dim]`.
            y: `[..., irreps_in2.dim]`; leading axes of x and y are broadcast against each other, as e3nn does.
            weight: where weights are not internal: `[weight_numel]` if they are shared, `[..., weight_numel]` if not;
                or a list with one tensor for each path that has weights, of its `path_shape`.
        """
        name = type(self).__name__
        require_features(name, "x", x, self.irreps_in1.dim, self.irreps_in1)
        require_features(name, "y", y, self.irreps_in2.dim, self.irreps_in2)
        weights = self._weights(weight)
        tensors = {"x": x, "y": y, "weight": weights} if self.weight_numel else {"x": x, "y": y}
        require_alike(name, tensors)
        leading = [x.shape[:-1], y.shape[:-1], *([] if self.shared_weights else [weights.shape[:-1]])]
        if x.ndim == 2 and all(shape == x.shape[:1] for shape in leading):
            # Nothing to broadcast, and in small batches every view would show.
            return self._program.run(x, y, weights, self.executor)
        try:
            batch = torch.broadcast_shapes(*leading)
        except RuntimeError as error:
            shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors.values())
            raise ConfigError(
                f"{name}: expected leading axes that can be broadcast, got shapes {shapes}"
            ) from error
        x, y = (t.expand(*batch, t.shape[-1]).reshape(prod(batch), t.shape[-1]) for t in (x, y))
        if not self.shared_weights:
            weights = weights.expand(*batch, self.weight_numel).reshape(prod(batch), self.weight_numel)
        result = self._program.run(x, y, weights, self.executor)
        return result.reshape(*batch, self.irreps_out.dim)

    def right(self, y: Tensor, weight: Tensor | Sequence[Tensor] | None = None) -> Tensor:
        """The product as a linear map of x: `[..., irreps_in1.dim, irreps_out.dim]`."""
        identity = torch.eye(self.irreps_in1.dim, dtype=y.dtype, device=y.device)
        weights = self._weights(weight)
        return self.forward(
            identity, y[..., None, :], weights if self.shared_weights else weights[..., None, :]
        )

    def operations(self) -> int:
        """Multiplications and additions for one sample: the couplings, and the sums by which weights mix channels."""
        return self._program.operations()

    def weight_views(self, weight: Tensor | None = None, yield_instruction: bool = False) -> Iterator[Any]:
        """Views of each path's weights, `[..., *path_shape]`; with (position, instruction, view) where asked for."""
        weights = self._weights(weight)
        start = 0
        for position, ins in enumerate(self.instructions):
            if ins.has_weight:
                view = weights[..., start : start + ins.weight_numel].view(
                    *weights.shape[:-1], *ins.path_shape
                )
                yield (position, ins, view) if yield_instruction else view
                start += ins.weight_numel

    def weight_view_for_instruction(self, instruction: int, weight: Tensor | None = None) -> Tensor:
        """The view of one path's weights; raises `ConfigError` where it has none."""
        for position, _, view in self.weight_views(weight, yield_instruction=True):
            if position == instruction:
                return view  # type: ignore[no-any-return]
        raise ConfigError(f"{type(self).__name__}: instruction {instruction} has no weights")

    def _weights(self, weight: Tensor | Sequence[Tensor] | None) -> Tensor:
        name = type(self).__name__
        if weight is None:
            if self.weight_numel and not self.internal_weights:
                raise ConfigError(
                    f"{name}: its weights are not internal; expected weight [..., {self.weight_numel}], got none"
                )
            return self.weight
        if not isinstance(weight, Tensor):
            weight = self._joined(weight)
        fits = (
            weight.shape == (self.weight_numel,)
            if self.shared_weights
            else (weight.ndim > 1 and weight.shape[-1] == self.weight_numel)
        )
        if not fits:
            expected = (
                f"[{self.weight_numel}]"
                if self.shared_weights
                else f"[..., {self.weight_numel}] with a batch axis"
            )
            raise ConfigError(f"{name}: expected weight of shape {expected}, got {list(weight.shape)}")
        return weight

    def _joined(self, weights: Sequence[Tensor]) -> Tensor:
        """One tensor for each path that has weights, in one flat tensor."""
        shapes = [ins.path_shape for ins in self.instructions if ins.has_weight]
        given = list(weights) if isinstance(weights, Iterable) else [weights]
        fits = len(given) == len(shapes) and all(
            isinstance(w, Tensor) and w.ndim >= len(shape) and w.shape[w.ndim - len(shape) :] == shape
            for w, shape in zip(given, shapes, strict=True)
        )
        if not fits:
            got = [list(w.shape) if isinstance(w, Tensor) else type(w).__name__ for w in given]
            raise ConfigError(
                f"{type(self).__name__}: expected a tensor of weights, or one for each path of shapes "
                f"{[[*shape] for shape in shapes]}, got {got}"
            )
        pairs = zip(given, shapes, strict=True)
        return torch.cat([w.reshape(*w.shape[: w.ndim - len(shape)], -1) for w, shape in pairs], dim=-1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for key in list(state_dict):
            if key.startswith(tuple(prefix + module for module in _E3NN_MODULES)):
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        """Irreps and sizes, as e3nn prints them."""
        paths = sum(prod(ins.path_shape) for ins in self.instructions)
        left, right, out = (
            irreps.simplify() for irreps in (self.irreps_in1, self.irreps_in2, self.irreps_out)
        )
        return f"{left} x {right} -> {out} | {paths} paths | {self.weight_numel} weights"


def _variances(
    name: str, argument: str, given: Sequence[float] | Tensor | None, irreps: Irreps
) -> list[float]:
    if given is None:
        return [1.0] * len(irreps)
    values = [float(value) for value in given] if isinstance(given, Iterable) else []
    if len(values) != len(irreps) or not all(0 < value < inf for value in values):
        raise ConfigError(
            f"{name}: expected one {argument} for each of {len(irreps)} entries, finite and above 0, got {given}"
        )
    return values
