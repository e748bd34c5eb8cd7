"""The base of every configuration value: frozen, typed, and answering a misspelt key with the nearest one."""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Tag, ValidationError

from sciten.errors import ConfigError


class SettingError(ConfigError):
    """A `ConfigError` that knows its key, so that the section around it can put its own name before it."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class Section(BaseModel):
    """A frozen group of settings; raises `ConfigError` naming the key where one is unknown or unusable."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _complaint(error, type(self)) from None


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the nearest known one, or all of them where none is near."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"


def one_of(default: type[Section], *others: type[Section]) -> Any:
    """The annotation of a setting that is one of several values, told apart by their `kind` in a file.

    In a file a bare string stands for the kind with its defaults, and a mapping without `kind` is `default`.
    """
    kinds = (default, *others)
    names = [_kind(section) for section in kinds]

    def spelled_out(value: Any) -> Any:
        if isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, dict):
            value = {"kind": names[0], **value}
            if value["kind"] not in names:
                raise SettingError("kind", f"unknown {value['kind']!r}, {nearest(str(value['kind']), names)}")
        return value

    def tag(value: Any) -> Any:
        return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)

    members = tuple(Annotated[section, Tag(name)] for section, name in zip(kinds, names, strict=True))
    union: Any = Union[members]  # type: ignore[valid-type]  # noqa: UP007 (made at run time)
    return Annotated[union, Discriminator(tag), BeforeValidator(spelled_out)]


def _kind(section: type[Section]) -> str:
    return str(section.model_fields["kind"].default)


def _complaint(error: ValidationError, section: type[Section]) -> SettingError:
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, SettingError):
        return SettingError(f"{key}.{cause.key}" if key else cause.key, cause.reason)
    if first["type"] == "extra_forbidden":
        return SettingError(key, f"unknown key, {nearest(key, section.model_fields)}")
    if first["type"] == "missing":
        return SettingError(key, "required, but not given")
    if isinstance(cause, ValueError):
        return SettingError(key or section.__name__, str(cause))
    return SettingError(key, f"{first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}")
