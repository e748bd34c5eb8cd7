"""Chemical elements as users name them."""

from ase.data import atomic_numbers

from sciten.errors import ConfigError


def atomic_number(element: int | str) -> int:
    """The atomic number that a number or a symbol stands for; raises `ConfigError` where it is neither."""
    text = str(element)
    number = int(text) if text.isdigit() else atomic_numbers.get(text, 0)
    if not 1 <= number <= 118:
        raise ConfigError(f"expected chemical symbols or atomic numbers, got {element!r}")
    return number
