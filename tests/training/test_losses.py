from dataclasses import replace

import numpy as np
import pytest
import torch

from sciten.datasets import AtomsBatch, batch_from_structures
from sciten.potentials import Prediction
from sciten.training import L2, Huber, Loss
from sciten.training.losses import label_counts, loss_sums
from tests.training.conftest import crystal, dimer, labelled, methane


@pytest.fixture
def batch() -> AtomsBatch:
    rng = np.random.default_rng(0)
    frames = labelled([crystal(rng), dimer(rng), methane(rng)], ("energy", "forces", "stress"))
    return batch_from_structures(frames, 3.0)


@pytest.fixture
def prediction(batch: AtomsBatch) -> Prediction:
    generator = torch.Generator().manual_seed(0)

    def noise(label: torch.Tensor) -> torch.Tensor:
        return label + torch.randn(label.shape, generator=generator, dtype=torch.float64)

    return Prediction(noise(batch.energy), noise(batch.forces), noise(batch.stress), batch.positions[:, 0])


def total(batch: AtomsBatch, prediction: Prediction, loss: Loss) -> float:
    return float(loss_sums(batch, prediction, loss).total(loss, label_counts(batch)))


def test_is_the_weighted_loss_of_mace_torch(batch: AtomsBatch, prediction: Prediction) -> None:
    # The mean over frames of ((E - E') / n)^2 and over components of (F - F')^2, as in mace/modules/loss.py.
    atoms = np.array([2, 2, 5])
    energy = (((prediction.energy - batch.energy).numpy() / atoms) ** 2).mean()
    forces = ((prediction.forces - batch.forces).numpy() ** 2).mean()
    stress = ((prediction.stress - batch.stress).numpy()[0] ** 2).mean()  # only the crystal has one
    expected = 2 * energy + 30 * forces + 5 * stress
    assert total(batch, prediction, Loss(energy=2, forces=30, stress=5)) == pytest.approx(expected, rel=1e-12)


def test_configuration_types_weigh_in_the_sum_and_not_in_the_count(
    batch: AtomsBatch, prediction: Prediction
) -> None:
    loss = Loss(energy=1, forces=0, config_type_weights={"methane": 10, "dimer": 0})
    squares = ((prediction.energy - batch.energy) / torch.tensor([2, 2, 5])).square()
    assert total(batch, prediction, loss) == pytest.approx(
        float((squares[0] + 10 * squares[2]) / 3), rel=1e-12
    )


def test_huber_is_quadratic_then_linear() -> None:
    errors = torch.tensor([-0.005, 0.0, 0.02, 3.0], dtype=torch.float64)
    expected = [0.5 * 0.005**2, 0, 0.01 * (0.02 - 0.005), 0.01 * (3 - 0.005)]
    assert Huber(delta=0.01)(errors).tolist() == pytest.approx(expected, rel=1e-12)
    assert L2()(errors).tolist() == pytest.approx([0.005**2, 0, 0.02**2, 9], rel=1e-12)


def test_masked_labels_count_nowhere(batch: AtomsBatch, prediction: Prediction) -> None:
    masked = replace(
        batch,
        energy_mask=torch.tensor([True, False, True]),
        forces_mask=batch.frame != 1,
    )
    wild = replace(prediction, energy=prediction.energy + torch.tensor([0, 1e6, 0]))
    loss = Loss(energy=1, forces=1)
    squares = ((prediction.energy - batch.energy) / torch.tensor([2, 2, 5])).square()
    forces = (prediction.forces - batch.forces)[batch.frame != 1].square()
    expected = float(squares[[0, 2]].mean() + forces.mean())
    assert total(masked, wild, loss) == pytest.approx(expected, rel=1e-12)
    assert label_counts(masked).tolist() == [2, 21, 6]


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(3)
    frames = labelled([dimer(rng), methane(rng), methane(rng)])
    loss = Loss(energy=3, forces=7)
    model = torch.nn.Linear(1, 1, dtype=torch.float64)

    def sums(chosen: list) -> tuple:
        batch = batch_from_structures(chosen, 3.0)
        guess = model(batch.positions[:, :1])
        energy = torch.zeros(batch.n_frames, dtype=torch.float64).index_add(0, batch.frame, guess[:, 0])
        return loss_sums(batch, Prediction(energy, guess.expand(-1, 3), None, guess[:, 0]), loss)

    whole, first, rest = sums(frames), sums(frames[:1]), sums(frames[1:])
    counts = first.counts + rest.counts
    assert counts.tolist() == whole.counts.tolist()
    parts = first.total(loss, counts) + rest.total(loss, counts)
    assert parts.item() == pytest.approx(whole.total(loss, whole.counts).item(), rel=1e-12)
