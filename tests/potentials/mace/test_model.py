import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from sciten.equivariant import ClebschGordanProduct, GauntProduct, MatrixProduct
from sciten.errors import ConfigError
from sciten.potentials import MACE, load_potential, save_potential
from sciten.tensor.multilinear.reference import Reference


def small(**changes) -> MACE:
    arguments = {"channels": 4, "lmax": 2, "hidden_lmax": 1, "average_neighbors": 5.0, "dtype": torch.float64}
    return MACE([1, 6, 8], **{**arguments, **changes})


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=0)
    return atoms


VARIANTS = [
    {},
    {"residual": False, "hidden_lmax": 0, "reduced_basis": True},
    {"density": True, "agnesi": True, "zbl": True},
    {"layers": 1},
    {"layers": 3, "correlation": 2, "residual": [False, True, True]},
    {"product": GauntProduct(method="grid")},
    {"product": GauntProduct(method="fourier"), "correlation": 2, "residual": False, "density": True},
    {"edge_product": GauntProduct(), "layers": 3},
    {"product": GauntProduct(), "edge_product": GauntProduct(), "correlation": 1},
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_energy_is_invariant_and_forces_turn_along(changes) -> None:
    model, atoms = small(**changes), ethanol()
    matrix = -Rotation.random(random_state=1).as_matrix()  # a rotation and the inversion
    turned = atoms.copy()
    turned.positions = atoms.positions @ matrix.T + [1.0, -2.0, 3.0]
    order = np.random.default_rng(0).permutation(len(atoms))
    before, after = model.evaluate([atoms, turned[order]])
    assert after["energy"] == pytest.approx(before["energy"], abs=1e-10)
    np.testing.assert_allclose(after["forces"], (before["forces"] @ matrix.T)[order], atol=1e-10)


@pytest.mark.parametrize("changes", VARIANTS)
def test_compiled_and_reference_executors_agree_on_forces_and_training_gradients(changes) -> None:
    gradients = []
    for executor in (None, Reference()):
        model = small(**changes)
        model.executor = executor
        prediction = model(model.prepare([ethanol(), molecule("CO2")]))
        (prediction.energy.sum() + (prediction.forces**2).sum()).backward()
        gradients.append([p.grad for p in model.parameters()] + [prediction.forces.detach()])
    for fast, plain in zip(*gradients, strict=True):
        scale = float(plain.abs().max())
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-11 * max(1.0, scale))


def test_forces_are_minus_the_gradient() -> None:
    model, atoms, step = small(zbl=True, agnesi=True), ethanol(), 1e-4
    forces = model.evaluate([atoms])[0]["forces"]
    shifted = [atoms.copy() for _ in range(2)]
    for copy, sign in zip(shifted, (1, -1), strict=True):
        copy.positions[4, 1] += sign * step
    up, down = (result["energy"] for result in model.evaluate(shifted))
    assert forces[4, 1] == pytest.approx(-(up - down) / (2 * step), abs=1e-6)


def test_tables_change_forces_by_no_more_than_float32_does() -> None:
    model = small(dtype=torch.float32, channels=16, scale=0.5)
    batch = model.prepare([ethanol(), molecule("CO2")])
    looked_up, computed = model.forward_batch(batch), model(batch)
    exact = small(channels=16, scale=0.5)
    exact.load_state_dict({k: v.double() for k, v in model.state_dict().items()})
    truth = exact(batch).forces.detach()
    rounding = (computed.forces.detach() - truth).abs().max()
    assert (looked_up.forces - truth).abs().max() <= 3 * rounding + 2e-6 * truth.abs().max()


@pytest.mark.parametrize("way", ["in place", "through data"])
def test_tables_follow_the_weights(way: str) -> None:
    model = small(dtype=torch.float32)
    batch = model.prepare([ethanol()])
    before = model.forward_batch(batch).energy
    with torch.no_grad():
        for p in model.interactions[0].radial.parameters():
            (p if way == "in place" else p.data).mul_(1.1)
    after = model.forward_batch(batch).energy
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, model(batch).energy.detach(), rtol=1e-5, atol=1e-5)


def test_atoms_beyond_the_cutoff_do_not_interact() -> None:
    model = small(cutoff=3.0)
    pair = Atoms("CO", positions=[[0, 0, 0], [0, 0, 3.0]])
    alone = sum(model.evaluate([Atoms(symbol)])[0]["energy"] for symbol in "CO")
    assert model.evaluate([pair])[0]["energy"] == pytest.approx(alone, abs=1e-12)


def test_edges_of_a_wider_list_contribute_nothing() -> None:
    from sciten.datasets.graphs import batch_from_ase

    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    atoms.rattle(0.05, seed=0)
    for dtype in (torch.float32, torch.float64):
        model = small(cutoff=3.0, dtype=dtype)
        narrow, wide = (
            model.forward_batch(batch_from_ase([atoms], cutoff), stress=True) for cutoff in (3.0, 4.0)
        )
        torch.testing.assert_close(narrow.energy, wide.energy, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(narrow.stress, wide.stress, rtol=1e-4, atol=1e-6)


def test_arguments_rebuild_the_model() -> None:
    model = small(residual=[False, True], isolated_atom_energies=[-1.0, -2.0, -3.0], seed=4)
    again = MACE(**model.arguments(), dtype=torch.float64)
    for (name, a), (other, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b)


def test_elements_may_come_in_any_order() -> None:
    model = MACE([8, 1], isolated_atom_energies=[-8.0, -1.0], channels=2, lmax=1)
    assert model.elements == (1, 8) and model.isolated_atom_energies.tolist() == [-1.0, -8.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_lmax": 3}, "0 <= hidden_lmax <= lmax, got hidden_lmax=3, lmax=2"),
        ({"channels": 0}, "channels of at least 1, got 0"),
        ({"cutoff": 0.0}, "cutoff above zero"),
        ({"residual": [True]}, "residual to be one flag or one for each of 2 layers, got 1"),
        ({"isolated_atom_energies": [1.0]}, "one isolated-atom energy for each of 3 elements, got 1"),
        ({"correlation": 5}, "correlation up to 4, got 5"),
        ({"lmax": 40}, "lmax up to 12, got 40"),
    ],
)
def test_arguments_out_of_range_are_named(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**changes)


def test_float64_parts_survive_casting() -> None:
    model = small(isolated_atom_energies=[-13.123456789012345, -1.0, -2.0], dtype=torch.float32)
    for cast in (model.to(torch.float64), model.float(), model.double()):
        assert cast.isolated_atom_energies[0].item() == -13.123456789012345
        assert cast.scale.dtype == torch.float64


def test_elements_may_be_symbols() -> None:
    assert MACE(["O", "H", 6], channels=4, lmax=1, hidden_lmax=0).elements == (1, 6, 8)
    with pytest.raises(ConfigError, match="expected chemical symbols or atomic numbers, got 'Q'"):
        MACE(["Q"])


@pytest.mark.parametrize("inference", [False, True])
def test_autocast_leaves_predictions_alone(inference: bool) -> None:
    model = small(dtype=torch.float32)
    batch = model.prepare([ethanol()])
    expected = model(batch, inference=inference)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(batch, inference=inference)
    assert torch.equal(found.energy, expected.energy)
    assert torch.equal(found.forces, expected.forces)


def test_products_are_part_of_the_description_and_survive_saving(tmp_path) -> None:
    model = small(product=GauntProduct(method="fourier"), edge_product=GauntProduct())
    assert model.arguments()["product"] == {"kind": "GauntProduct", "method": "fourier"}
    assert small().arguments()["product"] == small(product=ClebschGordanProduct()).arguments()["product"]
    save_potential(model, tmp_path / "model")
    atoms = ethanol()
    assert (
        load_potential(tmp_path / "model").evaluate([atoms])[0]["energy"]
        == model.evaluate([atoms])[0]["energy"]
    )


def test_grid_and_fourier_are_the_same_model() -> None:
    grid, fourier = (
        small(product=GauntProduct(method=m), hidden_lmax=2, lmax=3) for m in ("grid", "fourier")
    )
    fourier.load_state_dict(grid.state_dict())
    a, b = (m.evaluate([ethanol()])[0] for m in (grid, fourier))
    assert a["energy"] == pytest.approx(b["energy"], abs=1e-11)
    np.testing.assert_allclose(a["forces"], b["forces"], atol=1e-11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"product": GauntProduct(2, 2, 2)}, "expected product without degrees"),
        ({"edge_product": MatrixProduct(1, 1, 1)}, "expected edge_product to be ClebschGordanProduct"),
        ({"product": {"kind": "Gaunt"}}, "expected product to be {kind: ClebschGordanProduct}"),
        ({"product": {"kind": "GauntProduct", "lmax": 2}}, "expected product to be"),
        (
            {"edge_product": GauntProduct(method="fourier")},
            r"expected edge_product to be GauntProduct\(method='grid'\) or 'auto', .* got method='fourier'",
        ),
        (
            {"edge_product": {"kind": "GauntProduct", "method": "fourier"}},
            "expected edge_product .* got method='fourier'",
        ),
        (
            {"product": ClebschGordanProduct(weights=True)},
            r"expected product to be ClebschGordanProduct\(\) without options, .* got weights=True",
        ),
        (
            {"edge_product": ClebschGordanProduct(executor=Reference())},
            r"expected edge_product to be ClebschGordanProduct\(\) without options, .* got executor=",
        ),
        (
            {"product": GauntProduct(), "reduced_basis": True},
            "expected reduced_basis only with ClebschGordanProduct",
        ),
    ],
)
def test_products_that_mace_cannot_use_are_refused(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**changes)
