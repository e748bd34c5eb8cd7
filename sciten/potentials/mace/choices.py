"""The tensor products that MACE can be built with, as values and as their descriptions in model files."""

from collections.abc import Mapping
from typing import Any

from sciten.equivariant.products.base import SignalProduct
from sciten.equivariant.products.clebsch_gordan import ClebschGordanProduct
from sciten.equivariant.products.gaunt import GauntProduct
from sciten.errors import ConfigError

#: A product without degrees, which the model gives it, or its description, such as {"kind": "GauntProduct"}.
ProductChoice = SignalProduct | Mapping[str, Any] | None


def chosen(argument: str, choice: ProductChoice) -> ClebschGordanProduct | GauntProduct:
    """The product that `argument` ("product" or "edge_product") asks for, `ClebschGordanProduct()` by default.

    Raises:
        ConfigError: it is none that MACE can use, has degrees already, or has options that the model would not heed.
    """
    product = _read(argument, choice) if isinstance(choice, Mapping) else choice or ClebschGordanProduct()
    if not isinstance(product, ClebschGordanProduct | GauntProduct):
        raise ConfigError(
            f"MACE: expected {argument} to be ClebschGordanProduct() or GauntProduct(method=...), got {product!r}"
        )
    if hasattr(product, "irreps_in1"):
        name = type(product).__name__
        raise ConfigError(
            f"MACE: expected {argument} without degrees, which the model gives it, got {name} with some"
        )
    _require_heeded(argument, product)
    return product


def _require_heeded(argument: str, product: ClebschGordanProduct | GauntProduct) -> None:
    """Refuse options that would be dropped: weights are the model's own, and so is its executor."""
    if isinstance(product, ClebschGordanProduct):
        given = {"weights": product.weighted or None, "executor": product.executor}
        dropped = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
        if dropped:
            raise ConfigError(
                f"MACE: expected {argument} to be ClebschGordanProduct() without options, as the model has weights and "
                f"an executor of its own, got {dropped}"
            )
    elif argument == "edge_product" and product.method == "fourier":
        raise ConfigError(
            "MACE: expected edge_product to be GauntProduct(method='grid') or 'auto', as edges are always multiplied "
            "on a grid, got method='fourier'"
        )


def described(product: ClebschGordanProduct | GauntProduct) -> dict[str, Any]:
    """What `chosen` makes the same product from."""
    kind = type(product).__name__
    return {"kind": kind, "method": product.method} if isinstance(product, GauntProduct) else {"kind": kind}


def _read(argument: str, description: Mapping[str, Any]) -> SignalProduct:
    options = {key: value for key, value in description.items() if key != "kind"}
    kind = description.get("kind")
    if kind == "GauntProduct" and set(options) <= {"method"}:
        return GauntProduct(method=options.get("method", "auto"))
    if kind == "ClebschGordanProduct" and not options:
        return ClebschGordanProduct()
    raise ConfigError(
        f"MACE: expected {argument} to be {{kind: ClebschGordanProduct}} or {{kind: GauntProduct, method: grid}} (or "
        f"fourier or auto), got {dict(description)}"
    )
