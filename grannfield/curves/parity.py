"""Predicted against reference forces and energies, counted into histograms."""

from __future__ import annotations

import numpy as np

from grannfield import units
from grannfield.analysis.errors import AXES
from grannfield.analysis.uncertainty import Estimate
from grannfield.curves.kinds import EnergyParity, ForceParity, Parity
from grannfield.harness import Predictions

BINS = 64
SHOWN = 0.999
"""Share of the components, of reference and prediction, that lie within the edges."""


def ends(estimate: Estimate) -> tuple[float, float, float]:
    """Value and interval of an estimate, NaN and its bounds without a value."""
    return estimate.value, *estimate.interval


def parity_of(predictions: Predictions) -> Parity:
    """Histograms of forces for each element and axis, and energies less their means, of the test frames of one split."""
    frames, errors, energies = predictions.frames, predictions.force_errors, predictions.energy_errors
    n_atoms = len(frames.z)
    forces = {}
    for z in np.unique(frames.z):
        element = units.symbol(int(z))
        reference, predicted = (np.asarray(f)[:, frames.z == z] for f in (frames.forces, predictions.forces))
        edges = symmetric_edges(reference, predicted)
        for k, axis in enumerate(AXES):
            r2 = errors.r2_by_element_and_component[element][axis]
            forces[element, axis] = _counted(reference[..., k].ravel(), predicted[..., k].ravel(), edges, len(frames), r2)
    run = predictions.frames.origin[:, 0]
    kelvin = np.array(predictions.temperatures)[run] if predictions.temperatures else np.full(len(frames), np.nan)
    own, other = (energy / n_atoms for energy in (predictions.energy, frames.energy))
    mae = tuple(1e3 * x for x in ends(energies.mae_per_atom_shifted))
    energy = EnergyParity(
        own - own.mean(), other - other.mean(), kelvin, ends(energies.spearman), (mae[0], mae[1], mae[2]), ends(energies.r2)
    )
    return Parity(forces, energy, predictions.held_out, len(frames))


def symmetric_edges(reference: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """[65] eV/Å about zero, the same for all components of an element: 99.9% of them lie within."""
    sizes = np.abs(np.concatenate([reference.ravel(), predicted.ravel()]))
    reach = max(float(np.quantile(sizes, SHOWN)), 1e-6)
    return np.linspace(-reach, reach, BINS + 1)


def _counted(reference: np.ndarray, predicted: np.ndarray, edges: np.ndarray, frames: int, r2: Estimate) -> ForceParity:
    counts, _, _ = np.histogram2d(reference, predicted, bins=(edges, edges))
    inside = counts.astype(np.uint32)
    return ForceParity(edges, inside, len(reference) - int(inside.sum()), len(reference), frames, ends(r2))
