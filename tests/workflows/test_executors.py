"""The executors: the same results from each, failures handed on, one thread for each worker."""

import os
import time

import numpy as np
import pytest

from sciten.errors import ConfigError
from workflows.executors import ExecutorKind, SubmititExecutor, open_executor

NO_SUBMITIT = "submitit is not installed; pip install 'sciten[slurm]'"

# SLURM's programs, as far as submitit calls them: sbatch starts the script here, srun runs its command.
SBATCH = """#!/bin/sh
export SLURM_JOB_ID=$$ SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1
nohup sh "$1" > /dev/null 2>&1 &
echo "Submitted batch job $$"
"""
SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do
  case "$1" in --unbuffered) shift ;; *) shift 2 ;; esac
done
exec "$@"
"""
SACCT = """#!/bin/sh
echo "JobID|State|NodeList"
"""


@pytest.fixture
def stub_slurm(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason=NO_SUBMITIT)
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, script in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def local_submitit(tmp_path):
    pytest.importorskip("submitit", reason=NO_SUBMITIT)
    with SubmititExecutor(tmp_path / "jobs", cluster="local", poll_seconds=0.05) as executor:
        yield executor


def test_process_workers_use_one_thread_and_the_environment_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with open_executor(ExecutorKind.PROCESS, workers=1, folder=tmp_path) as executor:
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        assert executor.submit(os.getpid).result() != os.getpid()
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_an_error_drops_the_tasks_not_yet_begun(tmp_path):
    with (
        pytest.raises(RuntimeError, match="changed my mind"),
        open_executor(ExecutorKind.PROCESS, workers=1, folder=tmp_path) as executor,
    ):
        futures = [executor.submit(np.linalg.norm, [3.0, 4.0]) for _ in range(50)]
        assert futures[0].result() == 5.0
        raise RuntimeError("changed my mind")
    assert any(future.cancelled() for future in futures)


def test_submitit_gives_results_and_exceptions(local_submitit):
    good = [local_submitit.submit(pow, 2, n) for n in (3, 5)]
    bad = local_submitit.submit(divmod, 1, 0)
    assert [future.result(timeout=60) for future in good] == [8, 32]
    with pytest.raises(Exception, match="ZeroDivisionError"):
        bad.result(timeout=60)


def test_submitit_jobs_can_be_cancelled(local_submitit):
    future = local_submitit.submit(time.sleep, 600)
    job = local_submitit._pending[0][0]
    local_submitit.shutdown(cancel_futures=True)
    assert future.cancelled()
    deadline = time.monotonic() + 30
    while not job.done(force_check=True) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert job.done(force_check=True)
    with pytest.raises(RuntimeError, match="shut down"):
        local_submitit.submit(pow, 2, 2)


@pytest.mark.usefixtures("stub_slurm")
def test_slurm_gets_one_job_for_each_task_with_the_given_options(tmp_path):
    options = ["partition=cpu", "time=90"]
    with open_executor(ExecutorKind.SLURM, workers=1, folder=tmp_path, slurm_options=options) as executor:
        futures = [executor.submit(pow, 2, n) for n in (3, 5)]
        assert [future.result(timeout=60) for future in futures] == [8, 32]
    scripts = list((tmp_path / "submitit").glob("*_submission.sh"))
    assert len(scripts) == 2
    for line in ("#SBATCH --partition=cpu", "#SBATCH --time=90", "#SBATCH --cpus-per-task=1"):
        assert line in scripts[0].read_text().splitlines()


@pytest.mark.usefixtures("stub_slurm")
@pytest.mark.parametrize(
    ("kind", "workers", "options", "message"),
    [
        (ExecutorKind.PROCESS, 0, [], "workers: expected a positive number, got 0"),
        (ExecutorKind.PROCESS, 1, ["partition=cpu"], "mean nothing to the executor process"),
        (ExecutorKind.SLURM, 1, ["cpu"], "'cpu': expected KEY=VALUE"),
        (ExecutorKind.SLURM, 1, ["colour=red"], "colour"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, kind, workers, options, message):
    with (
        pytest.raises(ConfigError, match=message),
        open_executor(kind, workers=workers, folder=tmp_path, slurm_options=options),
    ):
        pass


def test_without_slurm_it_says_so(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason=NO_SUBMITIT)
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ConfigError, match="cannot submit to slurm"),
        open_executor(ExecutorKind.SLURM, workers=1, folder=tmp_path),
    ):
        pass
