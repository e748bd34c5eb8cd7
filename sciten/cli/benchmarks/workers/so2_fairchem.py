"""The worker for fairchem's `SO2_Convolution`, run as a script by a Python that has fairchem-core; no sciten in it.

The convolution itself works in the frames of the edges; the rotations around it are put together as fairchem's eSCN-MD
backbone does by default: Wigner matrices from quaternions, joined with the sorting by order, and batched matrix
products. Its random roll about the edge is set to zero, for it has no bearing on the result.
"""

import time
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from serve import Job, Request, serve

warnings.simplefilter("ignore")

from fairchem.core.models.uma.common.quaternion.quaternion_wigner_utils import (  # noqa: E402
    create_wigner_data_module,
)
from fairchem.core.models.uma.common.quaternion.wigner_d_hybrid import axis_angle_wigner_hybrid  # noqa: E402
from fairchem.core.models.uma.common.so3 import CoefficientMapping  # noqa: E402
from fairchem.core.models.uma.nn.execution_backends import ExecutionBackend  # noqa: E402
from fairchem.core.models.uma.nn.so2_layers import SO2_Convolution  # noqa: E402


def prepare(request: Request) -> Job:
    """Build the convolution with the weights given; edges come as vectors in every call."""
    with np.load(request["inputs"]) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    inputs = [arrays.pop(name) for name in ("features", "vectors", "radial")]
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    start = time.perf_counter()
    convolution = _convolution(request, arrays)
    rotations = create_wigner_data_module(request["lmax"]).float()
    load_s = time.perf_counter() - start
    backward = request["pass"] == "backward"
    convolution.requires_grad_(backward)
    cotangent = torch.ones_like(inputs[0])
    mapping = convolution.mappingReduced
    kept = None
    if request["mmax"] < request["lmax"]:
        kept = CoefficientMapping(request["lmax"], request["lmax"]).coefficient_idx(
            request["lmax"], request["mmax"]
        )

    def messages(features: torch.Tensor, vectors: torch.Tensor, radial: torch.Tensor) -> torch.Tensor:
        there, back = axis_angle_wigner_hybrid(
            vectors,
            request["lmax"],
            gamma=torch.zeros(len(vectors)),
            coeffs=rotations.coeffs,
            U_blocks=rotations.U_blocks,
            custom_kernels=rotations.custom_kernels,
        )
        there, back = ExecutionBackend.prepare_wigner(there, back, mapping, kept)
        mixed = convolution(torch.bmm(there, features), radial)
        return torch.bmm(back, mixed)

    def gradients() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(messages(*leaves), [*leaves, *convolution.parameters()], cotangent)

    def alone() -> torch.Tensor:
        with torch.no_grad():
            return messages(*inputs)

    def check() -> dict[str, Any]:
        result = alone().double()
        found = {"some": result[:2].flatten().tolist(), "squares": [float(result.square().sum())]}
        if backward:
            found["gradient"] = [float(g.double().square().sum()) for g in gradients()[: len(leaves)]]
        return found

    facts = {"load_s": load_s, "versions": {"fairchem-core": version("fairchem-core")}}
    return Job(gradients if backward else alone, check, facts)


def _convolution(request: Request, weights: dict[str, torch.Tensor]) -> Any:
    """The convolution with our weights: real and imaginary parts side by side, the factors of ours taken in."""
    lmax, mmax, channels = request["lmax"], request["mmax"], request["channels"]
    convolution = SO2_Convolution(channels, channels, lmax, mmax, CoefficientMapping(lmax, mmax))
    with torch.no_grad():
        convolution.fc_m0.bias.zero_()
        convolution.fc_m0.weight.copy_(weights["weight_0"].T / len(weights["weight_0"]) ** 0.5)
        for m in range(1, mmax + 1):
            real, imaginary = weights[f"weight_{m}"]
            both = torch.cat([real, imaginary], 1) / (2 * len(real)) ** 0.5
            convolution.so2_m_conv[m - 1].fc.weight.copy_(both.T)
    return convolution


if __name__ == "__main__":
    serve(prepare)
