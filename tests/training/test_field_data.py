from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sciten.errors import ConfigError, DataError
from sciten.neural_operators.files import Roles
from sciten.training import OperatorConfig
from sciten.training.field_data import FieldSamples, open_dataset, open_fields, open_for, trajectories
from tests.training.fields import evolution, operator_config, static, write_evolution, write_static  # noqa: F401

Make = Callable[..., OperatorConfig]


def test_batches_do_not_depend_on_the_cache(operator_config: Make) -> None:  # noqa: F811
    config = operator_config()
    dataset = open_dataset(config, config.train_file)
    kept, read = FieldSamples(dataset, [3, 5, 8], 1), FieldSamples(dataset, [3, 5, 8], 0)
    assert (kept.in_memory, read.in_memory) == (True, False)
    for positions in ([2, 0], [1]):
        ours, theirs = kept.batch(positions), read.batch(positions)
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.targets, theirs.targets)
    assert torch.equal(kept.batch([1]).inputs[0], dataset[5].inputs)


def test_trajectories_are_set_aside_as_a_whole(operator_config: Make, evolution: Path) -> None:  # noqa: F811
    config = operator_config(train_file=evolution, inputs="u", targets="u", valid_fraction=0.34)
    data = open_fields(config)
    owners = trajectories(data.train.dataset)
    ours, theirs = set(owners[data.train.indices]), set(owners[data.valid.indices])
    assert not ours & theirs
    assert (len(ours), len(theirs)) == (4, 2)
    assert len(data.train) == 4 * 6  # six windows of two frames among seven


def test_a_validation_file_is_taken_whole(operator_config: Make, tmp_path: Path) -> None:  # noqa: F811
    other = write_static(tmp_path / "other.h5", 3, seed=1)
    data = open_fields(operator_config(valid_file=other))
    assert (len(data.train), len(data.valid)) == (16, 3)
    assert open_fields(operator_config(valid_fraction=0)).valid is None


def test_nothing_left_to_train_on_is_said(operator_config: Make, tmp_path: Path) -> None:  # noqa: F811
    single = write_static(tmp_path / "single.h5", 1)
    with pytest.raises(
        DataError, match=r"single\.h5: its 1 trajectories leave none to train on; give a valid_file"
    ):
        open_fields(operator_config(train_file=single))


def test_an_operators_time_step_chooses_the_stride(evolution: Path, tmp_path: Path) -> None:  # noqa: F811
    fast = open_for(Roles(("u",), ("u",), time_step=0.1), evolution)
    slow = open_for(Roles(("u",), ("u",), time_step=0.3), evolution, dtype=torch.float64)
    assert (fast.stride, slow.stride) == (1, 3)
    np.testing.assert_array_equal(slow[0].targets[0], fast[2].targets[0])
    with pytest.raises(DataError, match=r"time step of 0\.25 is a multiple of, got steps of 0\.1"):
        open_for(Roles(("u",), ("u",), time_step=0.25), evolution)
    with pytest.raises(ConfigError, match="no field 'w'"):
        open_for(Roles(("w",), ("u",)), evolution)
