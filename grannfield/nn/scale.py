"""From a network's numbers to eV: one scale for the whole model and one energy per element."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

ELEMENTS = 119
"""Rows of per-element tables: atomic numbers 0 to 118."""


class AtomicScale(nn.Module):
    """E_i = scale * e_i + shift[z_i], and F = scale * f for a direct force head.

    One scale multiplies energies and forces, so forces stay the gradient of the energy. Both are constants taken from
    the training data (`fit`), identity until then.
    """

    scale: Tensor
    """[] eV/Å (and eV)."""
    shift: Tensor
    """[119] eV, by atomic number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(ELEMENTS, dtype=torch.float64))

    def forward(self, atomic: Tensor, z: Tensor) -> Tensor:
        """Atomic energies [N] in eV, double precision, of network outputs [N]."""
        return atomic.double() * self.scale + self.shift.index_select(0, z)

    @torch.no_grad()
    def fit(self, z: np.ndarray, energy: np.ndarray, forces: np.ndarray) -> None:
        """Set scale to the rms force component and shift to the minimum-norm per-element energies.

        z [N] for all frames or [M,N], energy [M] eV, forces [M,N,3] eV/Å. On a single composition only the total shift is
        determined; the minimum-norm solution spreads it over the elements.

        >>> scale = AtomicScale()
        >>> scale.fit(np.array([3, 3, 16]), np.array([-6.0, -4.0]), np.full((2, 3, 3), 0.5))
        >>> float(scale.scale), [round(float(x), 6) for x in scale.shift[[3, 16]]]
        (0.5, [-2.0, -1.0])
        """
        z = np.broadcast_to(z, (len(energy), np.shape(z)[-1]))
        counts = np.stack([np.bincount(row, minlength=ELEMENTS) for row in z]).astype(float)
        self.shift.copy_(torch.from_numpy(np.linalg.lstsq(counts, np.asarray(energy, float), rcond=None)[0]))
        rms = float(np.sqrt(np.mean(np.square(np.asarray(forces, dtype=float)))))
        if not rms > 0:
            raise ValueError("all training forces are zero: there is nothing to learn from them")
        self.scale.fill_(rms)
