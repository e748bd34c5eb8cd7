import importlib.util
import re
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)

SMALL = {"channels": 8, "hidden_lmax": 0, "lmax": 1}


@pytest.fixture
def frames(tmp_path: Path) -> list[ase.Atoms]:
    """A file frames.xyz as the README has it, labelled by a Lennard-Jones potential."""
    rng = np.random.default_rng(0)
    frames = [
        ase.Atoms("H", info={"config_type": "IsolatedAtom"}),
        ase.Atoms("O", info={"config_type": "IsolatedAtom"}),
    ]
    water = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    frames += [ase.Atoms("OH2", water + rng.normal(scale=0.05, size=(3, 3))) for _ in range(12)]
    for atoms in frames:
        atoms.calc = LennardJones(sigma=0.85, epsilon=0.5)
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
    ase.io.write(tmp_path / "frames.xyz", frames)
    return frames


def test_python_blocks_run(frames: list[ase.Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        # A small model and two epochs say as much about the README as the defaults.
        exec(block.replace("TrainConfig(", f"TrainConfig(epochs=2, model={SMALL}, "), names)
    atoms, results = names["atoms"], names["results"]
    assert isinstance(atoms, ase.Atoms)
    assert isinstance(results, list)
    assert len(results) == len(frames)
    np.testing.assert_allclose(atoms.get_forces(), results[-1]["forces"], atol=1e-5)
    atoms.calc = names["committee"]
    np.testing.assert_allclose(atoms.get_forces(), results[-1]["forces"], atol=1e-5)
    assert np.abs(atoms.calc.results["forces_std"]).max() < 1e-6


def test_first_block_has_at_most_ten_lines() -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 10


def test_paths_in_the_text_exist() -> None:
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    named = re.findall(r"\b((?:sciten|workflows|benchmarks|tests|data)/[\w/.-]*\w/?)", text)
    assert named
    elsewhere = {"sciten/kernels"}  # in the user's cache folder
    assert not [path for path in named if path not in elsewhere and not (ROOT / path).exists()]


def test_measured_section_says_what_the_results_say() -> None:
    path = ROOT / "benchmarks" / "readme_table.py"
    spec = importlib.util.spec_from_file_location("readme_table", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert script.renewed(readme, script.measured(ROOT / "benchmarks" / "results")) == readme
    assert script.renewed(readme, "another") != readme
