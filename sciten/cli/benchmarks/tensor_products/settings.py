"""What is measured of tensor products, and what we mean to reach."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The parts of the benchmark, in their order.
PARTS: Mapping[str, str] = {
    "degrees": "products of features up to degree L, for every L",
    "convolution": "MACE's channelwise convolution, with gather and scatter",
    "so2": "SO(2) products along edges, rotations included",
    "tensornet": "TensorNet beside torchmd-net",
    "mace": "MACE with the Gaunt product beside MACE with Clebsch-Gordan couplings",
}
PASSES: Mapping[str, str] = {"forward": "forward", "backward": "forward + backward"}

#: By L: how many times faster than e3nn `TensorProduct` is to be, forward and backward.
CHANNELWISE_TARGETS = {1: 2.0, 2: 4.0, 3: 4.0, **dict.fromkeys(range(4, 11), 6.0)}
#: By L: ns per sample and channel of a forward `GauntProduct`, at most.
GAUNT_TARGETS = {2: 90.0, 6: 1200.0, 10: 4500.0}
#: Between these L, a power of L that it is to grow no faster than.
GAUNT_GROWTH = (6, 10, 3.0)
CONVOLUTION_TARGET = 3.0
SO2_TARGET = 1.0
TENSORNET_TARGET = 1.5
#: Up to this L there is a target for the first call.
FIRST_CALL_DEGREE = 6


@dataclass(frozen=True)
class So2Case:
    """Messages along edges, with shared weights and radial factors of each edge.

    Attributes:
        pass_: "forward", or "backward", which is both, with gradients by all inputs and weights.
        lmax: highest degree of features and messages.
        mmax: highest order.
        channels: of features and messages.
        edges: how many.
    """

    pass_: str = "forward"
    lmax: int = 6
    mmax: int = 6
    channels: int = 64
    edges: int = 5000


#: The first is the one that there is a target for.
SO2_CASES = (So2Case(), So2Case("backward"), So2Case(mmax=2), So2Case(lmax=3, mmax=3, channels=128))


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes:
        only: the parts to measure.
        degrees: the highest degrees L of the products.
        fairchem_python: Python of an environment with fairchem-core; None to leave it out.
        torchmd_python: Python of an environment with torchmd-net and safetensors; None to leave it out.
        e3nn_limit: seconds that one way of running e3nn may take to build and call a product for the first time.
        rounds: timed calls of every program in each case.
        row_seconds: a case whose rounds would take longer gets fewer of them, but at least three.
        warm_up: calls before, at least two; the first of them is reported apart.
        threads: of every program.
        samples, channels: of the products of the first part.
        atoms, neighbours, convolution_channels, convolution_lmax: of the convolution.
        so2: the SO(2) products.
        frames: molecules in a batch.
        tensornet: TensorNet's channels, layers, radial functions and cutoff in Å.
        mace_channels, mace_hidden_lmax: of MACE.
    """

    only: tuple[str, ...] = tuple(PARTS)
    degrees: tuple[int, ...] = tuple(range(1, 11))
    fairchem_python: str | None = None
    torchmd_python: str | None = None
    e3nn_limit: float = 300.0
    rounds: int = 11
    row_seconds: float = 150.0
    warm_up: int = 3
    threads: int = 2
    samples: int = 1000
    channels: int = 32
    atoms: int = 400
    neighbours: int = 25
    convolution_channels: int = 128
    convolution_lmax: int = 3
    so2: tuple[So2Case, ...] = SO2_CASES
    frames: int = 32
    tensornet: tuple[int, int, int, float] = (128, 2, 32, 4.5)
    mace_channels: int = 64
    mace_hidden_lmax: int = 2

    def reported(self) -> dict[str, Any]:
        """For the results: all but where the peers are."""
        names = ("rounds", "row_seconds", "warm_up", "threads", "e3nn_limit", "samples", "channels", "frames")
        return {"dtype": "float32", **{name: getattr(self, name) for name in names}}

    @property
    def cases(self) -> int:
        """How many rows of results there will be."""
        rows = {
            "degrees": len(PASSES) * len(self.degrees),
            "convolution": len(PASSES),
            "so2": len(self.so2) + 1,
            "tensornet": 2 if self.torchmd_python else 0,
            "mace": 1,
        }
        return sum(rows[part] for part in self.only)


#: To see that everything runs; its numbers say nothing.
SMALL = Settings(
    degrees=(1, 2),
    row_seconds=5.0,
    warm_up=2,
    samples=16,
    channels=4,
    atoms=20,
    neighbours=4,
    convolution_channels=8,
    convolution_lmax=2,
    so2=(So2Case(lmax=2, mmax=2, channels=4, edges=50),),
    frames=2,
    tensornet=(8, 1, 8, 4.5),
    mace_channels=4,
    mace_hidden_lmax=1,
)
