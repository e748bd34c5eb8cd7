from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from sciten.datasets.graphs import batch_from_ase
from sciten.errors import ConfigError, DataError
from sciten.potentials import TensorNet
from sciten.tensor.multilinear.reference import Reference


def small(**changes) -> TensorNet:
    arguments = {"channels": 6, "radial_functions": 8, "dtype": torch.float64}
    return TensorNet([1, 6, 8], **{**arguments, **changes})


def ethanol(**info: float) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=0)
    atoms.info = dict(info)
    return atoms


def diamond() -> Atoms:
    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    atoms.rattle(0.05, seed=0)
    return atoms


VARIANTS = [
    {},
    {"group": "SO(3)"},
    {"layers": 0},
    {"layers": 3, "channels": 5, "cutoff": 3.0},
    {"group": "SO(3)", "layers": 1, "spin_coupling": 0.2},
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_energy_is_invariant_and_forces_turn_along(changes) -> None:
    model, atoms = small(**changes), ethanol(charge=1.0, spin=2.0)
    matrix = Rotation.random(random_state=1).as_matrix()
    if model.arguments()["group"] == "O(3)":
        matrix = -matrix
    turned = atoms.copy()
    turned.positions = atoms.positions @ matrix.T + [1.0, -2.0, 3.0]
    order = np.random.default_rng(0).permutation(len(atoms))
    before, after = model.evaluate([atoms, turned[order]])
    assert after["energy"] == pytest.approx(before["energy"], abs=1e-10)
    np.testing.assert_allclose(after["forces"], (before["forces"] @ matrix.T)[order], atol=1e-10)


def test_only_so3_tells_a_molecule_from_its_mirror_image() -> None:
    atoms = ethanol()
    image = atoms.copy()
    image.positions *= -1
    for group, differ in (("O(3)", False), ("SO(3)", True)):
        before, after = small(group=group).evaluate([atoms, image])
        assert (abs(before["energy"] - after["energy"]) > 1e-8) == differ


@pytest.mark.parametrize("changes", VARIANTS)
def test_compiled_and_reference_executors_agree_on_forces_and_training_gradients(changes) -> None:
    gradients = []
    for executor in (None, Reference()):
        model = small(**changes)
        model.executor = executor
        prediction = model(model.prepare([ethanol(charge=-1.0, spin=2.0), molecule("CO2")]))
        (prediction.energy.sum() + (prediction.forces**2).sum()).backward()
        gradients.append([p.grad for p in model.parameters()] + [prediction.forces.detach()])
    for fast, plain in zip(*gradients, strict=True):
        scale = float(plain.abs().max())
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-11 * max(1.0, scale))


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_forces_are_minus_the_gradient(group: str) -> None:
    model, atoms, step = small(group=group), ethanol(), 1e-4
    forces = model.evaluate([atoms])[0]["forces"]
    shifted = [atoms.copy() for _ in range(2)]
    for copy, sign in zip(shifted, (1, -1), strict=True):
        copy.positions[4, 1] += sign * step
    up, down = (result["energy"] for result in model.evaluate(shifted))
    assert forces[4, 1] == pytest.approx(-(up - down) / (2 * step), abs=1e-6)


def test_stress_is_the_derivative_by_strain() -> None:
    model, atoms, step = small(cutoff=3.0), diamond(), 1e-4
    stress = model.evaluate([atoms])[0]["stress"]
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strain = np.eye(3)
        strain[0, 1] = strain[1, 0] = 0.5 * sign * step
        strained.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
        energies.append(model.evaluate([strained])[0]["energy"])
    slope = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
    assert stress[5] == pytest.approx(slope, abs=1e-8)


def test_training_gradients_match_finite_differences() -> None:
    def loss(model: TensorNet) -> torch.Tensor:
        prediction = model(model.prepare([ethanol(charge=1.0)]))
        return prediction.energy.square().sum() + prediction.forces.square().sum()

    model = small(channels=4)
    loss(model).backward()
    step = 1e-5
    for name, parameter in model.named_parameters():
        direction = torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        slope = float((parameter.grad * direction).sum())
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * step * direction
            values.append(float(loss(model).detach()))
            with torch.no_grad():
                parameter -= sign * step * direction
        assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("changes", VARIANTS)
def test_tables_change_forces_by_no_more_than_float32_does(changes) -> None:
    model = small(**{**changes, "dtype": torch.float32})
    batch = model.prepare([ethanol(), molecule("CO2")])
    looked_up, computed = model.forward_batch(batch), model(batch)
    exact = small(**changes)
    exact.load_state_dict({k: v.double() for k, v in model.state_dict().items()})
    truth = exact(batch).forces.detach()
    rounding = (computed.forces.detach() - truth).abs().max()
    assert (looked_up.forces - truth).abs().max() <= 3 * rounding + 1e-5 * truth.abs().max()


@pytest.mark.parametrize("block", ["embedding.radial", "interactions.1.radial"])
def test_tables_follow_the_weights(block: str) -> None:
    model = small(dtype=torch.float32)
    batch = model.prepare([ethanol()])
    before = model.forward_batch(batch).energy
    with torch.no_grad():
        for p in model.get_submodule(block).parameters():
            p.data.mul_(1.5)
    after = model.forward_batch(batch).energy
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, model(batch).energy.detach(), rtol=1e-5, atol=1e-5)


def test_atoms_beyond_the_cutoff_do_not_interact() -> None:
    model = small(cutoff=3.0)
    pair = Atoms("CO", positions=[[0, 0, 0], [0, 0, 3.0]])
    alone = sum(model.evaluate([Atoms(symbol)])[0]["energy"] for symbol in "CO")
    assert model.evaluate([pair])[0]["energy"] == pytest.approx(alone, abs=1e-12)


def test_energy_and_forces_vanish_smoothly_at_the_cutoff() -> None:
    model = small(cutoff=3.0)
    apart, near = (
        model.evaluate([Atoms("CO", positions=[[0, 0, 0], [0, 0, distance]])])[0]
        for distance in (3.0, 3.0 - 1e-5)
    )
    assert abs(near["energy"] - apart["energy"]) < 1e-9
    assert np.abs(near["forces"]).max() < 1e-4 and np.abs(apart["forces"]).max() == 0


def test_energy_is_extensive() -> None:
    model, atoms = small(), ethanol()
    far = atoms.copy()
    far.positions += 100.0
    one, two = model.evaluate([atoms, atoms + far])
    assert two["energy"] == pytest.approx(2 * one["energy"], abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edges_of_a_wider_list_contribute_nothing(dtype: torch.dtype) -> None:
    model = small(cutoff=3.0, dtype=dtype)
    narrow, wide = (
        model.forward_batch(batch_from_ase([diamond()], cutoff), stress=True) for cutoff in (3.0, 4.0)
    )
    torch.testing.assert_close(narrow.energy, wide.energy, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(narrow.stress, wide.stress, rtol=1e-4, atol=1e-6)


def test_a_list_without_reverses_gives_the_same() -> None:
    """Radial weights are computed once for a pair; a pair that is listed once only has nobody to share with."""
    model = small(cutoff=3.0)
    batch = batch_from_ase([diamond()], 3.0)
    far = batch.edge_vectors().norm(dim=1).argmax()
    kept = torch.arange(batch.n_edges) != far
    edges = {name: getattr(batch, name)[kept] for name in ("senders", "receivers", "shifts")}
    shortened = replace(batch, **edges)
    assert len(shortened.pairs.edges) == shortened.n_edges
    model.executor = Reference()
    single = model(shortened).energy
    longer = replace(batch, shifts=torch.where(kept[:, None], batch.shifts, batch.shifts + 5.0))
    torch.testing.assert_close(single, model(longer).energy, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_charge_and_spin_change_energies_frame_by_frame(group: str, dtype: torch.dtype) -> None:
    model = small(group=group, spin_coupling=0.03, dtype=dtype)
    with torch.no_grad():
        for parameter in model.interactions.parameters():
            parameter *= 4  # fresh weights make the products small
    states = ({}, {"charge": 0.0, "spin": 1.0}, {"charge": 1.0}, {"spin": 3.0}, {"charge": 1.0, "spin": 3.0})
    together = [r["energy"] for r in model.evaluate([ethanol(**state) for state in states])]
    alone = [model.evaluate([ethanol(**state)])[0]["energy"] for state in states]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)
    assert alone[0] == alone[1]
    assert len({round(energy, 5) for energy in alone}) == 4


def test_spin_is_left_out_unless_coupled() -> None:
    plain, triplet = small().evaluate([ethanol(), ethanol(spin=3.0)])
    assert plain["energy"] == triplet["energy"]
    with pytest.raises(DataError, match="spin multiplicities of at least 1, got 0"):
        small(spin_coupling=0.1).evaluate([ethanol(spin=0.0)])


def test_arguments_rebuild_the_model() -> None:
    model = small(
        isolated_atom_energies=[-1.0, -2.0, -3.0], seed=4, group="SO(3)", spin_coupling=0.3, scale=2.0
    )
    again = TensorNet(**model.arguments(), dtype=torch.float64)
    for (name, a), (other, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b)


def test_initial_weights_are_the_same_in_every_dtype() -> None:
    for a, b in zip(small(dtype=torch.float32).parameters(), small().parameters(), strict=True):
        assert torch.equal(a, b.float())


def test_elements_may_come_in_any_order_and_as_symbols() -> None:
    model = TensorNet(["O", 1], isolated_atom_energies=[-8.0, -1.0], channels=2)
    assert model.elements == (1, 8) and model.isolated_atom_energies.tolist() == [-1.0, -8.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "TensorNet: expected channels of at least 2, got 0"),
        ({"layers": -1}, "TensorNet: expected layers of at least 0, got -1"),
        ({"cutoff": 0.0}, r"TensorNet: expected cutoff above zero, got 0\.0"),
        ({"group": "E(3)"}, r"TensorNet: expected group to be 'O\(3\)' or 'SO\(3\)', got 'E\(3\)'"),
        ({"isolated_atom_energies": [1.0]}, "one isolated-atom energy for each of 3 elements, got 1"),
    ],
)
def test_arguments_out_of_range_are_named(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**changes)


def test_float64_parts_survive_casting() -> None:
    model = small(isolated_atom_energies=[-13.123456789012345, -1.0, -2.0], dtype=torch.float32)
    centres = model.radial_centres.clone()
    for cast in (model.to(torch.float64), model.float(), model.double()):
        assert cast.isolated_atom_energies[0].item() == -13.123456789012345
        assert torch.equal(cast.radial_centres, centres)


@pytest.mark.parametrize("inference", [False, True])
def test_autocast_leaves_predictions_alone(inference: bool) -> None:
    model = small(dtype=torch.float32)
    batch = model.prepare([ethanol()])
    expected = model(batch, inference=inference)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(batch, inference=inference)
    assert torch.equal(found.energy, expected.energy)
    assert torch.equal(found.forces, expected.forces)
