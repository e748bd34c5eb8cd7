"""Writing files so that a crash, a kill or a full disk never leaves half of one behind."""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sciten.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it replaces `target`, on failure it vanishes.

    The file is flushed to disk before the rename, so that after a power cut the old or the new content
    stands there, never a mixture. Raises `StorageError` where the disk is full or the folder not writable.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        os.close(handle)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        _publish(temporary, target)
    except OSError as error:
        if isinstance(error, StorageError) or error.errno is None:
            raise
        raise StorageError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, target: Path) -> None:
    with open(temporary, "rb") as stream:
        os.fsync(stream.fileno())
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; users expect the usual permissions
    os.replace(temporary, target)


def write_bytes(target: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: str | os.PathLike[str], content: str) -> None:
    """Write `content` to `target` atomically, as UTF-8."""
    write_bytes(target, content.encode())


def write_tensors(
    target: str | os.PathLike[str], tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]
) -> str:
    """Write tensors and metadata to a safetensors file atomically; returns its SHA-256, in hexadecimal."""
    with atomic_path(target) as temporary:
        return save_tensors(temporary, tensors, metadata)


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> str:
    """As `write_tensors`, to a path that `atomic_path` gave."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    own = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(own, path, metadata=dict(metadata))
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(errno.EIO, str(error)) from error
    return sha256(path)


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Let no other process enter the same folder meanwhile.

    The folder is made where it is not there, and keeps an empty file `.lock`. The lock is the system's and ends with
    the process; on Windows, and on file systems without locks, there is none.

    Raises:
        ConfigError: another process is in it.
        StorageError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(folder / ".lock", "ab")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    with stream:
        # Without the library filelock, whose lock files would outlive a kill on file systems without locks.
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (ImportError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.EACCES):
                raise ConfigError(
                    f"{folder}: another run is writing to this folder; wait for its end, or choose another output"
                ) from error
        yield


def remove_left_behind(folder: Path) -> None:
    """Remove the temporary files that a killed `atomic_path` left directly in `folder`."""
    for temporary in folder.glob(".*.????????.tmp"):
        temporary.unlink(missing_ok=True)


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
