import pytest
import torch

from sciten.training import Constant, Cosine, Plateau
from sciten.training.schedules import PlateauState


def test_cosine_starts_at_one_halves_in_the_middle_and_ends_at_final() -> None:
    schedule, state = Cosine(final=0.1), PlateauState()
    factors = [schedule.factor(epoch, 20, state) for epoch in (0, 10, 20)]
    assert factors == pytest.approx([1, 0.55, 0.1], rel=1e-12)


@pytest.mark.parametrize(
    "schedule", [Constant(warmup_epochs=4), Plateau(warmup_epochs=4), Cosine(warmup_epochs=4)]
)
def test_warmup_is_linear(schedule: Constant | Cosine | Plateau) -> None:
    factors = [schedule.factor(epoch, 1000, PlateauState()) for epoch in (0, 2, 4)]
    assert factors == pytest.approx([0.01, 0.505, 1.0], rel=1e-3)


def test_cosine_decays_from_the_end_of_the_warmup() -> None:
    schedule, state = Cosine(warmup_epochs=10, final=0), PlateauState()
    assert schedule.factor(10, 30, state) == pytest.approx(1)
    assert schedule.factor(20, 30, state) == pytest.approx(0.5)


def test_plateau_follows_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    losses = (torch.rand(200, generator=generator) + torch.linspace(2, 1, 200)).tolist()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.8, patience=3)
    ours, state = Plateau(reduce_by=0.8, patience=3), PlateauState()
    for loss in losses:
        theirs.step(loss)
        ours.observe(loss, state)
        assert ours.factor(1, 100, state) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert state.factor < 0.1  # the sequence really had plateaus
