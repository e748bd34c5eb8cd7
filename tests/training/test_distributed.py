"""Two processes under torchrun train as one does, also where one of them has no sample of a batch."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sciten.training import OperatorConfig, TrainConfig, train
from sciten.training.run_config import RunConfig

# A thread of the group that outlives it may abort its process at the very end, though seldom: none may be left.
SCRIPT = """
import sys
from pathlib import Path
from sciten.training import read_config, train
train(read_config(sys.argv[1]), progress=False)
threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in name for name in threads), threads
"""


def test_two_gloo_processes_give_the_losses_of_one(config: Callable[..., TrainConfig]) -> None:
    settings = {
        "dtype": "float64",
        "valid_fraction": 0.25,
        "batch_size": 7,
        "epochs": 7,
        "valid_batch_size": 3,
    }
    one = config(**settings, output=config().output / "one")  # 15 frames: batches of 7, 7 and 1; 21 steps
    two = config(**settings, output=config().output / "two")
    compare(one, two)


def test_and_so_do_operators(operator_config: Callable[..., OperatorConfig]) -> None:
    settings: dict[str, Any] = {
        "dtype": "float64",
        "valid_fraction": 0.2,
        "batch_size": 6,
        "epochs": 4,
        "valid_batch_size": 2,
    }
    folder = operator_config().output
    one = operator_config(**settings, output=folder / "one")  # 13 samples: batches of 6, 6 and 1
    compare(one, operator_config(**settings, output=folder / "two"))


def compare(one: RunConfig, two: RunConfig) -> None:
    """Train `one` here and `two` in two processes, and hold their metrics against each other."""
    two.output.mkdir(parents=True)
    two.write(two.output / "given.yaml")
    script = two.output / "run.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    process = subprocess.Popen(
        [*command, str(script), str(two.output / "given.yaml")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    train(one, progress=False)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    ours, theirs = (
        [json.loads(line) for line in (run.output / "metrics.jsonl").read_text().splitlines()]
        for run in (one, two)
    )
    assert len(ours) == len(theirs) == one.epochs
    for a, b in zip(ours, theirs, strict=True):
        for key in a:
            if "seconds" not in key:
                assert b[key] == pytest.approx(a[key], rel=1e-5), key
    assert (two.output / "model" / "model.json").is_file()
