"""What a product does in low precision, and what it leaves behind."""

import warnings

import torch
from torch import nn

from sciten.equivariant.testing.errors import ConformanceError, deviation
from sciten.equivariant.testing.subjects import Subject
from sciten.errors import SciTenError


def check_low_precision(
    product: object,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    tolerance: float = 0.1,
    seed: int = 0,
) -> float:
    """A product computes in half precision, warning once at most, or refuses it in one sentence.

    Args:
        product: see `check_equivariance`.
        dtype: of inputs, weights and the result.
        device: of inputs and weights.
        tolerance: largest deviation from float64 allowed, relative to the largest value.
        seed: of inputs and weights.

    Returns:
        The largest deviation; NaN where it refuses, since nothing is measured then.

    Raises:
        ConformanceError: it fails in another way, is inaccurate, or warns more than once.
    """
    subject = Subject.of(product)
    arguments = [a.to(dtype) for a in subject.draw(seed)]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = [subject.call(*(a.to(device) for a in arguments)).detach().cpu() for _ in range(2)]
        except SciTenError as error:
            if "\n" in str(error):
                raise ConformanceError(
                    f"{subject.name}: it refuses {dtype} in more than one sentence: {error}"
                ) from error
            return float("nan")
        except Exception as error:
            raise ConformanceError(
                f"{subject.name}: it fails on {dtype} with {type(error).__name__}; expected a result, or a refusal "
                "in one sentence"
            ) from error
    messages = [str(w.message) for w in said if w.category is UserWarning]
    deviates = deviation(found[0], subject.call(*(a.double() for a in arguments)).detach())
    if found[0].dtype != dtype or not deviates <= tolerance:
        raise ConformanceError(
            f"{subject.name}: for {dtype} it gives {found[0].dtype} that deviates from float64 by {deviates:.1e} of "
            f"the largest value (at most {tolerance:.0e} is allowed)"
        )
    if len(messages) > 1:
        raise ConformanceError(f"{subject.name}: for {dtype} it warns more than once: {'; '.join(messages)}")
    return deviates


def check_state(product: object, *, device: torch.device | str = "cpu", seed: int = 0) -> float:
    """A call leaves nothing behind: not in its inputs, its state, torch's settings, or the results of later calls.

    Args:
        product: see `check_equivariance`.
        device: of inputs and weights.
        seed: of inputs and weights.

    Returns:
        Zero: there is nothing to measure.

    Raises:
        ConformanceError: something is left behind, or results are not deterministic, or an empty batch fails.
    """
    subject = Subject.of(product)
    arguments = subject.draw(seed, device=device)
    kept = [a.clone() for a in arguments]
    random, default = torch.get_rng_state(), torch.get_default_dtype()
    state = {k: v.clone() for k, v in _state(subject).items()}
    first = subject.call(*arguments).detach()
    for dtype in (torch.float32, torch.float64):
        result = subject.call(*(a.to(dtype) for a in arguments))
        if result.dtype != dtype:
            raise ConformanceError(f"{subject.name}: for {dtype} it gives {result.dtype}")
    changed = {
        "its results, after a call in another dtype": torch.equal(first, subject.call(*arguments).detach()),
        "its inputs": all(map(torch.equal, arguments, kept)),
        "its state": all(torch.equal(v, state[k]) for k, v in _state(subject).items()),
        "torch's random numbers": torch.equal(torch.get_rng_state(), random),
        "torch's default dtype": torch.get_default_dtype() == default,
    }
    if left := [what for what, same in changed.items() if not same]:
        raise ConformanceError(f"{subject.name}: a call changes {' and '.join(left)}")
    empty = subject.call(*subject.draw(seed, batch=0, device=device))
    if empty.shape != (0, first.shape[1]):
        raise ConformanceError(
            f"{subject.name}: for an empty batch it gives {list(empty.shape)}; expected [0, {first.shape[1]}]"
        )
    return 0.0


def _state(subject: Subject) -> dict[str, torch.Tensor]:
    return dict(subject.product.state_dict()) if isinstance(subject.product, nn.Module) else {}
