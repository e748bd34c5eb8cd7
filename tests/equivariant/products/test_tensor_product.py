import math
from collections.abc import Iterator

import pytest
import torch
from e3nn import get_optimization_defaults, o3, set_optimization_defaults
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sciten.equivariant
from sciten.equivariant import FullyConnectedTensorProduct, TensorProduct
from sciten.equivariant.products.instructions import MODES
from sciten.errors import ConfigError
from sciten.tensor.multilinear.reference import Reference


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """e3nn rounds its constants to the default dtype when a product is made."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


irreps = st.lists(
    st.tuples(st.integers(1, 4), st.tuples(st.integers(0, 3), st.sampled_from([1, -1]))),
    min_size=1,
    max_size=3,
)


@st.composite
def products(draw) -> tuple:
    """Arguments of a tensor product with random irreps and instructions of every mode that fits them."""
    first, second = o3.Irreps(draw(irreps)), o3.Irreps(draw(irreps))
    out: list = []
    instructions = []
    for i, (u, a) in enumerate(first):
        for j, (v, b) in enumerate(second):
            for ir in a * b:
                fitting = [m for m in MODES if u == v or m not in ("uuw", "uuu", "uvu<v", "u<vw")]
                mode = draw(st.sampled_from([None, *(m for m in fitting if u > 1 or "<" not in m)]))
                if mode is None:
                    continue
                free = draw(st.integers(1, 3))
                mul = {"uvu": u, "uvv": v, "uuu": u, "uvuv": u * v, "uvu<v": u * (u - 1) // 2}.get(mode, free)
                weighted = mode in ("uvw", "uuw", "u<vw") or draw(st.booleans())
                if (mul, ir) not in out:
                    out.append((mul, ir))
                norm = draw(st.floats(0.1, 2.0))
                instructions.append((i, j, out.index((mul, ir)), mode, weighted, norm))
    return first, second, o3.Irreps(out), instructions


@given(
    products(),
    st.sampled_from(["component", "norm"]),
    st.sampled_from(["element", "path"]),
    st.booleans(),
    st.integers(0, 2**31),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_equal_to_e3nn_for_random_irreps(arguments, irrep_norm, path_norm, shared, seed) -> None:
    options = {
        "irrep_normalization": irrep_norm,
        "path_normalization": path_norm,
        "shared_weights": shared,
        "internal_weights": False,
    }
    # The reference executor: to compile thousands of maps would take its time, and it is tested by itself.
    theirs, ours = (
        o3.TensorProduct(*arguments, **options),
        TensorProduct(*arguments, **options, executor=Reference()),
    )
    torch.manual_seed(seed)
    x, y = torch.randn(3, ours.irreps_in1.dim), torch.randn(3, ours.irreps_in2.dim)
    weight = torch.randn(*([] if shared else [3]), theirs.weight_numel)
    assert ours.weight_numel == theirs.weight_numel
    assert torch.equal(ours.output_mask, theirs.output_mask)
    assert [tuple(ins.path_shape) for ins in ours.instructions] == [
        tuple(i.path_shape) for i in theirs.instructions
    ]
    torch.testing.assert_close(ours(x, y, weight), theirs(x, y, weight), rtol=0, atol=1e-12)
    narrow = ours(x.float(), y.float(), weight.float()).double()
    expected = theirs(x.float().double(), y.float().double(), weight.float().double())
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(narrow, expected, rtol=0, atol=1e-5 * largest)


CASES = [("3x0e+2x1o+1x2e", "2x1o+4x0e"), ("2x1e+2x1o", "4x1o"), ("1x3o+5x0o", "3x2e+3x1e")]
ARGUMENTS = [
    ("FullyConnectedTensorProduct", lambda a, b: (a, b, "3x0e+2x1o+2x1e+2o")),
    ("FullTensorProduct", lambda a, b: (a, b)),
    ("FullTensorProduct", lambda a, b: (a, b, ["1o", "0e", "1e"])),
    ("ElementwiseTensorProduct", lambda a, b: (a, b)),
    ("ElementwiseTensorProduct", lambda a, b: (a, b, [o3.Irrep("2e"), o3.Irrep("1e")])),
    ("TensorSquare", lambda a, b: (a,)),
    ("TensorSquare", lambda a, b: (b, "4x0e+3x1e+2x2e+1o")),
    ("TensorSquare", lambda a, b: (b, "2x3e+2x2e+1o+4x1e+3x0e")),
    ("TensorSquare", lambda a, b: (a, None, ["0e", "2e"])),
]


@pytest.mark.parametrize("normalization", ["component", "norm"])
@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS)
@pytest.mark.parametrize(("first", "second"), CASES)
def test_the_other_products_equal_those_of_e3nn(first, second, name, arguments, normalization) -> None:
    if name == "ElementwiseTensorProduct" and o3.Irreps(first).num_irreps != o3.Irreps(second).num_irreps:
        with pytest.raises(ConfigError, match="expected equally many irreps"):
            getattr(sciten.equivariant, name)(*arguments(first, second))
        return
    theirs = getattr(o3, name)(*arguments(first, second), irrep_normalization=normalization)
    ours = getattr(sciten.equivariant, name)(
        *arguments(first, second), irrep_normalization=normalization, executor=Reference()
    )
    assert str(ours) == str(theirs)
    ours.load_state_dict(theirs.state_dict())
    x, y = torch.randn(4, 3, theirs.irreps_in1.dim), torch.randn(3, theirs.irreps_in2.dim)
    inputs = (x,) if name == "TensorSquare" else (x, y)
    torch.testing.assert_close(ours(*inputs), theirs(*inputs), rtol=0, atol=1e-12)


def mixed() -> TensorProduct:
    """A product of several modes at once, with internal weights."""
    return TensorProduct(
        "3x0e+3x1o",
        "3x1o+1x2e",
        "3x0e+2x1o+3x1e+3x2e",
        [
            (0, 0, 1, "uvw", True),
            (1, 0, 0, "uuu", True),
            (1, 0, 2, "uvu", True),
            (1, 0, 2, "uuu", False),
            (1, 1, 1, "uvw", True),
            (0, 1, 3, "uvu", True),
        ],
    )


def test_the_fast_path_equals_the_reference_with_its_derivatives() -> None:
    product = mixed()
    arguments = [torch.randn(11, d, requires_grad=True) for d in (12, 14)]

    def everything(executor) -> list[torch.Tensor]:
        product.executor = executor
        result = product(*arguments)
        first = torch.autograd.grad(result.sin().sum(), [*arguments, product.weight], create_graph=True)
        return [
            result,
            *first,
            *torch.autograd.grad(sum((g**2).sum() for g in first), [*arguments, product.weight]),
        ]

    for fast, plain in zip(everything(None), everything(Reference()), strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-11, atol=1e-11)


def test_its_state_is_weight_and_mask() -> None:
    assert sorted(mixed().state_dict()) == ["output_mask", "weight"]


@pytest.mark.parametrize("jit_mode", ["script", "eager", "inductor"])
def test_states_of_e3nn_load_however_it_generated_its_code(jit_mode) -> None:
    ours = mixed()
    before = get_optimization_defaults()["jit_mode"]
    set_optimization_defaults(jit_mode=jit_mode)
    try:
        theirs = o3.TensorProduct(
            *(ours.irreps_in1, ours.irreps_in2, ours.irreps_out),
            [i[:5] for i in ours.instructions],
            compile_right=True,
        )
    finally:
        set_optimization_defaults(jit_mode=before)
    state = theirs.state_dict()
    assert any("left_right._w3j" in key for key in state) and any("main_right._w3j" in key for key in state)
    holder = torch.nn.Module()
    holder.inner = ours
    holder.load_state_dict({f"inner.{key}": value for key, value in state.items()})
    assert torch.equal(ours.weight, theirs.weight)


@pytest.mark.parametrize("key", ["wieght", "_compiled_main._w3j_1_1_1", "layer.weight", "weight.0"])
def test_other_keys_of_a_state_are_reported(key) -> None:
    holder = torch.nn.Module()
    holder.inner = mixed()
    state = {**holder.state_dict(), f"inner.{key}": torch.zeros(3)}
    with pytest.raises(RuntimeError, match=f'Unexpected key.*"inner.{key}"'):
        holder.load_state_dict(state)
    assert holder.load_state_dict(state, strict=False).unexpected_keys == [f"inner.{key}"]


def test_weights_as_a_list_views_and_the_map_of_x() -> None:
    product = mixed()
    x, y = torch.randn(5, 12), torch.randn(5, 14)
    views = list(product.weight_views())
    assert [v.shape for v in views] == [i.path_shape for i in product.instructions if i.has_weight]
    external = TensorProduct(
        product.irreps_in1,
        product.irreps_in2,
        product.irreps_out,
        [i[:5] for i in product.instructions],
        internal_weights=False,
    )
    torch.testing.assert_close(external(x, y, views), product(x, y))
    torch.testing.assert_close(torch.einsum("bi,bik->bk", x, product.right(y)), product(x, y))
    assert torch.equal(product.weight_view_for_instruction(1), views[1])
    with pytest.raises(ConfigError, match="instruction 3 has no weights"):
        product.weight_view_for_instruction(3)


def test_constants_do_not_depend_on_the_default_dtype() -> None:
    inputs = torch.randn(4, 12), torch.randn(4, 14)
    exact = mixed()
    torch.set_default_dtype(torch.float32)
    made_in_float32 = mixed().double()
    made_in_float32.load_state_dict(exact.state_dict())
    torch.testing.assert_close(made_in_float32(*inputs), exact(*inputs), rtol=0, atol=0)


def test_outputs_have_unit_variance() -> None:
    torch.manual_seed(0)
    product = TensorProduct(
        "8x0e+8x1o+8x2e", "8x0e+8x1o+8x2e", "8x0e+8x1o+8x2e",
        [(i, j, k, "uvw", True) for i in range(3) for j in range(3) for k in range(3)
         if abs(i - j) <= k <= i + j and (i + j + k) % 2 == 0],
        shared_weights=False,
    )  # fmt: skip
    result = product(torch.randn(200, 72), torch.randn(200, 72), torch.randn(200, product.weight_numel))
    for where, entry in zip(product.irreps_out.slices(), product.irreps_out, strict=True):
        assert math.isclose(float(result[:, where].var()), 1.0, rel_tol=0.2), entry


def test_empty_batches_irreps_and_unreached_outputs() -> None:
    assert mixed()(torch.zeros(0, 12), torch.zeros(0, 14)).shape == (0, 33)
    product = TensorProduct("2x0e", "2x0e", "2x0e+1x5o+0x1e", [(0, 0, 0, "uuu", False)])
    result = product(torch.ones(3, 2), torch.ones(3, 2))
    assert torch.equal(product.output_mask, torch.cat([torch.ones(2), torch.zeros(11)]))
    torch.testing.assert_close(result, product.output_mask.expand(3, -1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("1o", "1o", "1o", [(0, 0, 0, "uuu", True)]), "1o x 1o does not contain 1o"),
        (("1o", "1o", "3e", [(0, 0, 0, "uuu", True)]), "does not contain 3e"),
        (
            ("2x1o", "1o", "0e", [(0, 0, 0, "uuu", True)]),
            "mode uuu expects equal multiplicities, got 2x1o x 1x1o",
        ),
        (("1o", "1o", "0e", [(0, 0, 0, "uvx", True)]), "expected a connection mode among uvw"),
        (("1o", "1o", "0e", [(0, 1, 0, "uuu", True)]), "names entry 1 of 1x1o"),
        (("1o", "1o", "0e", [(0, 0, 0, "uvw", False)]), "mode uvw needs weights"),
        (("1o", "1o", "0e", [(0, 0)]), "expected instructions"),
    ],
)
def test_instructions_that_do_not_fit_are_refused(arguments, message) -> None:
    with pytest.raises(ConfigError, match=f"TensorProduct: .*{message}"):
        TensorProduct(*arguments)


def test_inputs_that_do_not_fit_are_refused() -> None:
    product = mixed()
    x, y = torch.zeros(5, 12), torch.zeros(5, 14)
    for inputs, message in [
        ((x[:, :-1], y), r"expected x of shape \[..., 12\] for 3x0e\+3x1o, got \[5, 11\]"),
        ((x, y[:3]), "expected leading axes that can be broadcast"),
        ((x.float(), y), "expected one dtype and one device, got x of torch.float32"),
        ((x.long(), y), "expected x to be a floating-point tensor, got a torch.int64 tensor"),
        ((x, y, torch.zeros(3)), r"expected weight of shape \[39\], got \[3\]"),
    ]:
        with pytest.raises(ConfigError, match=message):
            product(*inputs)


@pytest.mark.parametrize(
    ("weight", "got"),
    [
        ([torch.zeros(4, 3, 2)], r"\[\[4, 3, 2\]\]"),
        ([torch.zeros(24)], r"\[\[24\]\]"),
        ([None], r"\['NoneType'\]"),
        (1.0, r"\['float'\]"),
        ([torch.zeros(2, 3, 4)] * 2, r"\[\[2, 3, 4\], \[2, 3, 4\]\]"),
    ],
)
def test_weights_of_paths_must_have_their_shapes(weight, got: str) -> None:
    product = TensorProduct("2x1o", "3x1o", "4x1e", [(0, 0, 0, "uvw", True)])
    with pytest.raises(
        ConfigError, match=rf"TensorProduct: expected .* of shapes \[\[2, 3, 4\]\], got {got}"
    ):
        product(torch.zeros(5, 6), torch.zeros(5, 9), weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, "1o", "1e", []), "Irreps: expected text such as .* got None"),
        (("1o", "1o", [(2, "1o+2e")], []), "Irreps: expected an irrep such as"),
        (("1o", "1o", "1e", None), "expected a list of instructions, got None"),
        (("1o", "1o", "1e", [3]), r"expected instructions \(i_in1, .*got 3"),
        (("1o", "1o", "1e", [(0, 0, 0, "uuu", True, "a")]), "expected path weights .* got 'a'"),
        (("1o", "1o", "1e", [(0, 0, 0, "uuu", True, float("inf"))]), "expected path weights .* got inf"),
        (("1o", "1o", "1e", [(0, 0, 0, "uuu", True)], [-1.0]), r"expected one in1_var .* got \[-1.0\]"),
        (("1o", "1o", "1e", [(0, 0, 0, "uuu", True)], None, 2.0), "expected one in2_var .* got 2.0"),
    ],
)
def test_arguments_that_are_none_are_named(arguments, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TensorProduct(*arguments)


def test_multiplicities_of_zero_are_as_in_e3nn() -> None:
    irreps = ("4x0e+0x1o", "1x0e+1x1o", "4x0e+0x1o")
    theirs, ours = o3.FullyConnectedTensorProduct(*irreps), FullyConnectedTensorProduct(*irreps)
    ours.load_state_dict(theirs.state_dict())
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    torch.testing.assert_close(ours(x, y), theirs(x, y))
    nothing = TensorProduct("2x1o", "0x0o+3x3o", "2x1e", [(0, 0, 0, "uvu", True)])
    assert torch.equal(nothing(torch.randn(2, 6), torch.randn(2, 21)), torch.zeros(2, 6))


def test_what_no_path_reaches_has_a_gradient_of_zero() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    product = TensorProduct("1o", "1o", "1e", [(0, 0, 0, "uuu", True, 0.0)])
    (gradient,) = torch.autograd.grad(product(x, torch.randn(2, 3)).sum(), x)
    assert torch.equal(gradient, torch.zeros(2, 3))


def test_products_that_choose_their_instructions_take_e3nns_other_arguments() -> None:
    arguments = {"in1_var": [2.0], "out_var": [3.0], "normalization": "norm", "compile_right": True}
    theirs = o3.FullyConnectedTensorProduct("2x1o", "1o", "3x1e", **arguments)
    ours = FullyConnectedTensorProduct("2x1o", "1o", "3x1e", **arguments)
    ours.load_state_dict(theirs.state_dict())
    x, y = torch.randn(4, 6), torch.randn(4, 3)
    torch.testing.assert_close(ours(x, y), theirs(x, y))


@pytest.mark.parametrize(
    ("arguments", "operations"),
    [
        # Three terms of a weight, two components and a coefficient, for each of seven channels.
        (("7x1o", "7x1o", "7x0e", [(0, 0, 0, "uuu", True)]), 3 * 4 * 7),
        # Three terms without weights for each of 20 pairs, and a matrix product of 20 rows and 6 columns.
        (("4x1o", "5x1o", "6x0e", [(0, 0, 0, "uvw", True)]), 3 * 3 * 20 + 2 * 20 * 6),
        # The second input is mixed first, 4 rows and 5 columns for three components.
        (("4x1o", "5x1o", "4x0e", [(0, 0, 0, "uvu", True)]), 3 * 3 * 4 + 2 * 4 * 5 * 3),
    ],
)
def test_operations_are_those_of_couplings_and_mixing(arguments, operations: int) -> None:
    assert TensorProduct(*arguments).operations() == operations
