import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sciten.errors import ConfigError, ModelError
from sciten.model_files import format_name
from sciten.neural_operators.files import Roles, load_operator, load_roles, save_operator
from sciten.potentials import load_potential
from tests.operators import TOYS, ToyOperator


def made(dtype: torch.dtype = torch.float64) -> ToyOperator:
    return ToyOperator(2, 1, input_scale=[(0.1, 2.0), (-1 / 3, 0.7)], output_scale=[(1.5, 3.0)], dtype=dtype)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_operator(made(), tmp_path / "model", provenance={"made by": "a test"}, classes=TOYS)
    return tmp_path / "model"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_is_exact(dtype: torch.dtype, tmp_path: Path) -> None:
    model = made(dtype)
    model.input_mean += 0.1  # no float32 number
    save_operator(model, tmp_path, classes=TOYS)
    found = load_operator(tmp_path, classes=TOYS)
    fields = torch.randn(3, 2, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert (found.dtype, found.training) == (dtype, False)
    assert torch.equal(found(fields), model(fields))
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_a_training_folder_holds_its_model_and_dtype_changes_on_request(folder: Path) -> None:
    assert load_operator(folder.parent, classes=TOYS).arguments() == made().arguments()
    assert load_operator(folder, dtype=torch.float32, classes=TOYS).dtype == torch.float32


def test_only_listed_classes_are_saved_and_built(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"save_operator: expected one of .*got ToyOperator"):
        save_operator(made(), folder)
    with pytest.raises(ModelError, match=r"expected class .*got 'ToyOperator'"):
        load_operator(folder)


def test_a_changed_argument_is_noticed(folder: Path) -> None:
    document = json.loads((folder / "model.json").read_text())
    document["arguments"]["input_scale"][0][0] = 0.2
    (folder / "model.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="hash mismatch"):
        load_operator(folder, classes=TOYS)


def test_the_format_tells_families_apart(folder: Path, tmp_path: Path) -> None:
    assert format_name(folder) == format_name(folder.parent) == "sciten-operator"
    with pytest.raises(ModelError, match="expected a file of format 'sciten-potential'"):
        load_potential(folder)
    with pytest.raises(ModelError, match="found none"):
        format_name(tmp_path / "nowhere")


def test_pickles_and_impossible_requests_are_refused(folder: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="pickled model, which sciten never loads"):
        load_operator(tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"load_operator: expected dtype .*got torch\.float16"):
        load_operator(folder, dtype=torch.float16)
    with pytest.raises(ConfigError, match="'gpu'"):
        load_operator(folder, device="gpu")


def test_a_precision_that_does_not_load_is_not_saved_in_the_place_of_one_that_does(folder: Path) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(ModelError, match=rf"save_operator: expected a model in float32 .*, got {dtype}"):
            save_operator(made().to(dtype), folder, classes=TOYS)
    assert load_operator(folder, classes=TOYS).dtype == torch.float64


def test_scales_in_whole_numbers_are_real_numbers() -> None:
    whole, real = (ToyOperator(1, 1, input_scale=[pair]) for pair in ((3, 2), (3.0, 2.0)))
    assert whole.dtype == torch.float32
    fields = torch.full((1, 1, 4), 0.7)
    assert torch.equal(whole(fields), real(fields))


@pytest.mark.parametrize(
    "roles",
    [
        Roles(("a", "b"), ("u",)),
        Roles(("u",), ("u",), 2, 3, 0.5, periodic=(True, False), lengths=(1.0, 2.5)),
    ],
)
def test_roles_come_back(roles: Roles, tmp_path: Path) -> None:
    save_operator(made(), tmp_path, roles=roles, classes=TOYS)
    assert load_roles(tmp_path) == roles
    document = json.loads((tmp_path / "model.json").read_text())
    for name in ("periodic", "lengths"):  # which files of earlier versions lack
        del document["roles"][name]
    (tmp_path / "model.json").write_text(json.dumps(document))
    assert load_roles(tmp_path) == replace(roles, periodic=None, lengths=None)


@pytest.mark.parametrize("damage", [{"inputs": ["a"]}, {"inputs": 1, "targets": ["u"]}, {"lenghts": [1]}, []])
def test_damaged_roles_are_said(damage: object, folder: Path) -> None:
    document = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(document | {"roles": damage}))
    with pytest.raises(ModelError, match=r"the entry 'roles' is damaged .*restore the file"):
        load_roles(folder)
