"""HDF5 files written whole or not at all, and read with errors that a user can act on."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py

from sciten.errors import DataError, StorageError
from sciten.files import atomic_path

_CHUNK_CACHE_BYTES = 1 << 20  # per dataset; newer HDF5 defaults to eight times as much


class _ShieldedStream:
    """A file whose write errors are kept for later instead of being raised.

    A failed write (a full disk) leaves the HDF5 library in a state in which closing the file fails too and
    the process crashes at exit. So HDF5 is told that all went well; who writes looks at `error` after each
    block.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 (closed in close)
        self.error: OSError | None = None

    def _attempt(self, action: Callable[..., Any], *arguments: Any) -> Any:
        if self.error is None:
            try:
                return action(*arguments)
            except OSError as error:
                self.error = error
        return None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self.error is None:
            done += self._attempt(self._file.write, view[done:]) or 0
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._attempt(self._file.truncate, size)
        return self.tell() if size is None else size

    def flush(self) -> None:
        self._attempt(self._file.flush)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) or b""

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class NewFile:
    """An HDF5 file in the making: `file`, and `check()`, which raises where a write has failed."""

    def __init__(self, target: Path, file: h5py.File, stream: _ShieldedStream) -> None:
        self.file = file
        self._target = target
        self._stream = stream

    def check(self) -> None:
        """Raise `StorageError` where something written so far did not reach the disk."""
        error = self._stream.error
        if error is not None:
            raise StorageError(f"{self._target}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def create(target: str | os.PathLike[str]) -> Iterator[NewFile]:
    """Write a new HDF5 file that stands at `target` only when the block ends without an error.

    Long writers call `check()` of what is yielded now and then, to stop early on a full disk. Raises
    `StorageError` where the file cannot be written.
    """
    target = Path(target)
    with atomic_path(target) as temporary, contextlib.closing(_ShieldedStream(temporary)) as stream:
        with h5py.File(stream, "w", rdcc_nbytes=_CHUNK_CACHE_BYTES) as file:
            new = NewFile(target, file, stream)
            try:
                yield new
            except (OSError, RuntimeError, KeyError):
                new.check()  # after a failed write HDF5 may complain of what it reads back
                raise
        new.check()


def require_space(path: str | os.PathLike[str], n_bytes: int) -> None:
    """Raise `StorageError` where a file cannot grow by `n_bytes`, before HDF5 tries: see `_ShieldedStream`.

    The space is claimed and given back at once, so that HDF5 finds the file as long as it left it.
    """
    try:
        with open(path, "r+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(stream.fileno(), size, n_bytes)
                finally:
                    stream.truncate(size)
            elif shutil.disk_usage(path).free < n_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def open_readonly(
    path: str | os.PathLike[str],
    *,
    remedy: str = "import other formats with `sciten data import INPUT OUT.h5`",
) -> h5py.File:
    """Open an HDF5 file for reading; raises `DataError` where it is missing, foreign or truncated.

    `remedy` ends the sentence about a file that is no HDF5.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: no permission to read it")
    try:
        if not h5py.is_hdf5(path):
            raise DataError(f"{path}: not an HDF5 file; {remedy}")
        # No lock: files are replaced, never changed in place, and some network file systems cannot lock.
        return h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES, locking=False)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{path}: truncated or damaged HDF5 file; copy or import it again ({_brief(error)})"
        ) from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
