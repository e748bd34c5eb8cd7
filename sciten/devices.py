"""Where models compute."""

import torch

from sciten.errors import ConfigError


def require_device(device: torch.device | str) -> torch.device:
    """The device; raises `ConfigError` where torch does not know it or cannot use it here."""
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"expected a device that torch can use here, such as cpu, got {str(device)!r}: {reason}"
        ) from None
