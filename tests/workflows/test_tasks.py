"""Tasks: computed once, kept when others fail, kept when the workflow is killed."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sciten.errors import StorageError
from workflows.tasks import TaskError, load_result, run_tasks


@dataclass(frozen=True)
class Power:
    base: float
    exponent: int
    log: str

    def called(self):
        return Path(self.log).read_text().splitlines() if Path(self.log).exists() else []


def power(task):
    if task.exponent < 0:
        raise ValueError(f"negative exponent {task.exponent}")
    with open(task.log, "a") as stream:
        stream.write(f"{task.exponent}\n")
    return {"value": np.array(task.base**task.exponent), "task": np.array([task.exponent])}


def run(tasks, folder, version="1"):
    with ThreadPoolExecutor(2) as executor:
        files = run_tasks(power, tasks, executor=executor, folder=folder, version=version, progress=False)
    return [load_result(file) for file in files]


def test_results_come_in_the_order_of_the_tasks(tmp_path):
    tasks = [Power(2.0, n, str(tmp_path / "log")) for n in (5, 1, 3, 0)]
    assert [float(result["value"]) for result in run(tasks, tmp_path / "work")] == [32.0, 2.0, 8.0, 1.0]


def test_a_second_run_computes_only_what_is_missing(tmp_path):
    log = str(tmp_path / "log")
    tasks = [Power(2.0, n, log) for n in range(3)]
    first = run(tasks, tmp_path / "work")
    assert sorted(tasks[0].called()) == ["0", "1", "2"]
    tasks.append(Power(2.0, 3, log))
    second = run(tasks, tmp_path / "work")
    assert sorted(tasks[0].called()) == ["0", "1", "2", "3"]
    assert [r["value"] for r in second] == [*(r["value"] for r in first), 8.0]


def test_a_changed_parameter_or_version_is_computed_anew(tmp_path):
    log = str(tmp_path / "log")
    run([Power(2.0, 4, log)], tmp_path / "work")
    (changed,) = run([Power(3.0, 4, log)], tmp_path / "work")
    assert changed["value"] == 81.0
    run([Power(3.0, 4, log)], tmp_path / "work", version="2")
    assert len(Power(2.0, 4, log).called()) == 3


def test_a_truncated_result_is_computed_anew(tmp_path):
    task = Power(2.0, 4, str(tmp_path / "log"))
    run([task], tmp_path / "work")
    (file,) = (tmp_path / "work").iterdir()
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert run([task], tmp_path / "work")[0]["value"] == 16.0
    assert len(task.called()) == 2


def test_a_result_damaged_within_is_computed_anew(tmp_path):
    task = Power(2.0, 4, str(tmp_path / "log"))
    run([task], tmp_path / "work")
    (file,) = (tmp_path / "work").iterdir()
    content = bytearray(file.read_bytes())
    place = content.index(np.float64(16.0).tobytes())
    content[place : place + 4] = b"????"
    file.write_bytes(content)
    assert run([task], tmp_path / "work")[0]["value"] == 16.0
    assert len(task.called()) == 2


def test_a_failure_names_its_task_and_the_others_are_kept(tmp_path):
    log = str(tmp_path / "log")
    with pytest.raises(
        TaskError, match=r"ValueError: negative.* \(task 2 of 4: .*exponent=-1.*; 1 more failed\)"
    ):
        run([Power(2.0, n, log) for n in (1, -1, 2, -2)], tmp_path / "work")
    assert len(list((tmp_path / "work").glob("*.npz"))) == 2


KILLED = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from workflows.executors import process_executor
from workflows.tasks import run_tasks

@dataclass(frozen=True)
class Sleep:
    number: int

def sleep(task):
    time.sleep(0.0 if task.number < 2 else 600.0)
    return {"number": np.array(task.number)}

if __name__ == "__main__":
    executor = process_executor(2)
    executor.submit(int).result()
    for process in executor._processes.values():
        print(process.pid, flush=True)
    print("ready", flush=True)
    run_tasks(sleep, [Sleep(i) for i in range(4)], executor=executor, folder=Path(sys.argv[1]), version="1")
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_killed_outright_it_leaves_whole_results_and_no_workers(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    work = tmp_path / "work"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, str(script), str(work)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        workers = [int(line) for line in iter(process.stdout.readline, "ready\n")]
        deadline = time.monotonic() + 60
        while len(list(work.glob("*.npz"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert workers
    for file in work.glob("*.npz"):
        with np.load(file) as content:
            assert content["number"] in (0, 1)
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)
    assert len(list(work.glob("*.npz"))) == 2


def test_a_result_that_cannot_be_stored_is_no_failed_task(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        run([Power(2.0, 1, str(tmp_path / "log"))], tmp_path / "file" / "work")
