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
        r2_by_element=parts_of(errors.r2_by_element),
        r2_by_component=parts_of(errors.r2_by_component),
        r2_by_element_and_component={k: parts_of(of) for k, of in errors.r2_by_element_and_component.items()},
        by_run=found.by_run(errors.by_time["r2"]),
    )


@pytest.mark.columns("force_r2_random")
def test_force_r2_random(predictions, score):
    """The same on random frames, as the paper did: a frame 10 fs away was trained on."""
    found = predictions("random")
    errors = found.force_errors
    score("force_r2_random", errors.r2, frames=found.held_out, by_run=found.by_run(errors.by_time["r2"]))


@pytest.mark.columns("force_mae")
def test_force_mae(predictions, score, session):
    """Mean absolute error, per element and by the size of the reference force."""
    found = predictions(session.split)
    errors = found.force_errors
    by_magnitude = [
        {
            "from_meV_per_A": one.low * 1e3,
            "to_meV_per_A": one.high * 1e3,
            "atoms": one.atoms,
            "mae_meV_per_A": one.mae.parts(1e3),
            "relative": one.relative.parts(),
        }
        for one in errors.by_magnitude
    ]
    score(
        "force_mae",
        errors.mae,
        factor=1e3,
        frames=found.held_out,
        mae_by_element=parts_of(errors.mae_by_element, 1e3),
        rmse=errors.rmse.parts(1e3),
        by_magnitude=by_magnitude,
        by_run=found.by_run(errors.by_time["mae"], 1e3),
    )


@pytest.mark.columns("force_mae_high")
def test_large_forces(predictions, score, session):
    """The error where forces are largest: in collisions and on the way over barriers."""
    found = predictions(session.split)
    errors = found.force_errors
    relative = errors.by_magnitude[-1].relative
    score(
        "force_mae_high",
        errors.mae_large,
        factor=1e3,
        relative_of_the_largest_fifth=relative.parts(),
        by_run=found.by_run(errors.by_time["mae_large"], 1e3),
    )


@pytest.mark.columns("force_slope")
def test_softening(predictions, score, session):
    """Is the energy surface as steep as the reference's? Below 1 it is too soft."""
    found = predictions(session.split)
    errors = found.force_errors
    score("force_slope", errors.slope, reference=1.0, by_run=found.by_run(errors.by_time["slope"]))


@pytest.mark.columns("force_cosine")
def test_direction(predictions, score, session):
    """Do forces point the right way?"""
    found = predictions(session.split)
    errors = found.force_errors
    score("force_cosine", errors.cosine, by_run=found.by_run(errors.by_time["cosine"]))


@pytest.mark.columns("energy_rank")
def test_energy_rank(predictions, score, session):
    """Are high-energy frames told from low-energy ones? Needs no common zero of energy, so that transfer materials have it."""
    found = predictions(session.split)
    errors = found.energy_errors
    score(
        "energy_rank",
        errors.spearman,
        within_runs=errors.spearman_within_runs.parts(),
        mae_after_one_offset_meV_per_atom=errors.mae_per_atom_shifted.parts(1e3),
        by_run=found.by_run(errors.by_time["spearman"]),
    )


@pytest.mark.columns("energy_r2")
def test_energy_r2(predictions, score, session, subject, data):
    if not subject().trained_on(data.material, data.reference):
        raise NotAvailable("not determined", "the zero of energy of a reference not trained on")
    errors = predictions(session.split).energy_errors
    score("energy_r2", errors.r2, mae_meV_per_atom=errors.mae_per_atom.parts(1e3))


def parts_of(estimates, factor=1.0):
    return {name: estimate.parts(factor) for name, estimate in estimates.items()}
