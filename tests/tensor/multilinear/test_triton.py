import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sciten.equivariant.products.channelwise import convolution_map
from sciten.equivariant.products.symmetric import contraction_map
from sciten.errors import ConfigError, MissingExtraError, StorageError
from sciten.tensor.multilinear import Index, Multilinear, Operand, Term, evaluate, triton
from sciten.tensor.multilinear.reference import Reference
from sciten.tensor.multilinear.triton import Triton, available
from tests.tensor.multilinear.maps import rich_arguments, rich_map

pytestmark = pytest.mark.skipif(not available(), reason="neither a CUDA device nor Triton's interpreter")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
#: Under the interpreter the time goes with the number of programs, whatever their size.
WIDE = Triton(tile=1024)


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Fresh memory is full of NaN, so that an element that is not written shows."""
    empty = torch.empty

    def poison(*args, **kwargs):
        fresh = empty(*args, **kwargs)
        return fresh.fill_(float("nan")) if fresh.is_floating_point() else fresh

    monkeypatch.setattr(torch, "empty", poison)


def on_device(arguments, indices):
    return (
        [a.detach().to(DEVICE).requires_grad_(a.requires_grad) for a in arguments],
        {name: Index(index.rows.to(DEVICE), index.size) for name, index in indices.items()},
    )


def all_orders(map_, executor, arguments, indices):
    """Results, gradients and second derivatives of a map on one executor."""
    arguments, indices = on_device(arguments, indices)
    results = evaluate(map_, arguments, indices, executor=executor)
    loss = sum(r.sin().sum() for r in results)
    gradients = torch.autograd.grad(loss, arguments, create_graph=True)
    second = torch.autograd.grad(sum((g**2).sum() for g in gradients), arguments)
    return [value.detach() for value in (*results, *gradients, *second)]


def assert_equal_to_reference(map_, arguments, indices, executor=WIDE):
    fast = all_orders(map_, executor, arguments, indices)
    for found, expected in zip(fast, all_orders(map_, Reference(), arguments, indices), strict=True):
        scale = float(expected.abs().max()) if expected.numel() else 0.0
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11 * scale)


def random(generator, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(True)


@pytest.mark.parametrize(
    ("batch", "channels", "tile"),
    [(37, 3, 32), (2, 63, 32), (2, 64, 32), (5, 1, 32), (70, 63, 2048), (1, 1000, 1024)],
)
def test_results_and_derivatives_equal_the_reference(batch: int, channels: int, tile: int) -> None:
    """Gathered, shared, repeated and channel-free operands of every kind, in one and in several blocks."""
    arguments, indices = rich_arguments(batch=batch, channels=channels)
    assert_equal_to_reference(rich_map(), arguments, indices, Triton(tile=tile))


@st.composite
def maps(draw):
    def operand():
        index = draw(st.sampled_from([None, None, "i", "j"]))
        return Operand(
            draw(st.integers(1, 3)), draw(st.booleans()), index, index is None and draw(st.booleans())
        )

    arguments = [operand() for _ in range(draw(st.integers(1, 3)))]
    arguments[0] = Operand(arguments[0].components, True, arguments[0].index, arguments[0].shared)
    results = [operand() for _ in range(draw(st.integers(1, 2)))]
    terms = []
    for _ in range(draw(st.integers(1, 6))):
        chosen = [0, *draw(st.lists(st.integers(0, len(arguments) - 1), max_size=2))]
        r = draw(st.integers(0, len(results) - 1))
        if not results[r].channels:
            chosen = chosen[draw(st.integers(0, 1)) :]
            # Alone, a factor with channels has a gradient that is spread over channels, which is no `Multilinear`.
            chosen += [0] * (sum(arguments[a].channels for a in chosen) == 1)
        factors = tuple((a, draw(st.integers(0, arguments[a].components - 1))) for a in chosen)
        component = draw(st.integers(0, results[r].components - 1))
        terms.append(Term(draw(st.sampled_from([1.0, -0.3, 1 / 3, 2.0])), factors, (r, component)))
    return Multilinear(tuple(arguments), tuple(results), tuple(terms))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    map_=maps(), batch=st.sampled_from([0, 1, 6]), channels=st.sampled_from([1, 5]), seed=st.integers(0, 99)
)
def test_any_map_equals_the_reference(map_: Multilinear, batch: int, channels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"i": 3, "j": 2}
    indices = {
        n: Index(torch.randint(0, size, (batch,), generator=generator), size) for n, size in sizes.items()
    }
    arguments = []
    for operand in map_.arguments:
        shape = [] if operand.shared else [sizes[operand.index] if operand.index else batch]
        arguments.append(
            random(generator, *shape, operand.components, *([channels] if operand.channels else []))
        )
    assert_equal_to_reference(map_, arguments, indices, Triton())


def convolution(lmax: tuple[int, int, int], edges: int, channels: int, *, ordered: bool, dtype=torch.float64):
    """Arguments of a convolution between 7 atoms, of which the last and the third receive nothing."""
    map_ = convolution_map(*lmax)
    generator = torch.Generator().manual_seed(1)
    receivers = torch.tensor([0, 1, 3, 4, 5])[torch.randint(0, 5, (edges,), generator=generator)]
    if ordered:
        receivers = receivers.sort().values
    senders = torch.randint(0, 7, (edges,), generator=generator)
    weights, harmonics, features = map_.arguments
    arguments = [
        random(generator, edges, weights.components, channels, dtype=dtype),
        random(generator, edges, harmonics.components, dtype=dtype),
        random(generator, 7, features.components, channels, dtype=dtype),
    ]
    return map_, arguments, {"senders": Index(senders, 7), "receivers": Index(receivers, 7)}


@pytest.mark.parametrize(
    ("lmax", "channels", "ordered"),
    [
        ((0, 1, 1), 63, False),
        ((1, 1, 1), 1, True),
        ((1, 2, 2), 8, False),
        pytest.param((2, 2, 2), 128, True, marks=pytest.mark.slow),
        pytest.param((3, 3, 3), 33, False, marks=pytest.mark.slow),
    ],
)
def test_convolutions_equal_the_reference(lmax: tuple[int, int, int], channels: int, ordered: bool) -> None:
    assert_equal_to_reference(*convolution(lmax, 12, channels, ordered=ordered))


@pytest.mark.parametrize("ordered", [True, False])
def test_rows_without_edges_are_zero(ordered: bool) -> None:
    map_, arguments, indices = convolution((0, 1, 1), 12, 5, ordered=ordered)
    (result,) = evaluate(map_, *on_device(arguments, indices), executor=Triton())
    assert not result[[2, 6]].any() and result[[0, 1, 3, 4, 5]].any(dim=(1, 2)).all()


@pytest.mark.parametrize(
    ("lmax", "correlation", "channels"),
    [(1, 1, 63), (2, 2, 4), (1, 3, 33), pytest.param(3, 3, 16, marks=pytest.mark.slow)],
)
def test_symmetric_contractions_equal_the_reference(lmax: int, correlation: int, channels: int) -> None:
    map_ = contraction_map(lmax, (0, 1), correlation)
    generator = torch.Generator().manual_seed(2)
    species = torch.tensor([2, 0, 2, 2, 0])
    coefficients, features = map_.arguments
    arguments = [
        random(generator, 3, coefficients.components, channels),
        random(generator, 5, features.components, channels),
    ]
    assert_equal_to_reference(map_, arguments, {"species": Index(species, 3)})


@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_lies_beyond_the_batch_is_not_added() -> None:
    """An infinite operand that all elements share must not meet the zeros that stand for elements that are not."""
    map_ = Multilinear(
        (Operand(1), Operand(1, shared=True)),
        (Operand(1, shared=True), Operand(1, channels=False)),
        (Term(1.0, ((0, 0), (1, 0)), (0, 0)), Term(1.0, ((0, 0), (1, 0)), (1, 0))),
    )
    values = [torch.ones(3, 1, 5), torch.full((1, 5), float("inf"))]
    for result in evaluate(map_, [value.to(DEVICE) for value in values], executor=Triton()):
        assert (result == float("inf")).all()


def test_long_rows_are_added_up_in_pieces() -> None:
    """Ten rows with 5000 elements between them, three of which would each keep one program busy."""
    map_ = Multilinear(
        (Operand(2), Operand(1, channels=False)),
        (Operand(2, index="row"), Operand(1, channels=False, index="row")),
        (
            Term(1.5, ((0, 0), (1, 0)), (0, 1)),
            Term(1.0, ((0, 1), (1, 0)), (1, 0)),
            Term(1.0, ((1, 0),), (1, 0)),
        ),
    )
    generator = torch.Generator().manual_seed(4)
    rows = torch.tensor([1, 4, 8])[torch.randint(0, 3, (5000,), generator=generator)]
    arguments = [random(generator, 5000, 2, 3), random(generator, 5000, 1)]
    indices = {"row": Index(rows, 10)}
    expected = evaluate(map_, *on_device(arguments, indices), executor=Reference())
    found = evaluate(map_, *on_device(arguments, indices), executor=Triton(tile=4096))
    for value, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(value, exact, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("rows", [0, 4])
def test_empty_batch_gives_zeros(rows: int) -> None:
    arguments, indices = rich_arguments(batch=0, channels=16)
    indices["r"] = Index(indices["r"].rows, rows)
    for executor in (Triton(), Reference()):
        results = evaluate(rich_map(), *on_device(arguments, indices), executor=executor)
        assert [list(r.shape) for r in results] == [[rows, 5, 16], [2], [0, 3, 16], [0, 2]]
        assert not any(r.any() for r in results)


def test_without_channels_only_what_needs_none_is_left() -> None:
    arguments, indices = rich_arguments(batch=4, channels=0)
    for found, expected in zip(
        evaluate(rich_map(), *on_device(arguments, indices), executor=Triton()),
        evaluate(rich_map(), *on_device(arguments, indices), executor=Reference()),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_more_channels_than_a_grid_has_blocks() -> None:
    run = triton._Run(Triton(), rich_map(), [], {}, batch=1, channels=5_000_000)
    assert run._lanes == 128 and run._blocks <= 65535


def test_non_contiguous_arguments() -> None:
    arguments, indices = rich_arguments(batch=9, channels=16)
    strided = [torch.stack([a, a], dim=-1)[..., 0] for a in arguments]
    for found, expected in zip(
        evaluate(rich_map(), *on_device(strided, indices), executor=WIDE),
        evaluate(rich_map(), *on_device(arguments, indices), executor=WIDE),
        strict=True,
    ):
        assert torch.equal(found, expected)


def test_results_do_not_depend_on_the_run() -> None:
    arguments, indices = rich_arguments(batch=40, channels=5, dtype=torch.float32)
    first, second = (all_orders(rich_map(), WIDE, arguments, indices) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("limits", [{"max_terms": 5}, {"max_sums": 3}, {"max_terms": 1}])
def test_a_map_in_several_kernels_gives_the_same(limits: dict[str, int]) -> None:
    map_, arguments, indices = convolution((0, 1, 1), 6, 3, ordered=False)
    assert_equal_to_reference(map_, arguments, indices, Triton(tile=1024, **limits))


def test_parts_keep_to_their_limits_and_leave_nothing_out() -> None:
    map_ = convolution_map(3, 3, 3).derivative([0, 1, 2])
    parts = triton._parts(map_, (0, 1), 200, 7)
    assert sorted(sum(parts, ())) == sorted({t.target for t in map_.terms if t.target[0] in (0, 1)})
    for part in parts:
        assert len(part) <= 7
        assert len(part) == 1 or sum(t.target in part for t in map_.terms) <= 200
    large = triton._parts(map_, (0, 1), 400, None)
    assert len(large) == 2 and abs(len(large[0]) - len(large[1])) < 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_is_as_good_as_rounding_the_results(dtype: torch.dtype) -> None:
    """The exact values of the rounded inputs, rounded once more, with little from sums in float32."""
    map_, arguments, indices = convolution((1, 1, 1), 12, 5, ordered=False, dtype=dtype)
    exact = [a.detach().double().requires_grad_(True) for a in arguments]

    def first_order(executor, values):
        values, on = on_device(values, indices)
        (result,) = evaluate(map_, values, on, executor=executor)
        cotangent = torch.linspace(-1, 1, result.numel(), device=DEVICE).view_as(result).to(dtype)
        return result, *torch.autograd.grad(result, values, cotangent.to(result.dtype))

    for found, expected in zip(first_order(WIDE, arguments), first_order(Reference(), exact), strict=True):
        assert found.dtype == dtype
        # The interpreter cuts bfloat16 off where the GPU rounds to the nearest.
        ulps = 1 if dtype == torch.bfloat16 and DEVICE.type == "cpu" else 0.5
        bound = ulps * torch.finfo(dtype).eps * expected.abs() + 1e-6 * expected.abs().max()
        assert ((found.double() - expected).abs() <= 1.01 * bound).all()


@pytest.mark.parametrize("destination", ["row", None])
def test_bfloat16_is_added_up_in_float32(destination: str | None) -> None:
    """A sum of ones stops at 256 in bfloat16, in pieces or not."""
    result = Operand(1, index=destination, shared=destination is None)
    map_ = Multilinear((Operand(1),), (result,), (Term(1.0, ((0, 0),), (0, 0)),))
    ones = torch.ones(600, 1, 3, dtype=torch.bfloat16, device=DEVICE)
    indices = {"row": Index(torch.ones(600, dtype=torch.int64, device=DEVICE), 2)}
    (total,) = evaluate(map_, [ones], indices, executor=WIDE)
    assert (total[-1] == 600).all()


def test_coefficients_are_exact_in_float64() -> None:
    map_ = Multilinear(
        (Operand(1), Operand(1, channels=False)),
        (Operand(1), Operand(1, channels=False)),
        (
            Term(1 / 3, ((0, 0),), (0, 0)),
            Term(0.1, ((0, 0), (1, 0)), (0, 0)),
            Term(1 / 7, (), (1, 0)),
            Term(0.1, ((1, 0),), (1, 0)),
        ),
    )
    x, y = torch.full((2, 1, 1), 0.7, dtype=torch.float64), torch.full((2, 1), 0.3, dtype=torch.float64)
    wide, narrow = evaluate(map_, [x.to(DEVICE), y.to(DEVICE)], executor=Triton())
    assert wide[0, 0, 0].item() == pytest.approx(0.7 / 3 + 0.1 * 0.7 * 0.3, rel=1e-15)
    assert narrow[1, 0].item() == pytest.approx(1 / 7 + 0.1 * 0.3, rel=1e-15)


def test_what_it_cannot_serve_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, indices = rich_arguments(batch=5, channels=2)
    with pytest.raises(ConfigError, match=r"float64, float32, float16 and bfloat16, not torch\.float8_e5m2"):
        evaluate(
            rich_map(), [a.detach().to(torch.float8_e5m2) for a in arguments], indices, executor=Triton()
        )
    monkeypatch.setattr(triton, "_interpreted", lambda: False)
    triton.unavailable.cache_clear()
    with pytest.raises(ConfigError, match=r"cpu: Triton runs on the CPU only under TRITON_INTERPRET=1"):
        evaluate(rich_map(), arguments, indices, executor=Triton())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    triton.unavailable.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install sciten\[triton\]"):
        evaluate(rich_map(), arguments, indices, executor=Triton())
    assert not available()
    monkeypatch.undo()
    triton.unavailable.cache_clear()
    assert available()


@pytest.mark.parametrize("wrong", [{"max_terms": 0}, {"max_sums": 0}, {"tile": 16}, {"tile": 48}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"Triton: expected {next(iter(wrong))}"):
        Triton(**wrong)


def test_kernels_are_kept_on_disk_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCITEN_CACHE", str(tmp_path / "kernels"))
    source = "import triton\n\nkernel = 1\n"
    assert triton._imported(source).kernel == 1
    (path,) = (tmp_path / "kernels").glob("*.py")
    path.write_text("half a ker")
    assert triton._imported(source).kernel == 1
    assert path.read_text() == source
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCITEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="set SCITEN_CACHE"):
        triton._imported(source)


def compiled(*what: str) -> list[dict[str, int]]:
    """What ptxas says about kernels compiled for a GPU; none need be there."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("compile_triton.py")), *what],
        env={**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("Triton's own ptxas is not there")
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_kernels_compile_for_a_gpu() -> None:
    """The interpreter accepts more than the compiler does."""
    kernels = compiled("1", "rich", "convolution:0,1,1")
    assert len(kernels) >= 15 and all(kernel["stack"] == 0 for kernel in kernels)


@pytest.mark.slow
def test_large_kernels_do_not_spill_registers() -> None:
    kernels = compiled("2", "convolution:3,3,3", "contraction:3,3")
    assert all(kernel["stack"] == 0 for kernel in kernels), kernels
