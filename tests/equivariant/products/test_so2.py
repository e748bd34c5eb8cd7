from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import sqrt

import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

from sciten.equivariant import SO2Product, wigner
from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.edge_frames import EdgeFrames, align_to_y
from sciten.equivariant.harmonics import spherical_harmonics
from sciten.equivariant.products import so2, so2_frames
from sciten.equivariant.wigner import LMAX, wigner_matrices
from sciten.errors import ConfigError
from sciten.tensor import compiler
from sciten.tensor.multilinear.reference import Reference
from tests.equivariant.rotations import improper_rotation

PLAIN = Reference()
AXES = torch.cat([torch.eye(3), -torch.eye(3)]).double()
RANDOM = torch.Generator()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=RANDOM.manual_seed(seed), dtype=torch.float64)


def edges() -> torch.Tensor:
    """Any directions, the axes, directions within 1e-8 of them, and directions in the coordinate planes."""
    planar = normal(3, 2, 3, seed=3) * (1 - torch.eye(3).double())[:, None]
    near = AXES * 1.3 + 1e-8 * normal(6, 3, seed=2)
    return torch.cat([normal(4, 3, seed=1), AXES, near, planar.flatten(0, 1)])


def product(lmax_in: int = 2, lmax_out: int = 2, channels_in: int = 2, channels_out: int = 3, **options):
    options = {"executor": PLAIN, "dtype": torch.float64, **options}
    return SO2Product(
        lmax_in, lmax_out, channels_in, channels_out, generator=RANDOM.manual_seed(5), **options
    )


def inputs(layer: SO2Product, n_edges: int | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    vectors = edges()[:n_edges]
    features = normal(len(vectors), (layer.lmax_in + 1) ** 2, layer.channels_in, seed=7)
    return features, vectors, normal(len(vectors), layer.radial_numel, seed=8)


def block_diagonal(lmax: int, matrix: torch.Tensor) -> torch.Tensor:
    return torch.block_diag(*wigner_matrices(lmax, matrix, executor=PLAIN))


def deviation(layer: SO2Product, matrix: torch.Tensor) -> float:
    """How far the product is from commuting with a rotation."""
    features, vectors, radial = inputs(layer)
    rotated = layer(block_diagonal(layer.lmax_in, matrix) @ features, vectors @ matrix.T, radial)
    expected = block_diagonal(layer.lmax_out, matrix) @ layer(features, vectors, radial)
    return float((rotated - expected).detach().abs().max())


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize(
    ("lmax_in", "lmax_out", "mmax"),
    [(0, 0, None), (0, 3, None), (3, 1, None), (4, 4, 2), (3, 4, 0), (6, 6, 6)],
)
def test_commutes_with_rotations(lmax_in: int, lmax_out: int, mmax: int | None, parity: bool) -> None:
    layer = product(lmax_in, lmax_out, mmax=mmax, parity=parity, rescale=True)
    for seed in range(2):
        rotation = torch.tensor(Rotation.random(random_state=seed).as_matrix())
        assert deviation(layer, rotation) < 1e-12


def test_with_parity_commutes_with_improper_rotations() -> None:
    mirror = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))
    for matrix in (mirror, -torch.eye(3).double(), torch.tensor(improper_rotation(0))):
        assert deviation(product(3, 4, mmax=2, parity=True), matrix) < 1e-12
        assert deviation(product(3, 4, mmax=2, parity=False), matrix) > 0.1  # what parity is for


def test_the_roll_about_the_edge_does_not_matter() -> None:
    layer = product(3, 3)
    features, vectors, radial = inputs(layer)
    angles = normal(len(vectors), 1)
    roll = torch.tensor(Rotation.from_euler("y", angles.numpy()).as_matrix())
    frames = EdgeFrames(wigner_matrices(3, roll @ align_to_y(vectors), executor=PLAIN), 3)
    torch.testing.assert_close(
        layer(features, frames, radial), layer(features, vectors, radial), rtol=0, atol=1e-12
    )


@contextmanager
def e3nn_in_float64() -> Iterator[None]:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # e3nn rounds its constants to the default dtype when it builds
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def e3nn_convolution(
    lmax_in: int, lmax_out: int, c_in: int, c_out: int, parity: bool
) -> tuple[Callable[..., torch.Tensor], dict[tuple[int, int, int], torch.Tensor]]:
    """e3nn's convolution on our layout, and its weights by path; without parity all degrees are even there."""
    sign = -1 if parity else 1
    degrees = list(range(lmax_in + lmax_out + 1))
    hidden_in = o3.Irreps([(c_in, (l, sign**l)) for l in range(lmax_in + 1)])
    hidden_out = o3.Irreps([(c_out, (l, sign**l)) for l in range(lmax_out + 1)])
    harmonics = o3.Irreps([(1, (l, sign**l)) for l in degrees])
    with e3nn_in_float64():
        theirs = o3.FullyConnectedTensorProduct(hidden_in, harmonics, hidden_out)
    flat = normal(theirs.weight_numel, seed=11)
    shapes = [(i.i_in1, i.i_in2, i.i_out) for i in theirs.instructions]
    weights = dict(zip(shapes, flat.view(-1, c_in, c_out), strict=True))

    def convolve(features: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        blocks = features.split([2 * l + 1 for l in range(lmax_in + 1)], 1)
        theirs_in = torch.cat([block.transpose(1, 2).flatten(1) for block in blocks], 1)
        along = o3.spherical_harmonics(degrees, vectors, normalize=True, normalization="component")
        out = theirs(theirs_in, along, flat).split([c_out * (2 * l + 1) for l in range(lmax_out + 1)], 1)
        return torch.cat([part.view(len(part), c_out, -1).transpose(1, 2) for part in out], 1)

    return convolve, weights


@pytest.mark.parametrize(
    ("lmax_in", "lmax_out", "parity"), [(3, 3, False), (3, 3, True), (1, 3, False), (3, 2, True)]
)
def test_equals_the_convolution_of_e3nn_with_derivatives(lmax_in: int, lmax_out: int, parity: bool) -> None:
    convolve, weights = e3nn_convolution(lmax_in, lmax_out, 2, 3, parity)
    state = torch.get_rng_state()
    layer = SO2Product.from_convolution(weights, lmax_in, lmax_out, parity=parity, executor=PLAIN)
    assert torch.equal(torch.get_rng_state(), state)
    features, vectors, _ = inputs(layer)
    probe = normal(3, *vectors.shape, seed=12)
    assert_alike(
        derivatives(layer, features, vectors, probe), derivatives(convolve, features, vectors, probe)
    )


def dense_convolution(
    lmax: int, channels: int, parity: bool
) -> tuple[Callable[..., torch.Tensor], dict[tuple[int, int, int], torch.Tensor]]:
    """As `e3nn_convolution`, whose harmonics end at degree 11, path by path with `wigner_3j`."""
    paths = [
        (a, b, c)
        for a in range(lmax + 1)
        for c in range(lmax + 1)
        for b in range(abs(a - c), a + c + 1)
        if not parity or (a + b + c) % 2 == 0
    ]
    weights = {path: normal(channels, channels, seed=n) for n, path in enumerate(paths)}
    into = [sum(path[2] == c for path in paths) for c in range(lmax + 1)]

    def convolve(features: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        along = spherical_harmonics(2 * lmax, torch.nn.functional.normalize(vectors), executor=PLAIN)
        out = [features.new_zeros(len(features), 2 * l + 1, features.shape[2]) for l in range(lmax + 1)]
        for (a, b, c), weight in weights.items():
            coupling = sqrt((2 * c + 1) / (channels * into[c])) * torch.tensor(wigner_3j(a, b, c))
            matrices = torch.einsum("zj,ijk->zki", along[:, b * b : (b + 1) ** 2], coupling)
            out[c] = out[c] + matrices @ features[:, a * a : (a + 1) ** 2] @ weight
        return torch.cat(out, 1)

    return convolve, weights


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("lmax", [4, 5, 6])
def test_equals_the_dense_convolution_at_high_degree(lmax: int, parity: bool) -> None:
    convolve, weights = dense_convolution(lmax, 2, parity)
    layer = SO2Product.from_convolution(weights, lmax, lmax, parity=parity, executor=PLAIN)
    features, vectors, _ = inputs(layer)
    probe = normal(3, *vectors.shape, seed=12)
    assert_alike(
        derivatives(layer, features, vectors, probe), derivatives(convolve, features, vectors, probe)
    )


def assert_alike(found: list[list[torch.Tensor]], expected: list[list[torch.Tensor]]) -> None:
    """Values to 1e-10 each; derivatives relative to the largest of their order, which grows with degree and order."""
    torch.testing.assert_close(found[0][0], expected[0][0], rtol=0, atol=1e-10)
    for order, (some, wanted) in enumerate(zip(found[1:], expected[1:], strict=True), start=1):
        largest = max(float(right.abs().max()) for right in wanted)
        for value, right in zip(some, wanted, strict=True):
            assert float((value - right).abs().max()) < 1e-11 * largest, f"derivatives of order {order}"


def derivatives(
    function: Callable[..., torch.Tensor], features: torch.Tensor, vectors: torch.Tensor, probe: torch.Tensor
) -> list[list[torch.Tensor]]:
    """Value, gradients, and derivatives of second and third order along `probe`, by order."""
    features, vectors = features.clone().requires_grad_(True), vectors.clone().requires_grad_(True)
    value = function(features, vectors)
    gradients = torch.autograd.grad(value.sin().sum(), (features, vectors), create_graph=True)
    second = torch.autograd.grad((gradients[1] * probe[0]).sum(), (features, vectors), create_graph=True)
    third = torch.autograd.grad((second[1] * probe[1]).sum(), (features, vectors))
    return [[value], *map(list, (gradients, second, third))]


def test_radial_factors_are_those_of_the_inputs() -> None:
    """Factors that do not differ between orders may as well be applied before the rotation."""
    convolve, weights = e3nn_convolution(2, 2, 2, 3, parity=False)
    layer = SO2Product.from_convolution(weights, 2, 2, executor=PLAIN)
    features, vectors, _ = inputs(layer)
    by_degree = normal(len(vectors), 3, 2, seed=13)
    radial = torch.cat([by_degree[:, m:] for m in range(3)], 1).flatten(1)
    scaled = features * torch.cat([by_degree[:, l : l + 1].expand(-1, 2 * l + 1, -1) for l in range(3)], 1)
    torch.testing.assert_close(
        layer(features, vectors, radial), convolve(scaled, vectors), rtol=1e-10, atol=1e-10
    )


def test_unnormalised_and_missing_paths() -> None:
    weight = normal(2, 3)
    layer = SO2Product.from_convolution({(0, 1, 1): weight}, 1, 2, normalize=False, executor=PLAIN)
    features, vectors, _ = inputs(layer)
    found = layer(features, vectors)
    # Coupling degree 0 with degree 1 is the product with the vector, sqrt(3) times its direction.
    directions = sqrt(3) * torch.nn.functional.normalize(vectors, dim=1)
    torch.testing.assert_close(found[:, 1:4], directions[:, :, None] * (features[:, :1] @ weight))
    assert not found[:, 0].any() and not found[:, 4:].abs().gt(1e-14).any()


@pytest.mark.parametrize("mmax", [0, 1, 2])
def test_truncation_leaves_out_orders(mmax: int) -> None:
    full, few = product(3, 4, mmax=None), product(3, 4, mmax=mmax)
    rescaled = product(3, 4, mmax=mmax, rescale=True)
    with torch.no_grad():
        for m in range(4):
            if m > mmax:
                getattr(full, f"weight_{m}").zero_()
            else:
                getattr(full, f"weight_{m}").copy_(getattr(few, f"weight_{m}"))
    features, vectors, radial = inputs(few)
    whole = torch.cat([radial, radial.new_zeros(len(radial), full.radial_numel - few.radial_numel)], 1)
    truncated = few(features, vectors, radial)
    torch.testing.assert_close(truncated, full(features, vectors, whole), rtol=0, atol=1e-12)
    scale = [
        sqrt((2 * l + 1) / (2 * mmax + 1)) if l > mmax else 1.0 for l in range(5) for _ in range(2 * l + 1)
    ]
    expected = truncated * torch.tensor(scale, dtype=torch.float64)[:, None]
    torch.testing.assert_close(rescaled(features, vectors, radial), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("parity", [False, True])
def test_derivatives_match_finite_differences(parity: bool) -> None:
    layer = product(2, 2, 1, 1, parity=parity)
    features, vectors, radial = inputs(layer)
    vectors = vectors.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: layer(features, v, radial), vectors)
    some = [tensor[:3].clone().requires_grad_(True) for tensor in (features, vectors.detach(), radial)]
    assert torch.autograd.gradcheck(layer, some)
    assert torch.autograd.gradgradcheck(layer, some)


def test_second_and_third_derivatives_match_finite_differences() -> None:
    layer = product(3, 3, 1, 1)
    features, vectors, radial = inputs(layer)
    probe = normal(2, *vectors.shape, seed=14)

    def along(order: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def function(v: torch.Tensor) -> torch.Tensor:
            value = layer(features, v, radial).sin().sum((1, 2))
            for direction in probe[:order]:
                (gradient,) = torch.autograd.grad(value.sum(), v, create_graph=True)
                value = (gradient * direction).sum(1)
            return value

        return function

    for order in (1, 2):
        assert torch.autograd.gradcheck(along(order), vectors.clone().requires_grad_(True), atol=1e-4)


@pytest.mark.parametrize("normal_axis", [0, 1, 2])
def test_forces_and_hessian_of_a_planar_molecule(normal_axis: int) -> None:
    """Atoms in a coordinate plane, with bonds along its axes; two products in turn, as in a potential."""
    first, second = product(0, 3, 1, 2, parity=True), product(3, 1, 2, 1, parity=True)
    plane = torch.tensor(
        [[0.0, 0, 0], [1, 0, 0], [0, 1.1, 0], [-0.9, 0, 0], [0.7, 0.8, 0]], dtype=torch.float64
    )
    positions = plane[:, [[2, 0, 1], [0, 2, 1], [0, 1, 2]][normal_axis]].requires_grad_(True)
    senders, receivers = (1 - torch.eye(5)).nonzero().T

    def energy(where: torch.Tensor) -> torch.Tensor:
        vectors = where[receivers] - where[senders]
        decay = torch.exp(-vectors.norm(dim=1))[:, None, None]
        features = torch.ones(len(where), 1, 1, dtype=torch.float64)
        for layer in (first, second):
            messages = layer(features[senders], vectors) * decay
            features = messages.new_zeros(len(where), *messages.shape[1:]).index_add(0, receivers, messages)
        return features.square().sum()

    def forces(where: torch.Tensor) -> torch.Tensor:
        return -torch.autograd.grad(energy(where), where, create_graph=True)[0]

    found = forces(positions)
    assert torch.isfinite(found).all() and found.abs().max() > 1e-3
    assert found[:, normal_axis].abs().max() < 1e-12  # a mirror plane
    assert torch.autograd.gradcheck(energy, positions)
    assert torch.autograd.gradcheck(forces, positions)


@pytest.mark.parametrize("with_radial", [False, True])
def test_fast_executor_equals_the_plain_way_with_derivatives(with_radial: bool) -> None:
    plain, fast = (product(2, 3, 4, 8, mmax=1, rescale=True, executor=e) for e in (PLAIN, None))
    features, vectors, radial = inputs(plain)
    for found, expected in zip(
        _all_gradients(fast, features, vectors, radial if with_radial else None),
        _all_gradients(plain, features, vectors, radial if with_radial else None),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def _all_gradients(layer, *arguments):
    arguments = [a if a is None else a.clone().requires_grad_(True) for a in arguments]
    differentiable = [*(a for a in arguments if a is not None), *layer.parameters()]
    value = layer(*arguments)
    first = torch.autograd.grad(value.sin().sum(), differentiable, create_graph=True)
    second = torch.autograd.grad(first[1].square().sum(), differentiable)
    return [value, *first, *second]


def test_no_kernel_is_compiled_where_that_would_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(so2_frames, "_KERNEL_ENTRIES", 20)
    monkeypatch.setattr(wigner, "_KERNEL_TERMS", 50)
    monkeypatch.setattr(compiler, "_compile", lambda *_: pytest.fail("a kernel was compiled"))
    layer, plain = (product(3, 3, 1, 7, executor=executor) for executor in (None, PLAIN))
    assert torch.equal(layer(*inputs(layer)), plain(*inputs(layer)))


@pytest.mark.parametrize("executor", [None, PLAIN])
def test_is_deterministic(executor) -> None:
    layer = product(2, 3, 4, 8, mmax=1, rescale=True, executor=executor)
    features, vectors, radial = (tensor.requires_grad_(True) for tensor in inputs(layer))
    runs = []
    for _ in range(2):
        value = layer(features, vectors, radial)
        runs.append([value, *torch.autograd.grad(value.sin().sum(), (features, vectors, radial))])
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


@pytest.mark.parametrize("executor", [None, PLAIN])
@pytest.mark.parametrize("bytes_", [1, 3000])
def test_parts_make_the_whole(executor, bytes_: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = product(2, 3, 4, 8, mmax=1, rescale=True, executor=executor)
    features, vectors, radial = inputs(layer)
    whole = layer(features, vectors, radial)
    monkeypatch.setattr(so2, "_PART_BYTES", bytes_)
    assert torch.equal(layer(features, vectors, radial), whole)  # not where gradients are recorded
    with torch.no_grad():
        torch.testing.assert_close(layer(features, vectors, radial), whole.detach(), rtol=0, atol=1e-13)
        ones = torch.ones_like(radial)
        torch.testing.assert_close(
            layer(features, vectors), layer(features, vectors, ones), rtol=0, atol=1e-13
        )
        with pytest.raises(ConfigError, match="for edge 20"):
            layer(features, vectors * (torch.arange(len(vectors)) != 20)[:, None], radial)


def test_frames_can_be_shared() -> None:
    first, second = product(3, 4, mmax=2), product(0, 2, mmax=2)
    frames = EdgeFrames.from_vectors(edges(), 4, 2, executor=PLAIN)
    for layer in (first, second):
        features, vectors, radial = inputs(layer)
        torch.testing.assert_close(
            layer(features, frames, radial), layer(features, vectors, radial), rtol=0, atol=1e-13
        )


@pytest.mark.parametrize("executor", [None, PLAIN])
def test_no_edges(executor) -> None:
    layer = product(2, 3, 4, 8, mmax=1, rescale=True, executor=executor)
    features, vectors, radial = (tensor.requires_grad_(True) for tensor in inputs(layer, 0))
    value = layer(features, vectors, radial)
    assert value.shape == (0, 16, 8)
    gradients = torch.autograd.grad(value.sum(), (features, vectors, layer.weight_1))
    assert gradients[1].shape == (0, 3) and not gradients[2].any()


def test_float32_is_accurate() -> None:
    layer = product(6, 6, 8, 8, mmax=6)
    features, vectors, radial = inputs(layer)
    exact = layer(features, vectors, radial)
    rounded = layer.float()(features.float(), vectors.float(), radial.float())
    assert rounded.dtype == torch.float32
    assert (rounded.double() - exact).abs().max() < 1e-5 * exact.abs().max()


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("mmax", [None, 1])
def test_variance_is_kept(parity: bool, mmax: int | None) -> None:
    layer = product(3, 3, 32, 256, mmax=mmax, parity=parity, rescale=True)
    vectors = normal(200, 3)
    messages = layer(normal(200, 16, 32, seed=4), vectors)
    for l in range(4):
        variance = float(messages[:, l * l : (l + 1) ** 2].detach().var())
        assert 0.85 < variance < 1.15


def test_weights_survive_a_round_trip() -> None:
    layer, other = product(2, 2), SO2Product(2, 2, 2, 3, dtype=torch.float64)
    features, vectors, radial = inputs(layer)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(features, vectors, radial), layer(features, vectors, radial))
    assert "mmax=2" in repr(layer)
    assert sum(p.numel() for p in product(2, 2, parity=True).parameters()) < sum(
        p.numel() for p in layer.parameters()
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((LMAX + 1, 2, 4, 4, None), f"lmax_in from 0 to {LMAX}, got {LMAX + 1}"),
        ((2, -1, 4, 4, None), f"lmax_out from 0 to {LMAX}, got -1"),
        ((2, 3, 4, 4, 4), "mmax from 0 to 3, got 4"),
        ((2, 2, 0, 4, None), "channels_in of at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, said: str) -> None:
    *sizes, mmax = arguments
    with pytest.raises(ConfigError, match=f"^SO2Product: expected {said}"):
        SO2Product(*sizes, mmax=mmax)
    with pytest.raises(ConfigError, match="float32 or float64, got"):
        SO2Product(1, 1, 2, 2, dtype=torch.float16)


@pytest.mark.parametrize(
    ("position", "change", "said"),
    [
        (
            0,
            lambda x: x[:, :8],
            r"features of shape \[n_edges, 9, 2\] for lmax_in=2, mmax=2, got \[22, 8, 2\]",
        ),
        (0, lambda x: x[:, :, :1], r"features of shape \[n_edges, 9, 2\] .* got \[22, 9, 1\]"),
        (0, lambda x: x[0, 0, 0], r"features of shape .* got \[\]"),
        (0, lambda x: x[0], r"features of shape .* got \[9, 2\]"),
        (0, lambda x: x.float(), "features in torch.float64 on cpu, as the weights are, got torch.float32"),
        (1, lambda v: v[:1], r"vectors of shape \[22, 3\] .* got \[1, 3\]"),
        (1, lambda v: v[:, :2], r"vectors of shape \[22, 3\] .* got \[22, 2\]"),
        (1, lambda v: v.float(), "vectors in torch.float64"),
        (1, lambda v: v * 0, r"vectors that are not zero, got \[0.0, 0.0, 0.0\] for edge 0"),
        (1, lambda v: v / 0, "finite vectors"),
        (
            1,
            lambda v: EdgeFrames.from_vectors(v, 1),
            "frames of degrees up to 2 and orders up to 2, got 1 and 1",
        ),
        (1, lambda v: EdgeFrames.from_vectors(v[:2], 2), r"frames of shape .* got \[2, 1, 1\]"),
        (2, lambda r: r[:1], r"radial of shape \[22, 12\] .* got \[1, 12\]"),
        (2, lambda r: r[:, :5], r"radial of shape \[22, 12\] .* got \[22, 5\]"),
    ],
)
def test_bad_input_is_refused(position: int, change, said: str) -> None:
    layer = product()
    arguments = list(inputs(layer))
    arguments[position] = change(arguments[position])
    with pytest.raises(ConfigError, match=f"^SO2Product: expected .*{said}"):
        layer(*arguments)


@pytest.mark.parametrize(
    ("weights", "parity", "said"),
    [
        ({}, False, "at least one path"),
        ({(1, 3, 1): torch.ones(2, 2)}, False, r"triangle inequality.*got \(1, 3, 1\)"),
        ({(3, 3, 1): torch.ones(2, 2)}, False, r"l_in <= 2 .*got \(3, 3, 1\)"),
        ({(1, 1, 1): torch.ones(2, 2)}, True, r"even sum of degrees.*got \(1, 1, 1\)"),
        ({(1, 1, 1): torch.ones(2, 2), (0, 1, 1): torch.ones(2, 3)}, False, r"one shape.*\[2, 3\]"),
    ],
)
def test_bad_convolutions_are_refused(weights, parity: bool, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^SO2Product: expected .*{said}"):
        SO2Product.from_convolution(weights, 2, 2, parity=parity)


@pytest.mark.slow
@pytest.mark.parametrize("mmax", [2, None])
@pytest.mark.parametrize("lmax", [8, LMAX])
def test_high_degrees(lmax: int, mmax: int | None) -> None:
    layer = product(lmax, lmax, 1, 1, mmax=mmax)
    assert deviation(layer, torch.tensor(Rotation.random(random_state=0).as_matrix())) < 1e-11
    features, vectors, radial = inputs(layer)
    vectors = vectors.requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda v: layer(features, v, radial).sin().sum((1, 2)), vectors, atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("parity", [False, True])
def test_equals_the_convolution_of_e3nn_at_high_degree(parity: bool) -> None:
    convolve, weights = e3nn_convolution(5, 5, 2, 2, parity)
    layer = SO2Product.from_convolution(weights, 5, 5, parity=parity, executor=PLAIN)
    features, vectors, _ = inputs(layer)
    probe = normal(3, *vectors.shape, seed=12)
    assert_alike(
        derivatives(layer, features, vectors, probe), derivatives(convolve, features, vectors, probe)
    )


def test_every_size_may_be_a_symbol_of_a_compiled_program() -> None:
    product = SO2Product(2, 2, 2, 2)
    compiled = torch.compile(product, fullgraph=True, dynamic=True, backend="aot_eager")
    for edges in (5, 8):
        features, vectors = torch.randn(edges, 9, 2), torch.randn(edges, 3)
        torch.testing.assert_close(compiled(features, vectors), product(features, vectors))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: SO2Product(2.0, 2, 1, 1), "expected lmax_in to be an integer, got 2.0"),
        (lambda p: SO2Product(2, 2, 1, 1, mmax=1.0), "expected mmax to be an integer, got 1.0"),
        (lambda p: p(None, torch.zeros(2, 3)), "expected features to be a tensor, got a NoneType"),
        (lambda p: p(torch.zeros(2, 9, 1), [[1.0, 0, 0]] * 2), "expected vectors to be a tensor, got a list"),
    ],
)
def test_what_is_no_number_or_tensor_is_refused(call, message: str) -> None:
    with pytest.raises(ConfigError, match=f"SO2Product: {message}"):
        call(SO2Product(2, 2, 1, 1))


def test_operations_count_rotations_and_mixing() -> None:
    # Without degrees there is nothing to rotate: radial factors, a matrix product, and a copy.
    assert SO2Product(0, 0, 3, 5).operations() == 2 * 3 + 2 * 3 * 5 + 5
    assert SO2Product(3, 3, 8, 8, mmax=1).operations() < SO2Product(3, 3, 8, 8).operations()
