"""Compile the Triton kernels of maps and their derivatives for compute capability 9.0; no GPU need be there.

    python compile_triton.py 2 rich convolution:3,3,3 contraction:3,3

compiles the maps and their derivatives of first and second order, and prints for each kernel, as JSON, its registers
and the bytes of stack that they spill to. Exits with 77 where Triton has no assembler of its own.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sciten.equivariant.products.channelwise import convolution_map
from sciten.equivariant.products.symmetric import contraction_map
from sciten.tensor.multilinear import Multilinear
from sciten.tensor.multilinear.destinations import by_destination
from sciten.tensor.multilinear.triton import Triton, _imported, _parts
from sciten.tensor.multilinear.triton_codegen import TritonKernel
from tests.tensor.multilinear.maps import rich_map

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"


def described(what: str) -> Multilinear:
    """The map that a word on the command line stands for."""
    name, _, numbers = what.partition(":")
    values = [int(n) for n in numbers.split(",") if n]
    if name == "rich":
        return rich_map()
    if name == "convolution":
        return convolution_map(values[0], values[1], values[2])
    return contraction_map(values[0], (0, 1), values[1])


def kernels(map_: Multilinear, small: bool) -> Iterator[TritonKernel]:
    """All kernels of a map; of a small one also those with masks."""
    limits = Triton()
    for destination, members in by_destination(map_).items():
        scattered = destination is not None
        for outputs in _parts(map_, members, limits.max_terms, limits.max_sums if scattered else None):
            for masked in (False, True) if small else (False,):
                yield TritonKernel(
                    map_, outputs, scattered, bool(destination), single=not masked, exact=not masked
                )


def compiled(kernel: TritonKernel, dtype: str, channels: int) -> dict[str, int]:
    """Registers and bytes of stack of a kernel."""
    signature = {
        name: "i32" if name == "batch" else "*i64" if name[0] in "ios" else f"*{dtype}"
        for name in kernel.parameters
    }
    constants = {
        "CHANNELS": channels,
        "ELEMENTS": 1 if kernel.single else 4,
        "LANES": 32,
        "ACC": tl.float64 if dtype == "fp64" else tl.float32,
    }
    function = _imported(kernel.source()).kernel
    source = ASTSource(function, {**signature, **dict.fromkeys(constants, "constexpr")}, constants)
    options = {"num_warps": 1, "enable_fp_fusion": True}
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["cubin"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(TOOLS / "cuobjdump"), "--dump-resource-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {key: re.search(rf"{key}:(\d+)", usage) for key in ("REG", "STACK")}
    assert found["REG"] and found["STACK"], usage
    return {"registers": int(found["REG"][1]), "stack": int(found["STACK"][1])}


def main() -> int:
    """Command line; returns the exit code."""
    if not all((TOOLS / tool).exists() for tool in ("ptxas", "cuobjdump")):
        return 77
    found = []
    for what in sys.argv[2:]:
        map_ = described(what)
        for order in range(int(sys.argv[1]) + 1):
            for kernel in kernels(map_, what == "rich"):
                for dtype in ("fp32", "bf16", "fp64") if (what, order) == ("rich", 0) else ("fp32",):
                    about = {"map": what, "order": order, "results": len(kernel.outputs)}
                    found.append({**about, **compiled(kernel, dtype, channels=64)})
            map_ = map_.derivative(range(len(map_.arguments)))
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
