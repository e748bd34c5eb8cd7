"""What the rows of the first part say together: what products can express, where they cross, how they grow."""

from collections.abc import Sequence
from math import log
from typing import Any

from sciten.cli.benchmarks.summary import target
from sciten.cli.benchmarks.tensor_products.degrees import ALTERNATIVES, OURS, QUANTITY
from sciten.cli.benchmarks.tensor_products.settings import GAUNT_GROWTH, PASSES
from sciten.cli.benchmarks.workers.products import channelwise_instructions, natural

#: Beyond this L the expressivity of products with a weight for each path is their number, as it is below.
_COMPUTED = 3
_Rows = Sequence[dict[str, Any]]


def expressivities(degrees: Sequence[int]) -> dict[str, Any]:
    """By product and L, from `sciten.equivariant.expressivity`; of single channels.

    Clebsch-Gordan products count with a weight for each path, whose Jacobian is large: beyond a low L the number of
    paths is taken, after it was compared with the computed value below. e3nn's product is `TensorProduct`.
    """
    from sciten.equivariant import (
        GauntProduct,
        MatrixProduct,
        TensorProduct,
        VectorGauntProduct,
        expressivity,
    )

    def channelwise(degree: int) -> int:
        paths = channelwise_instructions(degree)
        if degree > _COMPUTED:
            return len(paths)
        irreps = natural(degree)
        product = TensorProduct(irreps, irreps, irreps, paths, shared_weights=True, internal_weights=False)
        found = expressivity(product)
        if found != len(paths):
            raise RuntimeError(
                f"the expressivity {found} for L = {degree} is not the number of paths, {len(paths)}"
            )
        return found

    makers = {
        OURS: channelwise,
        "GauntProduct": lambda l: expressivity(GauntProduct(l, l, l)),
        "VectorGauntProduct": lambda l: expressivity(VectorGauntProduct(l, l, l)),
        "MatrixProduct": lambda l: expressivity(MatrixProduct(l, l, l)),
        "ClebschGordanProduct, odd paths": lambda l: _paths(l, 1),
        "ClebschGordanProduct, all paths": lambda l: _paths(l, 0) + _paths(l, 1),
    }
    values = {name: {str(degree): make(degree) for degree in degrees} for name, make in makers.items()}
    computed = f"the rank of the Jacobian up to L = {_COMPUTED}, the number of paths beyond, equal where both are known"
    counted = "the number of paths, with a weight for each"
    return {
        "values": {**values, "ClebschGordanProduct": values[OURS]},
        "source": {OURS: computed, **{name: counted for name in makers if name.startswith("Clebsch")}},
        "note": "of single channels; products timed without weights on paths count with weights on them if they are "
        "Clebsch-Gordan products",
    }


def _paths(degree: int, parity: int) -> int:
    degrees = range(degree + 1)
    return sum(
        abs(a - b) <= c <= a + b and (a + b + c) % 2 == parity
        for a in degrees
        for b in degrees
        for c in degrees
    )


def crossovers(rows: _Rows) -> list[dict[str, Any]]:
    """For each alternative and pass: the least L from which on it is faster than our fastest Clebsch-Gordan product."""
    found = []
    for product, peers in ALTERNATIVES.items():
        for name in PASSES:
            over = {}
            for row in rows:
                if row["part"] == "degrees" and row["pass"] == name:
                    medians = {p: row["programs"][p][QUANTITY]["median"] for p in (product, *peers)}
                    over[row["L"]] = round(min(medians[p] for p in peers) / medians[product], 2)
            slower = [degree for degree, ratio in over.items() if ratio <= 1]
            faster = [degree for degree in over if degree > max(slower, default=0)]
            found.append(
                {
                    "product": product,
                    "against": list(peers),
                    "pass": name,
                    "from": min(faster, default=None),
                    "up_to": max(over, default=None),
                    "ratios": {str(degree): ratio for degree, ratio in over.items()},
                }
            )
    return found


def growth(rows: _Rows) -> dict[str, Any] | None:
    """The power of L with which a forward `GauntProduct` grows; None where its degrees were not measured."""
    low, high, goal = GAUNT_GROWTH
    medians = {
        row["L"]: row["programs"]["GauntProduct"][QUANTITY]["median"]
        for row in rows
        if row["part"] == "degrees" and row["pass"] == "forward"
    }
    if low not in medians or high not in medians:
        return None
    power = log(medians[high] / medians[low]) / log(high / low)
    return target(f"GauntProduct, power of L between {low} and {high}", power, goal, at_most=True)
