import io

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from sciten.equivariant.products.channelwise import convolution_map, convolution_paths
from sciten.errors import ConfigError
from sciten.tensor.multilinear import Index, Multilinear, evaluate
from sciten.tensor.multilinear.operator import _multilinear
from sciten.tensor.multilinear.reference import Reference
from sciten.tensor.multilinear.triton import Triton
from tests.tensor.multilinear.maps import rich_arguments, rich_map

MAP = convolution_map(1, 2, 2)
N_EDGES, N_ATOMS, CHANNELS = 40, 9, 8


def convolution(weights, harmonics, features, senders, receivers):
    indices = {"senders": Index(senders, N_ATOMS), "receivers": Index(receivers, N_ATOMS)}
    return evaluate(MAP, [weights, harmonics, features], indices)[0]


def inputs(n_edges: int = N_EDGES) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(n_edges)
    shapes = [(n_edges, len(convolution_paths(1, 2, 2)), CHANNELS), (n_edges, 9), (N_ATOMS, 4, CHANNELS)]
    tensors = [torch.randn(s, dtype=torch.float64, generator=generator, requires_grad=True) for s in shapes]
    rows = [torch.randint(N_ATOMS, (n_edges,), generator=generator) for _ in range(2)]
    return *tensors, *rows


def forces(weights, harmonics, features, senders, receivers):
    """A derivative, and derivatives of a function of it: what training on forces needs."""
    energy = convolution(weights, harmonics, features, senders, receivers).sin().sum()
    (gradient,) = torch.autograd.grad(energy, harmonics, create_graph=True)
    return gradient, *torch.autograd.grad((gradient**2).sum(), [weights, features])


def test_a_map_survives_as_text() -> None:
    for map_ in (MAP, rich_map(), MAP.derivative((0, 2)).derivative(1)):
        assert Multilinear.from_text(map_.to_text()) == map_


def test_compiled_forward_and_backward_equal_eager() -> None:
    arguments = inputs()
    compiled = torch.compile(
        convolution, fullgraph=True, backend="aot_eager"
    )  # before anything has run eagerly
    result, plain = compiled(*arguments), convolution(*arguments)
    torch.testing.assert_close(result, plain, rtol=0, atol=1e-13)
    for a, b in zip(
        torch.autograd.grad(result.sin().sum(), arguments[:3]),
        torch.autograd.grad(plain.sin().sum(), arguments[:3]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_compiled_by_inductor_equals_eager() -> None:
    arguments = inputs()
    torch.testing.assert_close(
        torch.compile(convolution, fullgraph=True)(*arguments), convolution(*arguments), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx_records_second_derivatives(mode: str) -> None:
    recorded = make_fx(forces, tracing_mode=mode)(*inputs())
    assert any("sciten" in str(node.target) for node in recorded.graph.nodes)
    arguments = [a.detach() * 1.3 if a.is_floating_point() else a for a in inputs()]
    expected = forces(*(a.requires_grad_() if a.is_floating_point() else a for a in arguments))
    for a, b in zip(recorded(*(a.detach() for a in arguments)), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_exported_programs_take_any_batch_and_survive_saving() -> None:
    class Module(torch.nn.Module):
        def forward(self, weights, harmonics, features, senders, receivers):
            return convolution(weights, harmonics, features, senders, receivers)

    n = torch.export.Dim("n_edges")
    shapes = ({0: n}, {0: n}, None, {0: n}, {0: n})
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Module(), inputs(), dynamic_shapes=shapes), buffer)
    buffer.seek(0)
    restored = torch.export.load(buffer).module()
    other = inputs(17)
    torch.testing.assert_close(restored(*other), convolution(*other), rtol=0, atol=1e-13)


def test_opcheck() -> None:
    arguments, indices = rich_arguments(batch=7, channels=4)
    names = sorted(indices)
    torch.library.opcheck(
        _multilinear,
        (
            rich_map().to_text(),
            "",
            ",".join(names),
            arguments,
            [indices[n].rows for n in names],
            [indices[n].size for n in names],
        ),
    )


def test_recorded_programs_check_indices_when_they_run() -> None:
    recorded = make_fx(convolution)(*inputs())
    *tensors, senders, receivers = inputs()
    senders[3] = N_ATOMS
    with pytest.raises(ConfigError, match=rf"expected rows in \[0, {N_ATOMS}\)"):
        recorded(*tensors, senders, receivers)


def test_the_executor_is_recorded_and_must_be_known() -> None:
    def with_reference(*arguments):
        return evaluate(rich_map(), arguments, indices, executor=Reference())[0]

    class Mine(Reference):
        pass

    arguments, indices = rich_arguments(batch=3, channels=2)
    recorded = make_fx(with_reference)(*arguments)
    assert any("reference" in node.args for node in recorded.graph.nodes if "sciten" in str(node.target))
    for executor in (Mine(), Triton(tile=64)):

        def with_unknown(*arguments, executor=executor):
            return evaluate(rich_map(), arguments, indices, executor=executor)[0]

        with pytest.raises(
            ConfigError, match=r"expected Reference\(\), Cpu\(\) or Triton\(\) as the executor"
        ):
            make_fx(with_unknown)(*arguments)
