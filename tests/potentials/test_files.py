import json
import pickle
from pathlib import Path

import pytest
import torch
from ase.build import molecule

from sciten.errors import ConfigError, ModelError, StorageError
from sciten.potentials import POTENTIALS, Potential, load_potential, save_potential
from tests.potentials.models import small


def made(kind: str = "MACE", seed: int = 0) -> Potential:
    return small(kind, isolated_atom_energies=[-13.6, -432.1], seed=seed, dtype=torch.float64)


@pytest.fixture(params=list(POTENTIALS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(kind: str, tmp_path: Path) -> Path:
    save_potential(made(kind), tmp_path / "model", provenance={"made by": "a test"})
    return tmp_path / "model"


def test_round_trip_is_exact(folder: Path, kind: str) -> None:
    expected = made(kind).evaluate([molecule("H2O")])[0]
    found = load_potential(folder).evaluate([molecule("H2O")])[0]
    assert found["energy"] == expected["energy"]
    assert (found["forces"] == expected["forces"]).all()


def test_a_training_folder_holds_its_model(folder: Path) -> None:
    assert load_potential(folder.parent).elements == (1, 8)


def test_dtype_is_kept_or_changed_on_request(folder: Path) -> None:
    assert load_potential(folder).dtype == torch.float64
    single = load_potential(folder, dtype=torch.float32)
    assert single.dtype == torch.float32
    assert single.isolated_atom_energies.dtype == torch.float64
    assert single.isolated_atom_energies.tolist() == [-13.6, -432.1]


def test_loaded_weights_are_fixed(folder: Path) -> None:
    assert not any(p.requires_grad for p in load_potential(folder).parameters())


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_flipped_byte_is_noticed_wherever_it_is(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    start, stop = 0, len(content)
    if name == "model.json":  # what stands behind the arguments is a remark, not the model
        stop = content.index(b'"units"')
    for position in range(start, stop, max(1, (stop - start) // 60)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(bytes(damaged))
        if name == "model.json" and _same_json(content, bytes(damaged)):
            continue
        with pytest.raises(ModelError, match=str(folder)):
            load_potential(folder)


def _same_json(a: bytes, b: bytes) -> bool:
    try:
        return json.loads(a) == json.loads(b)
    except ValueError:
        return False


def test_a_truncated_file_is_noticed(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelError, match="damaged"):
        load_potential(folder)


def test_pickled_models_are_refused_unopened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("it was unpickled",))

    raw = tmp_path / "old.model"
    raw.write_bytes(pickle.dumps(Trap()))
    zipped = tmp_path / "weights"
    torch.save({"a": torch.ones(1)}, zipped)
    for path in (raw, zipped):
        with pytest.raises(ModelError, match=r"pickled model.*convert_mace.py"):
            load_potential(path)
    checkpoint = zipped.rename(tmp_path / "epoch=3.ckpt")
    with pytest.raises(ModelError, match=r"pickled model.*convert_torchmdnet.py"):
        load_potential(checkpoint)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="found none"):
        load_potential(tmp_path)
    with pytest.raises(ModelError, match="found none"):
        load_potential(tmp_path / "nowhere")


def test_foreign_json_is_refused(folder: Path) -> None:
    (folder / "model.json").write_text("{}")
    with pytest.raises(ModelError, match="sciten-potential"):
        load_potential(folder)


def test_only_listed_classes_are_built(folder: Path, kind: str) -> None:
    path = folder / "model.json"
    path.write_text(path.read_text().replace(f'"{kind}"', '"os.system"'))
    with pytest.raises(ModelError):
        load_potential(folder)


def test_a_newer_format_asks_for_an_update(folder: Path) -> None:
    path = folder / "model.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 99'))
    with pytest.raises(ModelError, match=r"version 1, got 99; update sciten"):
        load_potential(folder)


def test_unknown_class_cannot_be_saved(tmp_path: Path) -> None:
    from tests.toys import ToyPotential

    with pytest.raises(ModelError, match="expected one of MACE, TensorNet, got ToyPotential"):
        save_potential(ToyPotential(), tmp_path)


def test_precision_and_device_that_cannot_be_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"float32 or torch\.float64, got torch\.float16"):
        load_potential(folder, dtype=torch.float16)
    with pytest.raises(ConfigError, match="a device that torch can use here, such as cpu, got 'gpu'"):
        load_potential(folder, device="gpu")


def test_a_full_disk_keeps_the_earlier_model(folder: Path, kind: str) -> None:
    resource = pytest.importorskip("resource")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = len(before["model.safetensors"])
    for limit in (100, size // 2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(StorageError, match=r"model\.(json|safetensors): cannot be written"):
                save_potential(made(kind, seed=1), folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
