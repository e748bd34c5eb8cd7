"""Kernels are compiled once, with what the compiler knows, or the reason is said."""

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sciten.errors import SciTenError, StorageError
from sciten.tensor import compiler

REAL = compiler.compiler()
SOURCE = 'extern "C" long twice(long x) { return 2 * x; }'


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own, and nothing known of compilers, before and after."""
    monkeypatch.setenv("SCITEN_CACHE", str(tmp_path / "cache"))
    yield from cleared()


def cleared() -> Iterator[None]:
    kept = (compiler.compiler, compiler.available, compiler._optional_flags)
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()


def use(path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a shell script the compiler."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(path))


@pytest.mark.skipif(REAL is None, reason="no C++ compiler")
def test_a_kernel_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiler.load(SOURCE).twice(21) == 42
    monkeypatch.setattr(compiler, "_compile", lambda *_: pytest.fail("compiled again"))
    assert compiler.load(SOURCE).twice(4) == 8


@pytest.mark.skipif(REAL is None or shutil.which("sh") is None, reason="no C++ compiler")
def test_flags_that_a_compiler_does_not_know_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    use(
        tmp_path / "plain",
        f'echo "$@" >> {log}\ncase "$*" in *-fopenmp*) echo no such flag >&2; exit 1;; esac\nexec {REAL} "$@"',
        monkeypatch,
    )
    assert compiler.load(SOURCE).twice(21) == 42
    assert not compiler.parallel()
    calls = [line for line in log.read_text().splitlines() if "--version" not in line]
    assert ["-fopenmp" in line for line in calls] == [
        True,
        False,
        False,
    ]  # a probe of each kind, and the kernel
    assert all("-march=native" in line for line in calls)


def test_what_a_failing_compiler_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path / "broken", "echo out of disk space >&2; exit 1", monkeypatch)
    with pytest.raises(SciTenError, match="broken failed on a kernel: out of disk space"):
        compiler.load(SOURCE)
    with pytest.warns(UserWarning, match="out of disk space.* plain torch operations"):
        assert not compiler.available()
    assert not compiler.parallel()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path / "any", "exit 0", monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCITEN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match="set SCITEN_CACHE to a folder"):
        compiler.load(SOURCE)


def test_no_home_is_no_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCITEN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", staticmethod(nowhere))
    with pytest.raises(StorageError, match=r"Could not determine home directory.*SCITEN_CACHE"):
        compiler.cache_folder()
