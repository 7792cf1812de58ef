"""The study computes everything once, loses nothing to a kill, and does not depend on how many processes work."""

from __future__ import annotations

import math

import numpy as np
import pytest

from grannfield.analysis.uncertainty import Estimate
from grannfield.calibrate import study as module
from grannfield.calibrate.estimators import OURS, Estimator, estimator, estimators
from grannfield.calibrate.study import Store, Study, coverage_of, fingerprint, judge, known_condition
from grannfield.calibrate.synthetic import CONDITIONS, MOBILE_Z, at, trajectory
from grannfield.files import FolderBusy, locked


def study(folder, n=4, n_sets=2, estimators_=(OURS,), conditions=("short", "few temperatures short"), seed=5):
    return Study(seed, tuple(estimators_), tuple(conditions), n, n_sets, folder)


def test_a_second_call_computes_only_what_is_new(tmp_path, monkeypatch):
    study(tmp_path, n=3).run()
    done = []
    monkeypatch.setattr(module, "judge", lambda one, *which: done.append(which) or judge(one, *which))
    study(tmp_path, n=5).run()
    assert done == [("short", 5, 3), ("short", 5, 4)]
    done.clear()
    study(tmp_path, n=5).run()
    assert done == [] and [row.n for row in study(tmp_path, n=5).rows()] == [5, 2, 2]
    assert [row.n for row in study(tmp_path, n=2).rows()] == [2, 2, 2]
    assert study(tmp_path, seed=6).rows() == []


def test_a_line_that_a_kill_cut_off_is_computed_again(tmp_path):
    whole = study(tmp_path)
    whole.run()
    expected = whole.rows()
    for name in whole.conditions:
        path = Store(tmp_path, 5).path(OURS, name)
        path.write_bytes(path.read_bytes()[:-40])
    cut = study(tmp_path)
    assert sum(len(piece.numbers) for piece in cut.missing()) == 2
    cut.run()
    for a, b in zip(expected, cut.rows(), strict=True):
        assert (a.n, a.coverage, a.width) == (b.n, b.coverage, b.width)


def test_two_studies_in_one_folder_are_refused(tmp_path):
    with locked(tmp_path), pytest.raises(FolderBusy, match="another process is working"):
        study(tmp_path).run()


def test_processes_make_no_difference(tmp_path):
    for jobs in (1, 2):
        study(tmp_path / str(jobs), n=3, conditions=("short", "free")).run(jobs)
    one, two = ([(r.condition, r.coverage, r.width, r.spread) for r in study(tmp_path / j, n=3).rows()] for j in "12")
    assert one == two and len(one) == 1


def test_the_table_agrees_with_the_plain_function(tmp_path):
    study(tmp_path, n=4, conditions=("short",)).run()
    (stored,) = study(tmp_path, n=4, conditions=("short",)).rows()
    (computed,) = coverage_of("grannfield", "short", 4, 5)
    assert (stored.coverage, stored.width, stored.bias) == (computed.coverage, computed.width, computed.bias)


def test_results_of_other_code_are_not_used(tmp_path):
    study(tmp_path, n=2, conditions=("short",)).run()
    path = Store(tmp_path, 5).path(OURS, "short")
    path.rename(path.with_name("short-000000000000.jsonl"))
    assert study(tmp_path, n=2, conditions=("short",)).rows() == []


def test_results_of_other_trajectories_are_not_used(tmp_path, monkeypatch):
    study(tmp_path, n=2, conditions=("short",)).run()
    assert len(study(tmp_path, n=2, conditions=("short",)).rows()) == 1
    monkeypatch.setitem(CONDITIONS, "short", at("short", hops=3.001))
    fingerprint.cache_clear()
    assert study(tmp_path, n=2, conditions=("short",)).rows() == []
    monkeypatch.undo()
    fingerprint.cache_clear()


def test_what_was_computed_with_a_package_is_shown_without_it(tmp_path):
    absent = Estimator("absent", "", OURS.diffusivity, OURS.extrapolation, packages=("no-such-package",))
    assert absent.missing == ["no-such-package"]
    plan = study(tmp_path, estimators_=(absent,), conditions=("short",))
    assert plan.missing() == [] and plan.rows() == []
    store = Store(tmp_path, 5)
    kept = store.path(absent, "short")
    kept = kept.with_name(kept.name.replace("None", "1.0"))
    kept.parent.mkdir(parents=True)
    store.append(absent, "short", judge(absent, "short", 5, 0))
    store.path(absent, "short").rename(kept)
    assert [row.n for row in plan.rows()] == [1]


def test_names_are_forgiving_and_their_lack_is_not():
    assert known_condition("few-temperatures-short") == "few temperatures short"
    assert estimator("pymatgen-max").name == "pymatgen max"
    with pytest.raises(LookupError, match="'wobbly'; there are free"):
        known_condition("wobbly")
    with pytest.raises(LookupError, match="'wobbly'; there are grannfield"):
        estimator("wobbly")


@pytest.mark.parametrize("name", ["pymatgen", "pymatgen max"])
def test_pymatgen_sees_the_right_diffusivity_and_claims_too_much(name):
    found = [estimator(name).diffusivity(trajectory("free", 0, k)[0]) for k in range(12)]
    truth = trajectory("free", 0)[1].diffusivity_cm2_per_s
    values = np.array([e.value for e in found])
    claimed = np.mean([e.interval[1] - e.interval[0] for e in found])
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / math.sqrt(12) + 0.02 * truth)
    assert claimed < values.std()  # an honest one would be about four times that


def test_pymatgen_states_no_error_of_the_conductivity():
    at = (800.0, 1000.0, 1200.0)
    d = [Estimate(1e-3 * math.exp(-0.25 / (8.617333262e-5 * t)), (0.0, 1.0), 20) for t in at]
    energy, sigma = estimator("pymatgen").extrapolation(at, d, 20, 983.4)
    assert energy.value == pytest.approx(0.25, rel=1e-6)
    _, ours = OURS.extrapolation(at, d, 20, 983.4)
    assert sigma.value == pytest.approx(ours.value, rel=1e-6) and sigma.interval == (-math.inf, math.inf)


@pytest.mark.parametrize("name", ["gemdat", "kinisi"])
def test_rivals_see_the_right_diffusivity(name):
    pytest.importorskip(name)
    run, truth = trajectory("caged", 0)
    found = estimator(name).diffusivity(run)
    assert not found.reason and found.interval[0] < truth.diffusivity_cm2_per_s < found.interval[1]
    again = estimator(name).diffusivity(run)
    assert again.interval == found.interval  # random numbers of theirs are seeded


def test_a_rival_that_fails_gives_its_reason():
    run, _ = trajectory("short", 0)
    found = estimator("pymatgen max").diffusivity(run[:20])
    assert found.reason == "failed" and "Not enough data" in found.detail
    both = estimator("pymatgen").extrapolation((800.0,), [Estimate(1e-5, n=1)], 20, 983.4)
    assert {e.reason for e in both} == {"failed"} and "1 of 1 runs" in both[0].detail


def test_every_estimator_says_what_it_is_and_ours_depends_on_its_files():
    for one in estimators().values():
        assert one.about and one.code and one.at_most >= 60
    assert {"analysis/diffusion.py", "analysis/conductivity.py", "analysis/uncertainty.py"} <= set(OURS.code)
    assert MOBILE_Z == 3
