import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from sciten.errors import ConfigError, DataError, ModelError
from sciten.integrations.ase import SciTenCalculator
from sciten.potentials import save_potential
from sciten.simulation.verify import CHECKS, Status, verify
from sciten.simulation.verify import run as verify_run
from sciten.simulation.verify.dynamics import nve_drift
from tests.potentials.models import small
from tests.simulation.verify import faults
from tests.toys import ToyPotential

STATIC = tuple(check for check in CHECKS if check is not nve_drift)
QUICK = tuple(check for check in STATIC if check is not verify_run.smoothness)
ELEMENTS = (1, 6, 8)


def structures() -> list[Atoms]:
    ethanol = molecule("CH3CH2OH")
    boxed = molecule("CH3OH")
    boxed.cell = np.ptp(boxed.positions, axis=0) + 2.5
    boxed.pbc = True
    return [ethanol, boxed]


def failed(verification) -> set[str]:
    return {result.name for result in verification.failures}


def test_a_sound_potential_passes_every_check():
    verification = verify(ToyPotential((29,), length=2.5, width=2.0, cutoff=4.5))
    assert verification.passed, str(verification)
    not_applicable = {entry.name for entry in verification.results if entry.status is Status.NOT_APPLICABLE}
    assert not_applicable == {"save and load"}  # not a class of sciten's own
    assert verification["NVE drift"].tolerance == 0.05
    assert "300 K" in verification["NVE drift"].explanation or verification["NVE drift"].value < 1e-3
    assert verification.structures == ("Cu4", "Cu4 (periodic)")


def test_sound_calculators_of_others_pass():
    argon = bulk("Ar", cubic=True)
    free = Atoms("Ar4", positions=argon.positions)
    smooth = LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0, ro=6.0, smooth=True)
    verification = verify(smooth, [argon, free], checks=STATIC)
    assert verification.passed, str(verification)
    assert verification["rotation: stress"].status is Status.PASSED
    assert verification["float32 against float64"].status is Status.NOT_APPLICABLE


def test_the_truncated_tail_of_effective_medium_theory_is_found():
    # ASE's EMT leaves out neighbours beyond `rc_list`, where its smooth weight has not quite come to zero.
    calculator = EMT()
    cluster = Atoms("Cu3", positions=[[0, 0, 0], [2.4, 0, 0], [1.2, 2.1, 0]])
    verification = verify(calculator, [bulk("Cu", cubic=True), cluster], checks=STATIC)
    assert failed(verification) == {"smoothness: energy", "smoothness: forces"}
    assert f"Cu-Cu at {calculator.rc_list:.4f} Å" in verification["smoothness: energy"].explanation


@pytest.mark.parametrize(
    ("kind", "changes"), [("MACE", {"lmax": 2}), ("TensorNet", {}), ("TensorNet", {"group": "SO(3)"})]
)
def test_a_sound_model_passes(kind, changes, tmp_path):
    model = small(kind, cutoff=3.5, **changes)
    save_potential(model, tmp_path)
    verification = verify(tmp_path, checks=STATIC)
    assert verification.passed, str(verification)
    for name in (
        "save and load: energy",
        "save and load: forces",
        "float32: energy",
        "stress against energy",
    ):
        assert verification[name].status is Status.PASSED
    tells_mirror_images_apart = changes.get("group") == "SO(3)"
    assert (
        "reflection: energy" in {result.name for result in verification.results}
    ) != tells_mirror_images_apart


@pytest.mark.parametrize(
    ("subject", "caught"),
    [
        (faults.altered(faults.non_conservative), {"forces against energy"}),
        (faults.altered(faults.wrong_stress_sign), {"stress against energy"}),
        (faults.altered(faults.non_extensive), {"extensivity: energy"}),
        (faults.altered(faults.order_dependent), {"permutation: energy"}),
        (
            faults.Anisotropic(ELEMENTS),
            {
                f"{name}: {what}"
                for name in ("rotation", "reflection")
                for what in ("energy", "forces", "stress")
            },
        ),
        (faults.Chiral(ELEMENTS), {"reflection: energy", "reflection: forces", "reflection: stress"}),
        (faults.HardCutoff(ELEMENTS), {"smoothness: energy", "smoothness: forces"}),
        (faults.Cancelling(ELEMENTS), {"float32: energy"}),
    ],
    ids=lambda value: getattr(getattr(value, "alter", value), "__name__", type(value).__name__),
)
def test_a_planted_fault_is_caught_by_the_right_check(subject, caught):
    checks = STATIC if isinstance(subject, faults.HardCutoff) else QUICK
    found = failed(verify(subject, structures(), checks=checks))
    # A wrong energy may show in more than one place; what must fail is among what fails, symmetries apart.
    assert caught <= found
    assert {
        name for name in found - caught if name.split(":")[0] in ("rotation", "reflection", "translation")
    } == set()


def test_a_force_that_jumps_at_the_cutoff_is_caught_though_the_energy_does_not():
    # ASE's Lennard-Jones shifts the energy to zero at the cutoff and leaves the force as it is.
    shifted = LennardJones(sigma=2.0, epsilon=0.5, rc=4.0)
    found = failed(verify(shifted, [molecule("H2O")], checks=(verify_run.smoothness,)))
    assert found == {"smoothness: forces"}


def test_a_hard_cutoff_is_found_where_the_cutoff_is_not_known():
    calculator = SciTenCalculator(faults.HardCutoff((1, 8), cutoff=4.3))
    disguised = faults.Altered(calculator, lambda atoms, results: None)
    verification = verify(disguised, [molecule("H2O")], checks=(verify_run.smoothness,))
    assert failed(verification) == {"smoothness: energy", "smoothness: forces"}
    assert "4.3000 Å" in verification["smoothness: energy"].explanation
    expected = 2 * 0.5 / 4.3**6 - 0.0
    assert verification["smoothness: energy"].value >= expected - 1e-9


def test_a_force_without_energy_drifts():
    verification = verify(faults.altered(faults.swirling), [molecule("CH4")], checks=(nve_drift,))
    assert failed(verification) == {"NVE drift"}


def test_a_calculator_in_single_precision_is_judged_by_wider_tolerances():
    water, boxed = molecule("H2O"), molecule("H2O")
    boxed.cell, boxed.pbc = [3.5, 4.0, 3.0], True
    verification = verify(faults.altered(faults.single_precision), [water, boxed], checks=STATIC)
    assert verification.passed, str(verification)
    assert verification["rotation: forces"].tolerance > 1e-4
    double = verify(ToyPotential(ELEMENTS), structures(), checks=(verify_run.rotation,))
    assert double["rotation: forces"].tolerance < 1e-6


def test_faults_are_caught_in_single_precision_too():
    def both(atoms, results):
        faults.non_conservative(atoms, results)
        faults.wrong_stress_sign(atoms, results)
        faults.single_precision(atoms, results)

    found = failed(verify(faults.altered(both), structures(), checks=(verify_run.forces, verify_run.stress)))
    assert found == {"forces against energy", "stress against energy"}


def test_a_number_that_is_none_fails():
    def broken(atoms, results):
        results["forces"] = np.full_like(results["forces"], np.nan)

    found = failed(
        verify(faults.altered(broken), structures(), checks=(verify_run.rotation, verify_run.forces))
    )
    assert {"rotation: forces", "forces against energy"} <= found


def test_a_changed_weight_after_loading_is_caught(monkeypatch):
    import sciten.potentials

    def loads_another(path, **options):
        model = load(path, **options)
        with torch.no_grad():
            next(model.parameters()).mul_(1.001)
        return model

    load = sciten.potentials.load_potential
    monkeypatch.setattr(sciten.potentials, "load_potential", loads_another)
    model = small("MACE", ELEMENTS, cutoff=3.0)
    found = failed(verify(model, structures(), checks=(verify_run.round_trip,)))
    assert found == {"save and load: energy", "save and load: forces"}


def test_a_check_that_cannot_run_is_an_error_and_hides_no_other():
    def molecules_only(atoms, results):
        if atoms.pbc.any():
            raise RuntimeError("only molecules, please")

    verification = verify(
        faults.altered(molecules_only), structures()[:1], checks=(verify_run.stress, verify_run.rotation)
    )
    assert verification["stress against energy"].status is Status.NOT_APPLICABLE
    assert verification["rotation: energy"].status is Status.PASSED

    def never(atoms, results):
        if len(atoms) > 9:
            raise RuntimeError("too large")

    verification = verify(
        faults.altered(never), structures()[:1], checks=(verify_run.extensivity, verify_run.rotation)
    )
    assert verification["extensivity"].status is Status.ERROR
    assert "too large" in verification["extensivity"].explanation
    assert verification["rotation: energy"].status is Status.PASSED
    assert not verification.passed


def test_committees_and_calculators_of_sciten_are_looked_into():
    members = [ToyPotential(ELEMENTS, depth=depth, dtype=torch.float32) for depth in (0.4, 0.6)]
    verification = verify(members, structures(), checks=(verify_run.forces, verify_run.single_precision))
    assert verification.passed
    assert verification["float32 against float64"].status is Status.NOT_APPLICABLE
    wrapped = verify(SciTenCalculator(members[0]), structures(), checks=(verify_run.single_precision,))
    assert wrapped["float32: energy"].status is Status.PASSED


def test_the_given_potential_is_not_changed():
    potential = ToyPotential(ELEMENTS, dtype=torch.float32)
    before = {name: value.clone() for name, value in potential.state_dict().items()}
    verify(potential, structures(), checks=(verify_run.rotation, verify_run.single_precision))
    assert potential.dtype == torch.float32
    for name, value in potential.state_dict().items():
        assert torch.equal(value, before[name])


def test_table_and_json(tmp_path):
    verification = verify(
        faults.altered(faults.wrong_stress_sign),
        structures(),
        checks=(verify_run.rotation, verify_run.stress),
    )
    table = str(verification)
    assert "stress against energy" in table
    assert "1 of 4 checks failed" in table
    verification.write_json(tmp_path / "verify.json")
    document = json.loads((tmp_path / "verify.json").read_text())
    assert document["passed"] is False
    entry = document["results"][-1]
    assert entry["status"] == "failed"
    assert entry["value"] > entry["tolerance"] == 1e-6
    assert entry["unit"] == "eV/Å³"


def test_members_without_a_common_element_and_unknown_elements_are_named():
    carbon, silicon = (
        ToyPotential((6,), isolated_atom_energies=[0.0]),
        ToyPotential((14,), isolated_atom_energies=[0.0]),
    )
    with pytest.raises(ConfigError, match="no element in common"):
        verify([carbon, silicon])
    with pytest.raises(ModelError, match="a structure has O, the model knows only C"):
        verify(carbon, [Atoms("CO", [[0, 0, 0], [0, 0, 1.2]])])


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ConfigError, match="give structures"):
        verify(EMT())
    with pytest.raises(ConfigError, match="empty list"):
        verify(ToyPotential(), [])
    with pytest.raises(DataError, match="no atoms"):
        verify(ToyPotential(), [Atoms()])
    with pytest.raises(ModelError, match="expected a folder"):
        verify(tmp_path)
