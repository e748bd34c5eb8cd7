"""What a run reports per epoch: `metrics.jsonl`, and TensorBoard events where asked for."""

import json
import os
from pathlib import Path
from typing import Any

from sciten.errors import DataError, MissingExtraError, StorageError


class MetricsLog:
    """`metrics.jsonl`: one JSON object per line and epoch, that a resumed run cuts back to its checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, metrics: dict[str, Any]) -> int:
        """Add a line; returns the size of the file in bytes."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(metrics) + "\n")
                stream.flush()
                os.fsync(stream.fileno())  # the checkpoint that follows counts on it, even after a power cut
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        return self.path.stat().st_size

    def cut(self, size: int) -> None:
        """Drop everything after `size` bytes; raises `DataError` where the file has less."""
        found = self.path.stat().st_size if self.path.exists() else 0
        if found < size:
            raise DataError(
                f"{self.path}: the checkpoint expects {size} bytes of it, found {found}; restore the file, "
                "or choose another output"
            )
        if found > size:
            with open(self.path, "r+b") as stream:
                stream.truncate(size)

    def read(self) -> list[dict[str, Any]]:
        """All lines."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]


class EventLog:
    """The same numbers as TensorBoard events."""

    def __init__(self, folder: Path, first_epoch: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "tensorboard=true needs the package tensorboard: pip install 'sciten[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def append(self, metrics: dict[str, Any]) -> None:
        """Add the numbers of one epoch."""
        for name, value in metrics.items():
            if isinstance(value, int | float) and name != "epoch":
                self._writer.add_scalar(name, value, metrics["epoch"])
        self._writer.flush()
