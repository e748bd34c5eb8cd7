import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sciten.errors import ConfigError, StorageError
from sciten.files import alone_in, atomic_path, remove_left_behind, sha256, write_tensors, write_text


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_permissions_are_the_usual_ones(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == plain.stat().st_mode


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/inside.txt: cannot be written"):
        write_text(tmp_path / "file" / "inside.txt", "")


def test_tensors_come_back_with_the_hash_of_the_file(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(1, dtype=torch.int64)}
    digest = write_tensors(tmp_path / "t.safetensors", tensors, {"key": "value"})
    assert digest == sha256(tmp_path / "t.safetensors")
    found = load_file(tmp_path / "t.safetensors")
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_a_full_disk_is_a_storage_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk: the write fails midway."""
    target = tmp_path / "t.safetensors"
    write_tensors(target, {"a": torch.zeros(3)}, {})
    before = target.read_bytes()
    program = f"""
import resource, signal, torch
from sciten.errors import StorageError
from sciten.files import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, {resource.RLIM_INFINITY}))
try:
    write_tensors({str(target)!r}, {{"a": torch.zeros(100000)}}, {{}})
except StorageError as error:
    print("refused", error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"refused {target}: cannot be written")
    assert target.read_bytes() == before and os.listdir(tmp_path) == ["t.safetensors"]


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "run").mkdir()
    others = [tmp_path / name for name in (".cache.tmp", "a.tmp", "run/.model.json.abcdefgh.tmp")]
    for path in [*others, tmp_path / ".model.json.abcd_fgh.tmp"]:
        path.write_text("")
    remove_left_behind(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(others)


def test_one_process_at_a_time_is_alone_in_a_folder(tmp_path: Path) -> None:
    inner = tmp_path / "new" / "folder"
    other = f"from sciten.files import alone_in\nwith alone_in({str(inner)!r}): print('in')"
    with alone_in(inner):
        with pytest.raises(ConfigError, match="another run is writing to this folder"), alone_in(inner):
            pass
        found = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True)
        assert found.returncode == 1 and "another run is writing" in found.stderr and not found.stdout
    assert subprocess.run([sys.executable, "-c", other], capture_output=True, text=True).stdout == "in\n"


def test_a_killed_process_keeps_nobody_out_of_a_folder(tmp_path: Path) -> None:
    script = (
        "import os, signal\nfrom sciten.files import alone_in\n"
        f"with alone_in({str(tmp_path)!r}): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    with alone_in(tmp_path):
        assert (tmp_path / ".lock").is_file()
