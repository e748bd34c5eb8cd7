"""What the rows of the first part say together: what products can express, where they cross, how they grow."""

from collections.abc import Callable, Sequence
from functools import partial
from math import log
from typing import Any

from sciten.cli.benchmarks.summary import target
from sciten.cli.benchmarks.tensor_products.degrees import ALTERNATIVES, CHANNELWISE, COMPARED, QUANTITY
from sciten.cli.benchmarks.tensor_products.settings import GAUNT_GROWTH, PASSES
from sciten.cli.benchmarks.workers.products import channelwise

#: Beyond this L the expressivity of products with a weight for each path is their number, as it is below.
_COMPUTED = 3
_Rows = Sequence[dict[str, Any]]


def expressivities(degrees: Sequence[int]) -> dict[str, Any]:
    """By product and L, from `sciten.equivariant.expressivity`; of single channels, of what is timed.

    Clebsch-Gordan products have a weight for each path, and a large Jacobian: beyond a low L the number of paths is
    taken, after it was compared with the computed value below. e3nn's product is `TensorProduct`.
    """
    from sciten.equivariant import (
        GauntProduct,
        MatrixProduct,
        TensorProduct,
        VectorGauntProduct,
        expressivity,
    )

    def weighted(paths: str, degree: int) -> int:
        product = channelwise(TensorProduct, paths, degree)
        found = expressivity(product) if degree <= _COMPUTED else product.weight_numel
        if found != product.weight_numel:
            raise RuntimeError(
                f"the expressivity {found} for L = {degree} is not the number of paths, {product.weight_numel}"
            )
        return found

    makers: dict[str, Callable[[int], int]] = {
        **{name: partial(weighted, paths) for name, paths in CHANNELWISE.items()},
        "GauntProduct": lambda l: expressivity(GauntProduct(l, l, l, method="grid")),
        "GauntProduct, fourier": lambda l: expressivity(GauntProduct(l, l, l, method="fourier")),
        "VectorGauntProduct": lambda l: expressivity(VectorGauntProduct(l, l, l)),
        "MatrixProduct": lambda l: expressivity(MatrixProduct(l, l, l)),
    }
    computed = f"the rank of the Jacobian up to L = {_COMPUTED}, the number of paths beyond, equal where both are known"
    return {
        "values": {name: {str(degree): make(degree) for degree in degrees} for name, make in makers.items()},
        "source": dict.fromkeys(CHANNELWISE, computed),
        "note": COMPARED,
    }


def crossovers(rows: _Rows) -> list[dict[str, Any]]:
    """For each alternative and pass: the least L from which on it is faster than our Clebsch-Gordan product of the same
    irreps and channels, with its weights."""
    found = []
    for product, peer in ALTERNATIVES.items():
        for name in PASSES:
            over = {}
            for row in rows:
                if row["part"] == "degrees" and row["pass"] == name:
                    medians = {p: row["programs"][p][QUANTITY]["median"] for p in (product, peer)}
                    over[row["L"]] = round(medians[peer] / medians[product], 2)
            slower = [degree for degree, ratio in over.items() if ratio <= 1]
            faster = [degree for degree in over if degree > max(slower, default=0)]
            found.append(
                {
                    "product": product,
                    "against": peer,
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
