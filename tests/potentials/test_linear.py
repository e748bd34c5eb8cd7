import torch

from sciten.potentials.linear import uniform_linear, xavier_linear


def test_initial_weights_have_the_documented_spread() -> None:
    options = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    layer = uniform_linear(400, 300, **options)
    for parameter in (layer.weight, layer.bias):
        assert 0.9 / 20 < parameter.abs().max() <= 1 / 20 and abs(parameter.mean()) < 0.005
    layer = xavier_linear(400, 200, **options)
    assert 0.099 < layer.weight.abs().max() <= 0.1 and not layer.bias.any()


def test_weights_follow_the_generator_in_every_dtype() -> None:
    made = [
        uniform_linear(3, 2, bias=False, generator=torch.Generator().manual_seed(seed), dtype=dtype).weight
        for seed, dtype in ((1, torch.float64), (1, torch.float32), (2, torch.float64))
    ]
    assert torch.equal(made[0].float(), made[1]) and not torch.equal(made[0], made[2])
