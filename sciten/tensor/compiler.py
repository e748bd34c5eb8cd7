"""Compiling C++ at run time, once for each machine: the result is kept on disk."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import cache, lru_cache
from pathlib import Path

from sciten.errors import SciTenError, StorageError

_FLAGS = (
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-shared",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-w",
)
#: In the order of preference; not every compiler knows OpenMP or the native target.
_OPTIONAL_FLAGS = (("-march=native", "-fopenmp"), ("-march=native",), ())
_PROBE = '#include <cmath>\nextern "C" double probe(double x) { return std::sqrt(x); }\n'


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether a C++ compiler is there and works; says once where none does."""
    try:
        load(_PROBE)
    except (SciTenError, OSError) as error:
        warnings.warn(
            f"sciten: {error}: in the place of its CPU kernels run plain torch operations, with the same results but "
            "slower",
            stacklevel=2,
        )
        return False
    return True


@lru_cache(maxsize=1)
def compiler() -> str | None:
    """Path of the C++ compiler: the variable CXX, or the first of c++, g++ and clang++ that is there; else None."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    return next((path for name in names if (path := shutil.which(name))), None)


def cache_folder() -> Path:
    """Where compiled kernels are kept: `$SCITEN_CACHE`, or `sciten` in the user's cache folder.

    Raises:
        StorageError: the user has no home folder.
    """
    if os.environ.get("SCITEN_CACHE"):
        return Path(os.environ["SCITEN_CACHE"])
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise StorageError(
            f"compiled kernels have no place: {error}; set SCITEN_CACHE to a folder that can be written to"
        ) from error
    return Path(base) / "sciten" / "kernels"


def load(source: str) -> ctypes.CDLL:
    """The library that `source` compiles to, from the cache where it is there.

    Raises:
        SciTenError: there is no compiler, or it fails; the message holds what it said.
        StorageError: the cache cannot be written.
    """
    program = compiler()
    if program is None:
        raise SciTenError(
            "no C++ compiler found: expected c++, g++ or clang++ on the PATH, or its path in CXX"
        )
    target = _compiled(program, source, _optional_flags(program))
    _share_openmp()
    return ctypes.CDLL(str(target))


def parallel() -> bool:
    """Whether compiled kernels use more than one thread: not every compiler knows OpenMP."""
    program = compiler()
    return program is not None and available() and "-fopenmp" in _optional_flags(program)


@cache
def _optional_flags(program: str) -> tuple[str, ...]:
    """The first of `_OPTIONAL_FLAGS` that the compiler takes: tried on a probe, so that a kernel is compiled once."""
    said = ""
    for flags in _OPTIONAL_FLAGS:
        try:
            _compiled(program, _PROBE, flags)
        except StorageError:
            raise
        except SciTenError as error:
            said = str(error)
        else:
            return flags
    raise SciTenError(said)


def _compiled(program: str, source: str, flags: tuple[str, ...]) -> Path:
    """The path of the library, compiled where it is not there."""
    # The usual flags go without saying.
    others = () if flags == _OPTIONAL_FLAGS[0] else flags
    content = "\0".join([source, program, _version(program), _machine(), *_FLAGS, *others])
    target = cache_folder() / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.so"
    if not target.exists():
        _compile(program, source, flags, target)
    return target


def _compile(program: str, source: str, flags: tuple[str, ...], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=target.parent)
    except OSError as error:
        raise StorageError(
            f"{target.parent}: compiled kernels cannot be kept there ({error.strerror or error}); set SCITEN_CACHE "
            "to a folder that can be written to"
        ) from error
    with temporary as folder:
        code = Path(folder) / "kernel.cpp"
        built = Path(folder) / "kernel.so"
        code.write_text(source, encoding="utf-8")
        command = [program, *_FLAGS, *flags, str(code), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip()[-2000:]
            raise SciTenError(f"the C++ compiler {program} failed on a kernel: {said}")
        os.replace(built, target)  # atomic: another process may be making the same kernel


@cache
def _version(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout


@lru_cache(maxsize=1)
def _machine() -> str:
    """What the native target depends on: a home folder may be shared between unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "") + platform.machine()


@lru_cache(maxsize=1)
def _share_openmp() -> None:
    """Make kernels use the OpenMP runtime that torch has loaded: two thread pools would fight for the cores."""
    if sys.platform != "linux":
        return
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if "libgomp" in path or "libiomp" in path:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
            return
