"""Representation matrices from the harmonics themselves, accurate to float64 (e3nn's go through Euler angles)."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from sciten.equivariant.harmonics import spherical_harmonics


def representation(lmax: int, matrix: np.ndarray) -> np.ndarray:
    """The block-diagonal D with Y(matrix r) = D Y(r) for the degrees 0..lmax, `[(lmax + 1)^2, (lmax + 1)^2]`."""
    points = np.random.default_rng(0).normal(size=(4 * (lmax + 1) ** 2, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    before = spherical_harmonics(lmax, torch.tensor(points)).numpy()
    after = spherical_harmonics(lmax, torch.tensor(points @ matrix.T)).numpy()
    return np.linalg.lstsq(before, after, rcond=None)[0].T


def improper_rotation(seed: int) -> np.ndarray:
    """A random rotation times the inversion."""
    return -Rotation.random(random_state=seed).as_matrix()
