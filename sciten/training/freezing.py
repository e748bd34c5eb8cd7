"""Keeping parts of a model fixed."""

from fnmatch import fnmatchcase

from torch import nn

from sciten.errors import ConfigError
from sciten.training.sections import nearest


def freeze(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Fix the parameters whose name, or that of a block around them, matches one of the shell `patterns`.

    Raises:
        ConfigError: a pattern matches nothing, or everything is fixed.
    """
    blocks: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            blocks.setdefault(".".join(parts[:end]), []).append(parameter)
    for pattern in patterns:
        matches = [name for name in blocks if fnmatchcase(name, pattern)]
        if not matches:
            raise ConfigError(
                f"freeze: no parameter or block matches {pattern!r}, {nearest(pattern, blocks)}"
            )
        for name in matches:
            for parameter in blocks[name]:
                parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"freeze: {', '.join(patterns)} fix every parameter; leave some to train")
