"""What a measurement ran on, and whether the machine was quiet."""

import os
import platform
from pathlib import Path
from typing import Any

QUIET_LOAD = 0.5  #: a load average above this disturbs timings


def describe() -> dict[str, Any]:
    """Processor, cores, system and Python, for the record."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_at_start": load(),
    }


def load() -> float | None:
    """Load average of the last minute; None where the system has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def checkout() -> Path | None:
    """The checkout that this package belongs to or the command runs in; None for a bare installation."""
    import sciten

    for folder in (Path(sciten.__file__).parents[1], Path.cwd()):
        if (folder / "workflows" / "convert_mace.py").is_file():
            return folder
    return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
