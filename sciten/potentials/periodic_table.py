"""Chemical elements as users name them."""

from collections.abc import Sequence

from ase.data import atomic_numbers

from sciten.errors import ConfigError


def atomic_number(element: int | str) -> int:
    """The atomic number that a number or a symbol stands for; raises `ConfigError` where it is neither."""
    text = str(element)
    number = int(text) if text.isdigit() else atomic_numbers.get(text, 0)
    if not 1 <= number <= 118:
        raise ConfigError(f"expected chemical symbols or atomic numbers, got {element!r}")
    return number


def sorted_elements(
    model: str, elements: Sequence[int | str], isolated_atom_energies: Sequence[float] | None
) -> tuple[tuple[int, ...], list[float]]:
    """Atomic numbers ascending, and their isolated-atom energies (eV), which are zero where None is given.

    Raises:
        ConfigError: an element is none or comes twice, or energies are missing; the message begins with `model`.
    """
    numbers = [atomic_number(element) for element in elements]
    if not numbers or len(set(numbers)) != len(numbers):
        raise ConfigError(
            f"{model}: expected elements to be distinct atomic numbers from 1 to 118, got {list(elements)}"
        )
    energies = [0.0] * len(numbers) if isolated_atom_energies is None else list(isolated_atom_energies)
    if len(energies) != len(numbers):
        raise ConfigError(
            f"{model}: expected one isolated-atom energy for each of {len(numbers)} elements, got {len(energies)}"
        )
    order = sorted(range(len(numbers)), key=lambda i: numbers[i])
    return tuple(numbers[i] for i in order), [float(energies[i]) for i in order]
