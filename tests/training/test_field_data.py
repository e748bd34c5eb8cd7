import threading
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sciten.datasets import Axis, Field, FieldBatch, FieldWriter
from sciten.errors import ConfigError, DataError
from sciten.neural_operators.files import Roles
from sciten.training import OperatorConfig
from sciten.training.field_data import FieldSamples, open_dataset, open_fields, open_for, trajectories
from tests.training.fields import write_static

Make = Callable[..., OperatorConfig]


def test_batches_do_not_depend_on_the_cache(operator_config: Make) -> None:
    config = operator_config()
    dataset = open_dataset(config, config.train_file)
    kept, read = FieldSamples(dataset, [3, 5, 8], 1), FieldSamples(dataset, [3, 5, 8], 0)
    assert (kept.in_memory, read.in_memory) == (True, False)
    for positions in ([2, 0], [1]):
        ours, theirs = kept.batch(positions), read.batch(positions)
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.targets, theirs.targets)
    assert torch.equal(kept.batch([1]).inputs[0], dataset[5].inputs)


def test_what_does_not_fit_is_read_ahead_in_order_and_no_further(operator_config: Make) -> None:
    config = operator_config()
    dataset, order = open_dataset(config, config.train_file), [[3, 1], [0], [2, 3], [1], [1, 0], [2]]
    samples, asked, third = FieldSamples(dataset, [3, 5, 8, 2], 0), [], threading.Event()
    original = samples.batch

    def batch(positions: list[int]) -> FieldBatch:
        asked.append(positions)
        if len(asked) == 3:
            third.set()
        return original(positions)

    samples.batch = batch
    batches = samples.batches(order)
    assert not asked
    first = next(batches)
    assert third.wait(10)  # nobody asks for it
    assert asked == order[:3]
    assert torch.equal(first.inputs, original(order[0]).inputs)
    for positions, found in zip(order[1:], batches, strict=True):
        assert torch.equal(found.inputs, original(positions).inputs)
    assert asked == order
    assert not any(thread.name.startswith("samples") for thread in threading.enumerate())


def test_reading_ahead_ends_with_the_batches_and_tells_what_failed(operator_config: Make) -> None:
    config = operator_config()
    dataset = open_dataset(config, config.train_file)
    samples, threads = FieldSamples(dataset, [3, 5, 8], 0), threading.active_count()
    with closing(samples.batches([[0]] * 50)) as batches:
        next(batches)
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    with pytest.raises(IndexError, match="index 7"):
        list(samples.batches([[0], [7], [1]]))
    assert threading.active_count() == threads
    assert list(samples.batches([])) == []


def test_samples_that_do_not_fit_are_said_with_what_they_need(operator_config: Make, static: Path) -> None:
    """16 samples of 2 · 24 numbers in float32 need 3 KiB: 14 to train on, 2 to validate on."""
    sample = 2 * 24 * 4 / 2**20
    for samples, kept in ((16, (True, True)), (15, (True, False)), (13, (False, True)), (1, (False, False))):
        config = operator_config(cache_megabytes=samples * sample)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            data = open_fields(config)
        assert (data.train.in_memory, data.valid.in_memory) == kept
        assert len(said) == (0 if all(kept) else 1)
        if not data.train.in_memory:
            assert f"14 samples of {static}" in str(said[0].message)
            assert "with cache_megabytes=1 all" in str(said[0].message)


def test_trajectories_are_set_aside_as_a_whole(operator_config: Make, evolution: Path) -> None:
    config = operator_config(train_file=evolution, inputs="u", targets="u", valid_fraction=0.34)
    data = open_fields(config)
    owners = trajectories(data.train.dataset)
    ours, theirs = set(owners[data.train.indices]), set(owners[data.valid.indices])
    assert not ours & theirs
    assert (len(ours), len(theirs)) == (4, 2)
    assert len(data.train) == 4 * 6  # six windows of two frames among seven


def test_a_validation_file_is_taken_whole(operator_config: Make, tmp_path: Path) -> None:
    other = write_static(tmp_path / "other.h5", 3, seed=1)
    data = open_fields(operator_config(valid_file=other))
    assert (len(data.train), len(data.valid)) == (16, 3)
    assert open_fields(operator_config(valid_fraction=0)).valid is None


def test_nothing_left_to_train_on_is_said(operator_config: Make, tmp_path: Path) -> None:
    single = write_static(tmp_path / "single.h5", 1)
    with pytest.raises(
        DataError, match=r"single\.h5: its 1 trajectories leave none to train on; give a valid_file"
    ):
        open_fields(operator_config(train_file=single))


def test_an_operators_time_step_chooses_the_stride(evolution: Path, tmp_path: Path) -> None:
    fast = open_for(Roles(("u",), ("u",), time_step=0.1), evolution)
    slow = open_for(Roles(("u",), ("u",), time_step=0.3), evolution, dtype=torch.float64)
    assert (fast.stride, slow.stride) == (1, 3)
    np.testing.assert_array_equal(slow[0].targets[0], fast[2].targets[0])
    with pytest.raises(DataError, match=r"time step of 0\.25 is a multiple of, got steps of 0\.1"):
        open_for(Roles(("u",), ("u",), time_step=0.25), evolution)
    with pytest.raises(ConfigError, match="no field 'w'"):
        open_for(Roles(("w",), ("u",)), evolution)


def test_points_must_be_equally_spaced(operator_config: Make, tmp_path: Path) -> None:
    fields = [Field("before", time_varying=False), Field("after", time_varying=False)]
    axis = Axis("x", np.linspace(0, 1, 8) ** 2)
    with FieldWriter(tmp_path / "uneven.h5", name="uneven", axes=[axis], fields=fields) as writer:
        writer.append({"before": np.arange(8.0), "after": np.ones(8)})
    config = operator_config()
    with pytest.raises(ConfigError, match=r"uneven\.h5: Axis 'x': expected equally spaced points"):
        open_dataset(config, tmp_path / "uneven.h5")
    with pytest.raises(ConfigError, match=r"uneven\.h5: Axis 'x': expected equally spaced points"):
        open_for(Roles(("before",), ("after",)), tmp_path / "uneven.h5")


def test_validation_is_on_the_same_domain_but_on_any_grid(operator_config: Make, tmp_path: Path) -> None:
    fine = write_static(tmp_path / "fine.h5", 3, n=48)
    assert open_fields(operator_config(valid_file=fine)).valid.batch([0]).inputs.shape == (1, 1, 48)
    fields = [Field("before", time_varying=False), Field("after", time_varying=False)]
    for name, axis in {"long": Axis.periodic("x", 24, 2.0), "walls": Axis.bounded("x", 24)}.items():
        path = tmp_path / f"{name}.h5"
        with FieldWriter(path, name=name, axes=[axis], fields=fields) as writer:
            writer.append({"before": np.arange(24.0), "after": np.ones(24)})
        with pytest.raises(
            DataError, match=rf"{name}\.h5: expected the axes of .*length 1 \(periodic\), got x of"
        ):
            open_fields(operator_config(valid_file=path))
        known = Roles(("before",), ("after",), periodic=(True,), lengths=(1.0,))
        with pytest.raises(
            DataError,
            match=rf"{name}\.h5: .*axes that the operator was trained on, x of length 1 .*evaluate on",
        ):
            open_for(known, path)
        assert len(open_for(replace(known, periodic=None, lengths=None), path)) == 1  # of an older model


def test_an_axis_that_ends_a_spacing_earlier_is_the_same_domain(tmp_path: Path) -> None:
    """Centres of 10 and of 40 cells of an interval."""
    fields = [Field("before", time_varying=False), Field("after", time_varying=False)]
    for n in (10, 40):
        axis = Axis("x", (np.arange(n) + 0.5) / n)
        with FieldWriter(tmp_path / f"{n}.h5", name="cells", axes=[axis], fields=fields) as writer:
            writer.append({"before": np.arange(float(n)), "after": np.ones(n)})
    roles = Roles(("before",), ("after",), periodic=(False,), lengths=(0.9,))
    assert open_for(roles, tmp_path / "40.h5").grid.shape == (40,)
    assert open_for(roles, tmp_path / "10.h5").grid.shape == (10,)
    with pytest.raises(DataError, match=r"x of length 0\.7 .*got x of length 0\.9"):
        open_for(replace(roles, lengths=(0.7,)), tmp_path / "10.h5")


def test_the_axes_of_an_operator_are_counted(static: Path) -> None:
    flat = Roles(("before",), ("after",), periodic=(True, False), lengths=(1.0, 2.0))
    with pytest.raises(
        DataError, match=r"axis 1 of length 1 \(periodic\), axis 2 of length 2 \(bounded\), got x of"
    ):
        open_for(flat, static)
