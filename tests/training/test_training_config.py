import inspect
from pathlib import Path

import pytest
import yaml

from sciten.errors import ConfigError
from sciten.potentials import POTENTIALS, Potential
from sciten.training import (
    AdamW,
    AMSGrad,
    Cosine,
    Huber,
    Loss,
    Plateau,
    SecondStage,
    TrainConfig,
    read_config,
)
from sciten.training.config import model_section

REQUIRED = ("train_file=data.h5", "output=run")


def read(*overrides: str) -> TrainConfig:
    return read_config(None, [*REQUIRED, *overrides])


def test_values_and_yaml_say_the_same() -> None:
    built = TrainConfig(
        train_file="data.h5",
        output="run",
        model={"channels": 8, "elements": [6, 1]},
        loss=Loss(forces=10, function=Huber(delta=0.02)),
        optimizer=AdamW(learning_rate=0.001),
        schedule=Cosine(warmup_epochs=2),
        second_stage=SecondStage(start=0.5, learning_rate=1e-4),
    )
    text = read(
        "model.channels=8",
        "model.elements=[C, 1]",
        "loss.forces=10",
        "loss.function.kind=huber",
        "loss.function.delta=0.02",
        "optimizer.kind=adamw",
        "optimizer.learning_rate=1e-3",
        "schedule.kind=cosine",
        "schedule.warmup_epochs=2",
        "second_stage.start=0.5",
        "second_stage.learning_rate=1e-4",
    )
    assert text == built


def test_resolved_yaml_reads_back_equal(tmp_path: Path) -> None:
    config = read("second_stage.start=60", "isolated_atom_energies={1: -13.5, C: -1000}", "freeze=embedding")
    config.write(tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert written["isolated_atom_energies"] == {"H": -13.5, "C": -1000.0}
    assert written["model"]["channels"] == 64  # defaults are spelt out


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("output: run\nloss: {energy: 2, forces: 3}\nschedule: cosine\n")
    config = read_config(tmp_path / "c.yaml", ["train_file=x.h5", "loss.forces=100", "schedule.final=0.1"])
    assert (config.loss.energy, config.loss.forces) == (2, 100)
    assert config.schedule == Cosine(final=0.1)


@pytest.mark.parametrize(
    ("override", "key", "hint"),
    [
        ("epohs=3", "epohs", "'epochs'"),
        ("loss.force=3", "loss.force", "'forces'"),
        ("optimizer.learning_rat=1", "optimizer.learning_rat", "'learning_rate'"),
        ("optimizer=adamx", "optimizer.kind", "'adam'"),
        ("model.chanels=3", "model.chanels", "'channels'"),
        ("model.kind=MACEE", "model.kind", "'MACE'"),
        ("model.kind=SchNet", "model.kind", "MACE, TensorNet"),
        ("schedule.kind=cosin", "schedule.kind", "'cosine'"),
    ],
)
def test_unknown_key_names_the_nearest(override: str, key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(override)
    message = str(caught.value)
    assert f" {key}: unknown" in message
    assert hint in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["epochs=0"], "epochs: .*greater than or equal to 1"),
        (["model.channels=many"], "model.channels: .*integer"),
        (["model.elements=[Q]"], "model.elements: .*'Q'"),
        (["isolated_atom_energies={Xx: 1}"], "isolated_atom_energies: .*'Xx'"),
        (["second_stage.start=300"], "second_stage.start: expected an epoch from 1 to 99"),
        (["valid_file=a.h5", "valid_fraction=0.1"], "valid_fraction: .*both"),
        (["initial_model=m", "model.channels=3"], "model: .*initial_model"),
        (["isolated_atom_energies=initial"], "needs initial_model"),
        (["early_stopping=3", "valid_fraction=0"], "early_stopping: needs a validation set"),
        (["device=cpx"], "device: expected a device that torch can use here.*'cpx'"),
        (["loss.energy=0", "loss.forces=0"], "loss: expected a weight above 0"),
        (["second_stage.energy=0", "loss.forces=0"], "loss: expected a weight above 0 .* in every stage"),
        (["epochs=3", "epochs.x=3"], "epochs is 3, which has no settings of its own"),
        (["optimizer.learning_rate=.inf"], "learning_rate: .*finite"),
        (["model.scale=.nan"], "model.scale: .*finite"),
        (["isolated_atom_energies={H: .nan}"], "isolated_atom_energies: .*nan"),
        (["epochs"], "expected an override of the form key=value"),
    ],
)
def test_unusable_value_names_the_key(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(*overrides)


def test_missing_file_setting_says_how_to_give_it() -> None:
    with pytest.raises(ConfigError, match=r"train_file: required.*train_file=\.\.\."):
        read_config(None, ["output=run"])


def test_values_in_python_refuse_unknown_keys_too() -> None:
    with pytest.raises(ConfigError, match="patients: unknown key, did you mean 'patience'"):
        Plateau(patients=3)
    with pytest.raises(ValueError, match="frozen"):
        AMSGrad().learning_rate = 3  # type: ignore[misc]


@pytest.mark.parametrize("kind", POTENTIALS.values())
def test_model_settings_are_the_constructors_arguments(kind: type[Potential]) -> None:
    arguments = set(inspect.signature(kind.__init__).parameters)
    settings = set(model_section(kind).model_fields)
    assert arguments - settings == {"self", "isolated_atom_energies", "seed", "dtype"}
    assert settings - arguments == {"kind"}


def test_the_model_is_chosen_by_name() -> None:
    assert read().model["kind"] == "MACE"
    chosen = read("model=TensorNet", "model.channels=32", "model.group=SO(3)").model
    assert (chosen["kind"], chosen["channels"], chosen["group"], chosen["layers"]) == (
        "TensorNet",
        32,
        "SO(3)",
        2,
    )
    assert read("model.radial_mlp=[8]").model["radial_mlp"] == [8]


def test_second_stage_takes_what_it_does_not_name_from_the_first() -> None:
    first, second = read("epochs=40", "loss.stress=7", "second_stage.start=0.75").stages()
    assert (first.epochs, second.epochs) == (30, 10)
    assert (second.loss.energy, second.loss.forces, second.loss.stress) == (1000, 100, 7)
    assert second.learning_rate == first.learning_rate == 0.01
