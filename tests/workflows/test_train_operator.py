"""The workflow from nothing to a trained neural operator, in small."""

from pathlib import Path

from sciten.neural_operators import TFNO
from sciten.neural_operators.files import load_operator
from workflows.train_operator import main


def test_it_makes_data_a_model_and_a_report(tmp_path: Path) -> None:
    small = {"resolution": 13, "train_samples": 10, "test_samples": 4, "workers": 1}
    main(["epochs=1", "model.modes=[6, 6]"], output=tmp_path, **small)  # type: ignore[arg-type]
    assert isinstance(load_operator(tmp_path), TFNO)
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Test on 13 x 13 points" in report
    assert "Test on 25 x 25 points" in report
    assert (tmp_path / "test_25_evaluation.json").is_file()
