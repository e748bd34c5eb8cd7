"""The workflow from nothing to a trained neural operator, in small."""

from pathlib import Path
from typing import Any

import pytest

from sciten.errors import ConfigError
from sciten.neural_operators import TFNO
from sciten.neural_operators.files import load_operator, load_roles
from workflows import train_operator
from workflows.train_operator import main

SMALL: dict[str, Any] = {"resolution": 13, "train_samples": 10, "test_samples": 4, "workers": 1}
SETTINGS = ["epochs=1", "model.modes=[6, 6]"]
SECTIONS = (
    "Overview",
    "Learning curves",
    "Validation",
    "Test on 13 x 13 points",
    "Test on 25 x 25 points",
)


def test_it_makes_data_a_model_and_a_report_and_a_second_run_takes_both_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = []
    for expected in ("wrote", "was trained before"):
        main(SETTINGS, output=tmp_path, **SMALL)
        assert expected in capsys.readouterr().out
        reports.append((tmp_path / "report.html").read_text(encoding="utf-8"))
        if len(reports) == 1:
            kept = [*tmp_path.glob("data/*.h5"), *tmp_path.glob("tasks/tasks/*"), *tmp_path.glob("model/*")]
            inodes = [path.stat().st_ino for path in kept]
            (tmp_path / "report.html").write_text(
                "that of the training, where the run was stopped in testing"
            )
    assert [path.name for path in kept][:3].count("darcy_train.h5") == 1 and len(kept) > 6
    assert [path.stat().st_ino for path in kept] == inodes
    assert not (tmp_path / "data" / "darcy_fine_train.h5").exists()
    assert isinstance(load_operator(tmp_path), TFNO)
    assert reports[0] == reports[1]
    for title in SECTIONS:
        assert f">{title}</h2>" in reports[0]
    assert (tmp_path / "test_25_evaluation.json").is_file()


def test_settings_that_are_given_are_those_of_the_test_too(tmp_path: Path) -> None:
    model = tmp_path / "model of another name"
    backwards = ["inputs=solution", "targets=coefficient", "subsample=2", f"output={model}"]
    main([*SETTINGS, *backwards], output=tmp_path / "out", **SMALL)
    roles = load_roles(model)
    assert roles is not None and (roles.inputs, roles.targets) == (("solution",), ("coefficient",))
    report = (model / "report.html").read_text(encoding="utf-8")
    assert "Test on 7 x 7 points" in report and "Test on 13 x 13 points" in report
    assert [path.name for path in (tmp_path / "out").iterdir()] in (["data", "tasks"], ["tasks", "data"])


def test_settings_of_a_potential_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    config = train_operator.ROOT / "workflows" / "configs" / "demo.yaml"
    with pytest.raises(ConfigError, match=r"demo\.yaml: expected settings of a neural operator"):
        main(config=config, output=tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()
