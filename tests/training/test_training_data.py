from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sciten.datasets import AtomsDataset, Structure, write_structures
from sciten.errors import ConfigError, DataError
from sciten.training import Loss, TrainConfig
from sciten.training.data import Frames, open_data, require_elements, split
from tests.training.conftest import dimer, isolated_atoms, labelled, methane

Make = Callable[..., TrainConfig]


@pytest.fixture
def with_missing_forces(tmp_path: Path) -> Path:
    """Frames 0 to 7; 2 and 5 have no forces."""
    rng = np.random.default_rng(0)
    frames: Sequence[Structure] = labelled([make(rng) for _ in range(4) for make in (dimer, methane)])
    frames = [replace(frame, forces=None) if i in (2, 5) else frame for i, frame in enumerate(frames)]
    write_structures(tmp_path / "partial.h5", [*frames, *isolated_atoms()])
    return tmp_path / "partial.h5"


def test_split_is_disjoint_complete_and_a_function_of_its_seed() -> None:
    frames = np.arange(5, 55)
    chosen, aside = split(frames, 0.1, 0)
    assert len(aside) == 5
    assert sorted([*chosen, *aside]) == frames.tolist()
    assert np.array_equal(aside, split(frames, 0.1, 0)[1])
    assert not np.array_equal(aside, split(frames, 0.1, 1)[1])
    assert len(split(frames, 0.0, 0)[1]) == 0


def test_isolated_atoms_are_left_out_unless_asked_for(config: Make) -> None:
    assert len(open_data(config(valid_fraction=0), 3.0).train) == 20
    assert len(open_data(config(valid_fraction=0, train_isolated_atoms=True), 3.0).train) == 22


def test_missing_label_names_file_frame_key_and_remedy(config: Make, with_missing_forces: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_data(config(train_file=with_missing_forces, valid_fraction=0), 3.0)
    message = str(caught.value)
    for part in (
        str(with_missing_forces),
        "'forces'",
        "frame 2 and 1 more of 8",
        "allow_missing=true",
        "loss.forces=0",
    ):
        assert part in message


def test_missing_label_is_allowed_where_asked_for_or_not_weighted(
    config: Make, with_missing_forces: Path
) -> None:
    open_data(config(train_file=with_missing_forces, valid_fraction=0, allow_missing=True), 3.0)
    open_data(config(train_file=with_missing_forces, valid_fraction=0, loss=Loss(forces=0)), 3.0)


def test_label_that_no_frame_has_is_refused_even_where_missing_is_allowed(config: Make) -> None:
    with pytest.raises(DataError, match=r"'stress'.*none of its .* frames has it.*loss.stress=0"):
        open_data(config(allow_missing=True, loss=Loss(stress=1)), 3.0)


def test_label_of_the_second_stage_counts_too(config: Make) -> None:
    with pytest.raises(DataError, match="'stress'"):
        open_data(config(second_stage={"start": 2, "stress": 1.0}), 3.0)


def test_the_validation_file_is_checked_as_well(config: Make, with_missing_forces: Path) -> None:
    with pytest.raises(DataError, match=r"partial\.h5.*frame 2"):
        open_data(config(valid_file=with_missing_forces), 3.0)


def test_a_validation_file_without_any_label_is_refused(config: Make, tmp_path: Path) -> None:
    frames = [Structure(np.eye(3)[:2], np.array([1, 6]))] * 3
    write_structures(tmp_path / "bare.h5", frames)
    with pytest.raises(DataError, match=r"bare\.h5: none of the 3 chosen frames has energy or forces"):
        open_data(config(valid_file=tmp_path / "bare.h5", allow_missing=True), 3.0)


def test_frames_of_weight_zero_alone_are_refused(config: Make) -> None:
    types = dict.fromkeys(set(AtomsDataset(config().train_file).config_types), 0.0)
    with pytest.raises(DataError, match="and a configuration type of weight above 0"):
        open_data(config(loss=Loss(config_type_weights=types)), 3.0)


def test_misspelt_configuration_type_names_the_nearest(config: Make) -> None:
    with pytest.raises(ConfigError, match="'metane', did you mean 'methane'"):
        open_data(config(loss=Loss(config_type_weights={"metane": 2})), 3.0)


def test_unknown_element_names_the_frame(config: Make) -> None:
    data = open_data(config(valid_fraction=0), 3.0)
    with pytest.raises(DataError, match=r"molecules\.h5: frame 0 has C, but the model knows only H"):
        require_elements(data.train, [1])


def test_only_isolated_atoms_is_refused(config: Make, tmp_path: Path) -> None:
    write_structures(tmp_path / "atoms.h5", isolated_atoms())
    with pytest.raises(DataError, match=r"atoms\.h5: expected frames to train on"):
        open_data(config(train_file=tmp_path / "atoms.h5"), 3.0)


def test_batches_do_not_depend_on_the_cache(config: Make) -> None:
    dataset = open_data(config(), 3.0).train.dataset
    plenty, little = Frames(dataset, range(6), 3.0, 100), Frames(dataset, range(6), 3.0, 0.001)
    for _ in range(2):
        one, other = plenty.batch([4, 0, 3]), little.batch([4, 0, 3])
        assert torch.equal(one.positions, other.positions)
        assert torch.equal(one.senders, other.senders)
        assert torch.equal(one.forces, other.forces)
    assert 0 < len(little._cache) < len(plenty._cache) == 3
