"""Curves of runs whose motion is known, and how they are kept."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grannfield.analysis.diffusion import diffusion
from grannfield.analysis.rdf import radial_distribution
from grannfield.curves import curves_of, reference_curves_of
from grannfield.curves.packed import packed, unpacked
from grannfield.trajectory import Trajectory
from tests.curves_evidence import DATA, FORMULA, SPEED, MadeUp, drifting, predictions, run_of


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the reference's own curves, made once."""
    return tmp_path_factory.mktemp("curves")


def part_of_reference(frames: int = 300) -> Trajectory:
    return DATA.trajectory(1000.0)[:frames]


def spoiled_after(trajectory: Trajectory, time: float) -> Trajectory:
    """The same until then; afterwards all atoms fall towards one point."""
    pos = np.array(trajectory.pos)
    late = np.flatnonzero(trajectory.time >= time)
    pos[late] = pos[late[0] - 1] * np.linspace(0.9, 0.01, len(late))[:, None, None]
    return Trajectory(z=trajectory.z, pos=pos, cell=trajectory.cell[0], time=trajectory.time)


def test_distributions_are_those_of_the_analysis(tmp_path: Path, cache: Path) -> None:
    run = run_of(part_of_reference(), 1000.0, 3000.0)
    found = curves_of(MadeUp(tmp_path, [run]), FORMULA, cache=cache)
    assert [one.pair for one in found.rdf or ()] == ["all", "Li-Li", "Li-P", "Li-S", "P-P", "P-S", "S-S"]
    expected = radial_distribution(run.production.every(20.0))
    for one, pair in zip(found.rdf, (None, (3, 3), (3, 15), (3, 16), (15, 15), (15, 16), (16, 16)), strict=True):
        np.testing.assert_allclose(one.g, expected.mean(pair), rtol=1e-6)
        np.testing.assert_allclose(one.g_reference, DATA.distribution(1000.0).mean(pair), rtol=1e-6)
    assert found.runs[0].spread_frames == expected.n_frames


def test_no_frame_after_a_failure_enters_a_curve_but_survival(tmp_path: Path, cache: Path) -> None:
    whole = part_of_reference()
    until = whole.time[0] + 2000.0
    good = curves_of(MadeUp(tmp_path, [run_of(whole[whole.time < until], 1000.0, 3000.0)], label="good"), FORMULA, cache=cache)
    spoiled = run_of(spoiled_after(whole, until), 1000.0, 3000.0, failed_at=until)
    bad = curves_of(MadeUp(tmp_path, [spoiled], label="bad"), FORMULA, cache=cache)
    for a, b in zip(good.rdf, bad.rdf, strict=True):
        np.testing.assert_array_equal(a.g, b.g)
    np.testing.assert_array_equal(good.msd[0].msd, bad.msd[0].msd)
    np.testing.assert_array_equal(good.density.model, bad.density.model)
    np.testing.assert_array_equal(good.paths.model, bad.paths.model)
    assert bad.rdf[0].verdict == "fusion" and good.rdf[0].verdict != "fusion"
    assert good.survival.causes == {} and bad.survival.causes == {"fusion": 1}
    assert bad.survival.time_ps[-1] == pytest.approx(until * 1e-3)


def test_a_crystal_at_rest_is_counted_as_cold_beside_the_failures(tmp_path: Path, cache: Path) -> None:
    run = run_of(part_of_reference(), 1000.0, 3000.0)
    still = replace(run, run=replace(run.run, internal_temperature=40.0))
    molten = run_of(spoiled_after(part_of_reference(), 2000.0), 1000.0, 3000.0, failed_at=2000.0)
    molten = replace(molten, run=replace(molten.run, internal_temperature=40.0))
    band = curves_of(MadeUp(tmp_path, [run, still, molten]), FORMULA, cache=cache).survival
    assert (band.n, band.cold, band.causes) == (3, 1, {"fusion": 1})


def test_ions_of_one_speed_have_a_parabola(tmp_path: Path, cache: Path) -> None:
    found = curves_of(MadeUp(tmp_path, [run_of(drifting(), 1000.0, 2000.0)]), FORMULA, cache=cache)
    (one,) = found.msd
    np.testing.assert_allclose(one.msd, (SPEED * 1e3 * one.lag_ps) ** 2, rtol=1e-6)
    np.testing.assert_allclose(one.error, 0, atol=1e-9)  # they all move alike
    assert (one.reference_error[1:] > 0).all() and one.reference_error[-1] < one.reference_msd[-1]
    assert 0.65 < one.lag_ps[-1] <= 0.71  # half of the production of 1.4 ps
    reference = diffusion(DATA.production(1000.0), 3)
    np.testing.assert_allclose(one.reference_msd, np.interp(one.lag_ps, reference.lag * 1e-3, reference.msd), rtol=1e-6)
    moved = found.paths.model[:, -1] - found.paths.model[:, 0]
    expected = SPEED * 1e3 * (found.paths.time_ps[-1] - found.paths.time_ps[0])
    np.testing.assert_allclose(moved, np.tile([expected, 0, 0], (12, 1)), atol=1e-5)
    assert found.arrhenius.line is None and found.arrhenius.no_line.startswith("too short")
    assert [p.temperature for p in found.arrhenius.reference_points] == [800.0, 1000.0, 1200.0]
    assert found.arrhenius.reference_line.temperature[0] == pytest.approx(300.0)


def test_density_of_the_reference_is_its_own(tmp_path: Path, cache: Path) -> None:
    run = run_of(DATA.trajectory(1000.0), 1000.0, DATA.reference.run(1000.0).length_ps * 1e3)
    found = curves_of(MadeUp(tmp_path, [run]), FORMULA, cache=cache).density
    assert found.temperature == 1000.0 and found.model.shape == found.shape
    assert float(found.model.sum()) == pytest.approx(1.0, abs=1e-4)
    assert found.overlap > 0.99


def test_survival_counts_runs(tmp_path: Path, cache: Path) -> None:
    short = part_of_reference(60)
    runs = [run_of(short, 1000.0, 1000.0), run_of(short, 1000.0, 1000.0, failed_at=500.0)]
    found = curves_of(MadeUp(tmp_path, runs), FORMULA, cache=cache).survival
    assert found.survival.tolist() == [1.0, 0.5, 0.5] and found.time_ps.tolist() == [0.0, 0.5, 1.0]
    assert found.n == 2 and found.horizon_ps == 1.0 and found.mean_ps[0] == 0.75
    assert np.isnan(found.low).all()


def test_parity_counts_every_component(tmp_path: Path, cache: Path) -> None:
    given = predictions(0.5)
    found = curves_of(MadeUp(tmp_path, [], given), FORMULA, cache=cache).parity
    assert set(found.forces) == {(e, a) for e in ("Li", "P", "S") for a in "xyz"} and found.n == 20
    for (element, axis), one in found.forces.items():
        atoms = given.frames.z == {"Li": 3, "P": 15, "S": 16}[element]
        f = given.frames.forces[:, atoms, "xyz".index(axis)].ravel()
        assert one.counts.sum() + one.beyond == one.n == f.size
        assert one.r2[0] == pytest.approx(1 - 0.25 * (f**2).sum() / ((f - f.mean()) ** 2).sum())
        reference, predicted = one.counts.sum(axis=1), one.counts.sum(axis=0)
        middle = 0.5 * (one.edges[1:] + one.edges[:-1])
        assert (predicted * middle**2).sum() == pytest.approx(0.25 * (reference * middle**2).sum(), rel=0.1)
    np.testing.assert_allclose(found.energy.predicted, found.energy.reference, atol=1e-12)  # one offset is not an error
    assert found.energy.rank[0] == pytest.approx(1.0) and set(found.energy.temperature) == {1000.0}


def test_what_is_missing_has_its_reason(tmp_path: Path, cache: Path) -> None:
    gone = MadeUp(tmp_path, [], missing="md/x/run-0.h5 is not kept; score the model again")
    found = curves_of(gone, FORMULA, cache=cache)
    assert found.rdf is None and "score the model again" in found.missing["rdf"] and found.reference == DATA.reference.label
    assert "none of Li3PS4 were kept" in found.missing["parity"]
    early = curves_of(MadeUp(tmp_path, [run_of(part_of_reference(), 1000.0, 3000.0, failed_at=100.0)]), FORMULA, cache=cache)
    assert early.rdf is None and early.missing["rdf"].startswith("fused") and early.survival is not None
    elsewhere = curves_of(MadeUp(tmp_path, [run_of(part_of_reference(), 900.0, 3000.0)]), FORMULA, cache=cache)
    assert "no run at 900 K" in elsewhere.missing["rdf"] and elsewhere.msd[0].reference_msd is None


def test_kept_once_and_made_again_when_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made_up = MadeUp(tmp_path, [run_of(part_of_reference(), 1000.0, 3000.0)])
    first = curves_of(made_up, FORMULA)
    again = curves_of(made_up, FORMULA)
    assert made_up.read == 1
    np.testing.assert_array_equal(first.rdf[0].g, again.rdf[0].g)
    files = sorted((tmp_path / "store" / "curves").iterdir())
    assert [path.suffix for path in files] == [".npz", ".npz"]  # the model's and the reference's
    for path in files:
        path.write_bytes(path.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING, logger="grannfield"):
        third = curves_of(made_up, FORMULA)
    assert made_up.read == 2 and "damaged" in caplog.text
    np.testing.assert_array_equal(first.rdf[0].g, third.rdf[0].g)


def test_absence_is_not_kept(tmp_path: Path) -> None:
    made_up = MadeUp(tmp_path, [run_of(part_of_reference(), 1000.0, 3000.0)], missing="not here")
    assert curves_of(made_up, FORMULA).rdf is None
    made_up.missing = ""
    assert curves_of(made_up, FORMULA).rdf is not None


def test_reference_curves_round_trip(cache: Path) -> None:
    once, again = reference_curves_of(DATA, cache), reference_curves_of(DATA, cache)
    assert list(once.density) == list(again.density) == [800.0, 1000.0, 1200.0]
    assert once.points == again.points and once.line.n == 3
    with pytest.raises(ValueError, match="no curves"):
        unpacked(packed(once)[:200])
