"""What the constructors of neural operators ask of their numbers."""

from collections.abc import Iterable
from numbers import Integral

from sciten.errors import ConfigError


def require_whole(name: str, least: int = 1, **values: int | None) -> None:
    """Raise `ConfigError` unless each value that is given is a whole number of at least `least`."""
    for what, value in values.items():
        if value is not None and not (is_whole(value) and value >= least):
            raise ConfigError(f"{name}: expected {what} as a whole number of at least {least}, got {value!r}")


def require_modes(name: str, modes: Iterable[int] | int) -> tuple[int, ...]:
    """The modes of one to three axes.

    Raises:
        ConfigError: they are others.
    """
    try:
        found = tuple(modes)  # type: ignore[arg-type]
    except TypeError:  # a single number
        found = (modes,)  # type: ignore[assignment]
    if not 1 <= len(found) <= 3 or not all(is_whole(m) and m >= 1 for m in found):
        raise ConfigError(
            f"{name}: expected modes as a positive whole number for each of one to three axes, got {modes!r}"
        )
    return tuple(int(m) for m in found)


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, of Python or of numpy; truth values are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)
