import dataclasses
import inspect
import itertools
from pathlib import Path

import pytest
import yaml

from sciten.errors import ConfigError
from sciten.neural_operators import MultigridPatching, NeuralOperator, save_operator
from sciten.neural_operators.classes import OPERATORS
from sciten.training import AdamW, Cosine, IncrementalModes, OperatorConfig, TrainConfig, read_config
from sciten.training.operator_config import H1Loss, L2Loss, operator_section

REQUIRED = ("train_file=data.h5", "output=run", "model=FNO", "inputs=a", "targets=u")


def read(*overrides: str) -> OperatorConfig:
    config = read_config(None, [*REQUIRED, *overrides])
    assert isinstance(config, OperatorConfig)
    return config


def test_the_kind_of_model_decides_what_is_read() -> None:
    assert read().model["kind"] == "FNO"
    assert read("model=TFNO", "model.factorization.kind=CPFactors").model["factorization"] == {
        "kind": "CPFactors"
    }
    assert isinstance(read_config(None, ["train_file=a.h5", "output=run"]), TrainConfig)


def test_an_earlier_operator_decides_too(tmp_path: Path) -> None:
    save_operator(OPERATORS["FNO"](1, 1, modes=[4]), tmp_path)  # type: ignore[call-arg]
    settings = [entry for entry in REQUIRED if not entry.startswith("model")]
    assert isinstance(read_config(None, [*settings, f"initial_model={tmp_path}"]), OperatorConfig)


def test_a_mistyped_earlier_model_is_said_first() -> None:
    settings = [entry for entry in REQUIRED if not entry.startswith("model")]
    for others in (settings, settings[:2]):
        with pytest.raises(
            ConfigError, match=r"initial_model: expected a model folder, .*'runn', which does not"
        ):
            read_config(None, [*others, "initial_model=runn"])


def test_fields_alone_say_that_an_operator_is_trained() -> None:
    settings = [entry for entry in REQUIRED if not entry.startswith("model")]
    config = read_config(None, [*settings, "model.modes=[6]"])
    assert isinstance(config, OperatorConfig)
    assert config.model["kind"] == "FNO" and config.model["modes"] == [6]
    with pytest.raises(ConfigError, match=r"targets: required.*targets=\.\.\."):
        read_config(None, settings[:-1])
    with pytest.raises(
        ConfigError, match=r"model\.kind: expected a neural operator .* got the potential MACE"
    ):
        read_config(None, [*settings, "model=MACE"])


def test_values_and_yaml_say_the_same(tmp_path: Path) -> None:
    built = OperatorConfig(
        train_file="data.h5",
        output="run",
        model={"kind": "FNO", "modes": [12, 8]},
        inputs=("a", "b"),
        targets="u",
        history=2,
        subsample=(1, 2),
        loss=L2Loss(),
        incremental_modes=IncrementalModes(start=2),
        optimizer=AdamW(learning_rate=0.001),
    )
    overrides = ["model.modes=[12, 8]", "inputs=[a, b]", "history=2", "subsample=[1, 2]", "loss=relative_l2"]
    text = read(*overrides, "incremental_modes.start=2", "optimizer=adamw", "optimizer.learning_rate=1e-3")
    assert text == built
    built.write(tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == built
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert written["model"]["hidden_channels"] == 32  # defaults are spelt out


def test_defaults_suit_operators() -> None:
    config = read()
    assert (config.loss, config.schedule, config.ema_decay, config.batch_size) == (
        H1Loss(),
        Cosine(),
        None,
        32,
    )
    assert config.stages()[0].learning_rate == 0.008


@pytest.mark.parametrize("kind", OPERATORS.values())
def test_model_settings_are_the_constructors_arguments(kind: type[NeuralOperator]) -> None:
    arguments = set(inspect.signature(kind.__init__).parameters)
    settings = set(operator_section(kind).model_fields)
    assert arguments - settings == {"self", "in_channels", "out_channels", "active_modes", "seed", "dtype"}
    assert settings - arguments == {"kind"}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("horizn=3", "horizn: unknown key, did you mean 'horizon'"),
        ("loss=relative_l3", "loss.kind: unknown 'relative_l3', did you mean 'relative_l2'"),
        ("model.hiden_channels=3", "model.hiden_channels: unknown key, did you mean 'hidden_channels'"),
        ("model.kind=FON", "model.kind: unknown 'FON', did you mean 'FNO'"),
        ("model.skip=none_such", "model.skip: .*soft_gating"),
        ("loss.energy=3", "loss.energy: unknown key"),
        ("second_stage.start=3", "second_stage: unknown key"),
        ("horizon=0", "horizon: .*greater than or equal to 1"),
        ("inputs=[]", "inputs: expected names of fields, got none"),
        ("incremental_modes.epochs=100", "incremental_modes.epochs: expected fewer than epochs=100"),
        (
            "incremental_modes.epochs=0.999",
            r"than epochs=100, .* got 0\.999: they take part after 100 epochs",
        ),
        ("incremental_modes.epochs=1.0", r"incremental_modes.epochs: expected a whole number .* got 1\.0"),
        ("incremental_modes.epochs=2.7", r"incremental_modes.epochs: .* or a fraction .* below 1.* got 2\.7"),
        (
            "model.patching={patches: [2, 2], paddin: 0.1}",
            "model.patching.paddin: unknown key, did you mean 'padding'",
        ),
        ("model.patching.padding=0.1", r"model.patching.patches: required.*patches=\.\.\."),
        ("model.patching={patches: 2}", "model.patching.patches: .*tuple, got 2"),
        (
            "model.patching={patches: [2, 2], levels: 2}",
            r"model.patching.patches: .*at most 1 levels .* take fewer levels or more patches",
        ),
        ("model.patching={patches: [2, 2, 2, 2]}", "model.patching.patches: .*one to three numbers"),
        ("model.patching={patches: [2, 2], padding: 1.5}", "model.patching.padding: .*less than or equal"),
        ("model.patching={patches: [2, 2], at_a_time: 0}", "model.patching.at_a_time: .*greater than or"),
        ("incremental_modes.strat=2", "incremental_modes.strat: unknown key, did you mean 'start'"),
    ],
)
def test_an_unusable_setting_names_its_key(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read(override)
    assert "\n" not in str(caught.value)


def test_a_run_that_the_clock_may_end_has_all_modes_from_the_start() -> None:
    with pytest.raises(
        ConfigError, match=r"incremental_modes: expected no max_time=2\.5, .*before all modes"
    ):
        read("incremental_modes={}", "max_time=2.5")
    assert read("incremental_modes={}").incremental_modes == IncrementalModes()
    assert read("max_time=2.5").incremental_modes is None


def test_the_settings_of_patching_are_the_arguments_of_the_value() -> None:
    assert read().model["patching"] is None
    settings = read("model.patching.patches=[2, 4]", "model.patching.padding=0.1").model["patching"]
    assert settings == MultigridPatching((2, 4), padding=0.1).description()
    assert set(settings) | {"periodic"} == {f.name for f in dataclasses.fields(MultigridPatching)}


def test_missing_fields_say_how_to_give_them() -> None:
    with pytest.raises(ConfigError, match=r"inputs: required.*inputs=\.\.\."):
        read_config(None, ["train_file=a.h5", "output=run", "model=FNO", "targets=u"])


def test_modes_are_complete_after_a_number_or_a_fraction_of_epochs() -> None:
    assert read("incremental_modes.epochs=3").incremental_modes.last(10) == 3
    assert IncrementalModes(epochs=1).last(10) == 1
    assert IncrementalModes(epochs=0.25).last(40) == 10
    assert IncrementalModes(epochs=0.01).last(10) == 1


def test_modes_grow_by_frequencies_until_all_take_part() -> None:
    plan = IncrementalModes(start=4, epochs=0.5)
    shown = [plan.modes((16, 9, 3), epoch, 40) for epoch in range(40)]
    assert shown[0] == (4, 4, 3)
    assert shown[20:] == [(16, 9, 3)] * 20
    for axis, most in enumerate((16, 9, 3)):
        line = [modes[axis] for modes in shown]
        assert line == sorted(line)
        assert max(line) == most
        assert {b - a for a, b in itertools.pairwise(line[:20])} <= {0, 2}
