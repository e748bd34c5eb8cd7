import sys

import pytest
import torch

from benchmarks.patching_memory import PeakOfTensors, ResidentPeak, measure, training_step

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_peak_is_of_what_lives_at_once() -> None:
    given = torch.zeros(1000, dtype=torch.float64)
    with PeakOfTensors() as tensors:
        for _ in range(3):
            kept = given + 1  # 8000 bytes
            kept[:500].mul_(2)  # a view, in place
            lost = kept + kept  # 8000 more, and the next result before they are freed
            del kept, lost
        assert tensors.peak == 16000
        torch.cat([given, given])
        given.add_(1)
    assert tensors.peak == 16000


def test_what_a_backward_pass_keeps_is_counted() -> None:
    x = torch.zeros(1000, dtype=torch.float64, requires_grad=True)
    with PeakOfTensors() as tensors:
        y = x.sin().sin().sin()  # each keeps what it was given: two new tensors, and the last one
    assert tensors.peak == 24000
    assert y.requires_grad


@LINUX
def test_the_resident_peak_is_of_what_was_written() -> None:
    with ResidentPeak() as resident:
        torch.ones(2**24)  # 64 MB
    assert 60 < resident.peak / 2**20 < 80


def peak(count: int, levels: int, padding: float) -> int:
    step = training_step(count, levels, padding, 128, 1)
    step()
    with PeakOfTensors() as tensors:
        step()
    return tensors.peak


def test_a_training_step_needs_less_memory_the_more_patches() -> None:
    whole = peak(1, 0, 0.0)
    for padding, least in ((0.0, (3.4, 8.8)), (0.05, (2.5, 6.0))):
        for count, levels, factor in ((2, 1, least[0]), (4, 2, least[1])):
            assert whole / peak(count, levels, padding) > factor


@LINUX
@pytest.mark.slow
def test_resident_memory_falls_too() -> None:
    whole, patches = measure(1, 0, 0.0, 256, 4), measure(4, 2, 0.0, 256, 4)
    assert whole["resident_given_back_mb"] > 6 * patches["resident_given_back_mb"]
    assert whole["resident_mb"] > 3 * patches["resident_mb"]
