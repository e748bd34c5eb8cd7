"""Fourier neural operators: symmetries, resolutions, formats of weights, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sciten.errors import ConfigError
from sciten.neural_operators import (
    FNO,
    TFNO,
    CPFactors,
    Dense,
    Factorization,
    MultigridPatching,
    TTFactors,
    TuckerFactors,
    load_operator,
    save_operator,
)


def small(**changes: object) -> FNO:
    arguments: dict[str, object] = {
        "in_channels": 2,
        "out_channels": 1,
        "modes": (4, 4),
        "hidden_channels": 6,
        "n_layers": 2,
        "dtype": torch.float64,
    }
    return FNO(**(arguments | changes))  # type: ignore[arg-type]


def band_limited(grid: tuple[int, ...], channels: int, periodic: bool = True) -> torch.Tensor:
    """The same smooth functions on any grid, `[1, channels, *grid]`."""
    lines = [torch.arange(n, dtype=torch.float64) / (n if periodic else n - 1) for n in grid]
    points = torch.meshgrid(*lines, indexing="ij")
    waves = [
        sum(
            torch.sin(2 * torch.pi * (k + 1) * x + axis + channel)
            for axis, x in enumerate(points)
            for k in range(2)
        )
        for channel in range(channels)
    ]
    return torch.stack(waves)[None]  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", [(16,), (8, 9), (4, 5, 6)])
def test_fields_on_any_grid(grid: tuple[int, ...]) -> None:
    model = small(modes=[4] * len(grid))
    assert model(torch.randn(3, 2, *grid)).shape == (3, 1, *grid)


def test_it_commutes_with_translations_of_periodic_domains() -> None:
    model = small(positional_grid=False)
    fields = torch.randn(2, 2, 8, 10, dtype=torch.float64)
    shifted = model(fields.roll((3, 4), (2, 3)))
    torch.testing.assert_close(shifted, model(fields).roll((3, 4), (2, 3)))


@pytest.mark.parametrize("positional_grid", [True, False])
def test_finer_grids_of_periodic_domains_converge_to_the_same_function(positional_grid: bool) -> None:
    """GELU makes frequencies that a grid aliases, ever fewer on finer ones."""
    model = small(positional_grid=positional_grid)
    reference = model(band_limited((256, 256), 2)).detach()
    errors = []
    for n in (8, 16, 32, 64):
        step = 256 // n
        errors.append(
            float((model(band_limited((n, n), 2)).detach() - reference[:, :, ::step, ::step]).abs().max())
        )
    assert (
        errors[1] < 0.5 * errors[0] and errors[-1] < 0.2 * errors[1] < 0.1
    )  # coordinates jump at the border


@pytest.mark.parametrize("padding", [0.0, 0.25])
def test_finer_grids_with_ends_converge_to_the_same_function(padding: float) -> None:
    model = small(periodic=False, padding=padding)
    reference = model(band_limited((257, 257), 2, periodic=False)).detach()
    errors = []
    for n in (17, 33, 65):
        step = 256 // (n - 1)
        errors.append(
            float(
                (model(band_limited((n, n), 2, False)).detach() - reference[:, :, ::step, ::step])
                .square()
                .mean()
                .sqrt()
            )
        )
    assert errors[2] < 0.7 * errors[1] < 0.7 * 0.7 * errors[0]


def test_padding_is_a_share_of_the_domain_on_every_grid() -> None:
    model = small(periodic=(False, True), padding=0.25)
    for n in (17, 33, 65):
        padded = model._padded(torch.ones(1, n, n, 3), (n, n))
        assert padded.shape[1:3] == ((n - 1) * 5 // 4, n)
        assert not padded[:, n:].any()


def test_fields_keep_their_units() -> None:
    plain = small()
    scaled = small(input_scale=[(1.0, 2.0), (-3.0, 0.5)], output_scale=[(10.0, 4.0)])
    fields = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    given = fields * torch.tensor([2.0, 0.5]).view(2, 1, 1) + torch.tensor([1.0, -3.0]).view(2, 1, 1)
    torch.testing.assert_close(scaled(given), plain(fields) * 4 + 10)


@pytest.mark.parametrize("skip", ["linear", "identity", "soft_gating", "none"])
@pytest.mark.parametrize("mlp_channels", [0, 3])
def test_blocks_are_what_they_say(skip: str, mlp_channels: int) -> None:
    model = small(skip=skip, mlp_skip=skip, mlp_channels=mlp_channels)
    block = model.blocks[0]
    fields = torch.randn(2, 8, 8, 6, dtype=torch.float64)

    def passed(connection: torch.nn.Module) -> torch.Tensor:
        if connection.map is not None:
            return fields @ connection.map.weight
        if connection.gates is not None:
            return fields * connection.gates
        return fields if skip == "identity" else torch.zeros_like(fields)

    gelu = torch.nn.functional.gelu
    expected = gelu(block.convolution(fields) + passed(block.skip))
    if mlp_channels:
        expected = gelu(block.mlp(expected) + passed(block.mlp_skip))
    torch.testing.assert_close(block(fields), expected)


def test_gradients_are_those_of_finite_differences() -> None:
    model = TFNO(1, 1, (3, 3), 2, n_layers=1, factorization=TuckerFactors(0.5), dtype=torch.float64)
    fields = torch.randn(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, (fields,))
    parameters = list(model.parameters())

    def of_parameters(*values: torch.Tensor) -> torch.Tensor:
        named = dict(zip(dict(model.named_parameters()), values, strict=True))
        return torch.func.functional_call(model, named, (fields.detach(),))  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(of_parameters, parameters)


@pytest.mark.parametrize("factorization", [TuckerFactors([6, 6, 4, 3]), TTFactors([6, 12, 3])], ids=str)
def test_a_trained_operator_is_decomposed_and_put_together(factorization: Factorization) -> None:
    dense = small()
    fields = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    tensorised = dense.with_factorization(factorization)
    assert isinstance(tensorised, TFNO)
    torch.testing.assert_close(tensorised(fields), dense(fields))
    again = tensorised.with_factorization(Dense())
    assert type(again) is FNO
    torch.testing.assert_close(again(fields), dense(fields))


@pytest.mark.parametrize("factorization", [CPFactors(0.2), TuckerFactors(0.2), TTFactors(0.2)], ids=str)
def test_a_tensorised_operator_survives_its_arguments(factorization: Factorization) -> None:
    model = TFNO(
        2, 1, (4, 4), 6, n_layers=2, factorization=factorization, periodic=(True, False), padding=0.2
    )
    again = TFNO(**model.arguments(), seed=1)
    again.load_state_dict(model.state_dict())
    fields = torch.randn(2, 2, 8, 9)
    torch.testing.assert_close(again(fields), model(fields))
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in small().parameters())


def test_seeds_decide_the_weights() -> None:
    first, same, other = (small(seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(
        first["blocks.0.convolution.weight.factors.0"], other["blocks.0.convolution.weight.factors.0"]
    )


def test_fewer_modes_may_take_part(tmp_path: Path) -> None:
    model = small(modes=(8, 8))
    fields = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    with pytest.raises(ConfigError, match="at least 8 × 8 points"):
        model(fields)
    model.set_modes((4, 4))
    assert model(fields).shape == (1, 1, 6, 6)
    save_operator(model, tmp_path)
    found = load_operator(tmp_path)
    assert isinstance(found, FNO) and found.active_modes == (4, 4) and found.modes == (8, 8)
    assert torch.equal(found(fields), model(fields))


def test_making_and_loading_leaves_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    TFNO(1, 1, (4, 4), 4, dropout=0.1, seed=7)
    assert torch.equal(torch.get_rng_state(), before)


def test_scales_have_all_digits() -> None:
    model = small(input_scale=[(1 / 3, 0.1), (0.0, 1.0)])
    assert float(model.input_mean[0]) == 1 / 3 and model.input_std.dtype == torch.float64


def test_bad_input_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"expected fields of shape \[batch, 2, points, points\], got \[1, 3, 8, 8\]"
    ):
        small()(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ConfigError, match="expected periodic for each of 2 axes"):
        small(periodic=(True, True, False))
    for scale in ([(0.0, 0.0), (0.0, 1.0)], [0.0, 1.0], [(0.0, 1.0)]):
        with pytest.raises(ConfigError, match="input_scale as a mean and a positive standard deviation"):
            small(input_scale=scale)
    for fields in (np.zeros((1, 2, 8, 8)), torch.zeros(1, 2, 8, 8, dtype=torch.complex64)):
        with pytest.raises(ConfigError, match="expected fields as a tensor of real numbers, got"):
            small()(fields)
    with pytest.raises(
        ConfigError, match=r"expected a dtype of real numbers, as torch\.float32, got 'float64'"
    ):
        small(dtype="float64")
    with pytest.raises(ConfigError, match="skip: expected one of"):
        small(skip="conv")
    for name in ("in_channels", "n_layers", "hidden_channels", "lifting_channels", "projection_channels"):
        for wrong in (0, 4.0, "4"):
            with pytest.raises(ConfigError, match=f"{name} as a whole number of at least 1, got {wrong!r}"):
                small(**{name: wrong})
    with pytest.raises(ConfigError, match="mlp_channels as a whole number of at least 0, got -1"):
        small(mlp_channels=-1)
    for modes in ((4, 0), (4.0, 4), ("4", "4"), (4, 4, 4, 4), "44", None, (4, True)):
        with pytest.raises(ConfigError, match=r"expected modes as a positive whole number .* got "):
            small(modes=modes, periodic=True)
    with pytest.raises(ConfigError, match="expected at most the modes"):
        small().set_modes(3)
    with pytest.raises(ConfigError, match=r"expected no padding=0\.2 where all axes are periodic"):
        small(padding=0.2, periodic=True)
    assert small(hidden_channels=1).mlp_channels == 1
    # Numbers of numpy are as good, and are written as numbers.
    found = small(hidden_channels=np.int64(6), modes=np.array([4, 4]))
    assert json.dumps(found.arguments()) == json.dumps(small().arguments())
    assert FNO(1, 1, 6, 2).modes == (6,)


@pytest.mark.parametrize("factorization", [Dense(), TuckerFactors(0.2)], ids=str)
def test_mixed_precision_gives_nearly_the_same(factorization: Factorization) -> None:
    model = TFNO(2, 1, (4, 4), 8, n_layers=2, factorization=factorization, seed=1)
    fields = torch.randn(2, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(fields)
        found.float().square().mean().backward()
    expected = model(fields).detach()
    error = (found.detach().float() - expected).norm() / expected.norm()
    assert float(error) < 0.03
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("patching", [None, MultigridPatching((2, 1), 1)], ids=["whole", "patches"])
def test_exported_programs_take_other_batches_and_leave_no_trace(patching: MultigridPatching | None) -> None:
    model = FNO(1, 1, (4, 4), 4, n_layers=2, patching=patching)
    fields = torch.randn(3, 1, 66, 68)  # a grid that no other test has, and enough points for compiled code
    program = torch.export.export(model, (fields,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (fields, fields[:2]):
        torch.testing.assert_close(program.module()(batch), model(batch), rtol=1e-4, atol=1e-5)
    model(fields).square().mean().backward()


@pytest.mark.slow
@pytest.mark.parametrize("grid", [(16,), (16, 12), (9, 8, 10)])
def test_exported_programs_take_other_grids(grid: tuple[int, ...]) -> None:
    model = TFNO(1, 1, (4,) * len(grid), 4, n_layers=2, periodic=False, dtype=torch.float64)
    sizes = {2 + axis: torch.export.Dim(f"n{axis}", min=6, max=640) for axis in range(len(grid))}
    example = torch.randn(2, 1, *grid, dtype=torch.float64)
    program = torch.export.export(
        model, (example,), dynamic_shapes=({0: torch.export.Dim("batch"), **sizes},)
    )
    for points in (grid, (7,) * len(grid), (21, 6, 8)[: len(grid)]):
        fields = torch.randn(3, 1, *points, dtype=torch.float64)
        torch.testing.assert_close(program.module()(fields), model(fields), rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "factorization", [Dense(), CPFactors(4), TuckerFactors(0.2), TTFactors(0.2)], ids=str
)
def test_compiled_operators_are_the_same_in_one_graph(factorization: Factorization) -> None:
    patching = MultigridPatching((2, 1), 1) if factorization == Dense() else None
    model = TFNO(
        2, 1, (4, 4), 8, n_layers=2, factorization=factorization, patching=patching, dtype=torch.float64
    )
    fields = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(fields), model(fields))
    gradients = []
    for each in (model, compiled):
        model.zero_grad()
        each(fields).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients[0], gradients[1])
