import torch

from sciten.training.average import WeightAverage
from tests.toys import ToyPotential


def test_follows_the_definition() -> None:
    model = ToyPotential((1, 6))
    average = WeightAverage(model, 0.5)
    expected = model.depth.detach().clone()
    for n in range(1, 20):
        with torch.no_grad():
            model.depth.add_(torch.tensor([0.1 * n, -0.05]))
        average.update(model)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * model.depth.detach()
        torch.testing.assert_close(average.model.depth, expected, rtol=1e-12, atol=0)
    assert not average.model.depth.requires_grad


def test_without_decay_it_is_the_model_itself() -> None:
    model = ToyPotential((1, 6))
    average = WeightAverage(model, None)
    with torch.no_grad():
        model.depth.mul_(3.0)
    average.update(model)
    assert torch.equal(average.model.depth, model.depth)
