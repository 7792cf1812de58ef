"""Does the model fit the reference? Forces and energies on frames it was not trained on."""

from __future__ import annotations

import pytest

from grannfield.score import NotAvailable


@pytest.mark.columns("force_r2")
def test_force_r2(predictions, score):
    """R² of forces on windows of time held out with gaps, per element and component in the parts."""
    found = predictions("windows")
    errors = found.force_errors
    score(
        "force_r2",
        errors.r2,
        frames=found.held_out,
        r2_by_element={k: e.value for k, e in errors.r2_by_element.items()},
        r2_by_component={k: e.value for k, e in errors.r2_by_component.items()},
        cosine=errors.cosine.value,
        softening_slope=errors.slope.value,
    )


@pytest.mark.columns("force_r2_random")
def test_force_r2_random(predictions, score):
    """The same on random frames, as the paper did: a frame 10 fs away was trained on."""
    found = predictions("random")
    score("force_r2_random", found.force_errors.r2, frames=found.held_out)


@pytest.mark.columns("force_mae")
def test_force_mae(predictions, score, session):
    found = predictions(session.split)
    errors = found.force_errors
    by_element = {k: e.value * 1e3 for k, e in errors.mae_by_element.items()}
    score("force_mae", errors.mae, factor=1e3, frames=found.held_out, mae_by_element=by_element, rmse=errors.rmse.value * 1e3)


@pytest.mark.columns("energy_rank")
def test_energy_rank(predictions, score, session):
    """Are high-energy frames told from low-energy ones? Needs no common zero of energy."""
    errors = predictions(session.split).energy_errors
    score("energy_rank", errors.spearman, mae_after_one_offset_meV_per_atom=errors.mae_per_atom_shifted.value * 1e3)


@pytest.mark.columns("energy_r2")
def test_energy_r2(predictions, score, session, subject, data):
    if not subject().trained_on(data.material, data.reference):
        raise NotAvailable("not determined", "the zero of energy of a reference not trained on")
    errors = predictions(session.split).energy_errors
    score("energy_r2", errors.r2, mae_meV_per_atom=errors.mae_per_atom.value * 1e3)
