"""What the gate calls a loss, and what it does not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from grannfield.gate.evidence import Evidence, sign_flips
from grannfield.gate.judge import Judgement, holm, judge
from grannfield.report.results import Results
from tests.gate.scores import WOBBLES, force_mae, missing, results, score, speed


def labels(found: Judgement, metric: str, material: str = "Li3PS4") -> str:
    return next(one.label for one in found.moved if (one.metric, one.material) == (metric, material))


def judged(old: Results, new: Results) -> Judgement:
    return judge([old], [new])


OTHER = tuple(reversed(WOBBLES))


@pytest.mark.parametrize(
    ("factor", "noise", "expected"),
    [(1.0, 1, "unchanged"), (1.01, 1, "unchanged"), (1.1, 1, "loss"), (0.9, 1, "gain"), (1.03, 4, "cannot tell")],
)
def test_errors_on_the_same_frames_are_paired(factor: float, noise: int, expected: str) -> None:
    """Frames scatter by 5%, the paired ratio by 2%: 10% more error is seen on twelve of them, 1% is no loss at all."""
    old, new = (tuple(own**noise for own in wobble) for wobble in (WOBBLES, OTHER))
    found = judged(results(force_mae(1.0, old)), results(force_mae(factor, new)))
    assert labels(found, "force_mae") == expected
    one = found.moved[0].evidence
    assert one is not None and one.delta == pytest.approx(math.log(factor), abs=0.002)


def test_the_paired_test_is_students_within_temperatures() -> None:
    """Against scipy on data of one temperature; a difference between temperatures adds nothing to the spread."""
    from scipy import stats

    old, new = force_mae(), force_mae(1.05, OTHER)
    one = judged(results(old), results(new)).moved[0].evidence
    assert one is not None
    a, b = ([row["value"] for row in s.parts["by_run"]] for s in (old, new))
    log = np.log(np.array(b) / np.array(a))
    whole = Evidence(float(log.mean()), float(stats.sem(log)), 11, "")
    assert whole.p_loss == pytest.approx(stats.ttest_1samp(log, 0.0, alternative="greater").pvalue)
    two = log.reshape(2, 6)
    assert one.dof == 10 and one.delta == pytest.approx(log.mean())
    assert one.se == pytest.approx(math.sqrt(two.var(axis=1, ddof=1).mean() / 12))
    shifted = [row | {"value": row["value"] * (1.5 if row["temperature_K"] == 1200 else 1)} for row in new.parts["by_run"]]
    apart = judged(results(old), results(dataclasses.replace(new, parts={"by_run": shifted}))).moved[0].evidence
    assert apart is not None and apart.se == pytest.approx(one.se)


def test_identical_results_are_unchanged_everywhere() -> None:
    same = results(force_mae(), speed(), score("rdf_mae", 0.02, interval=(0.01, 0.03)), score("failed_share", 0.0, [0.0] * 6))
    found = judged(same, same)
    assert {one.label for one in found.moved} == {"unchanged"} and not found.losses


def test_a_loss_everywhere_shows_where_single_materials_do_not() -> None:
    """3.3% in three materials: no material alone is significant, all of them together are."""
    materials = ("Li3PS4", "Li4GeS4", "Li10GeP2S12")
    old = results(*(force_mae(material=m) for m in materials))
    new = results(*(force_mae(1.033, OTHER, m) for m in materials))
    found = judged(old, new)
    assert [one.material for one in found.losses] == ["all materials (3)"]


def test_an_error_is_a_loss_and_a_missing_feature_too() -> None:
    old = results(force_mae(), score("rdf_mae", 0.02), missing("diffusivity", "too short"))
    new = results(missing("force_mae", "KeyError: 'x'", error=True), missing("rdf_mae", "element not supported"),
                  missing("diffusivity", "ValueError", error=True))  # fmt: skip
    found = judged(old, new)
    assert [one.metric for one in found.losses] == ["force_mae", "rdf_mae", "diffusivity"]
    assert labels(judged(new, old), "force_mae") == "gain"


def test_a_run_that_failed_by_chance_is_no_loss_but_many_are() -> None:
    """One of six runs fails where none did: p = 1/2. Eighteen of eighteen: 2^-18."""
    old = results(score("failed_share", 0.0, [0.0] * 6), score("rdf_mae", 0.02))
    one = results(score("failed_share", 1 / 6, [1.0] + [0.0] * 5), missing("rdf_mae", "fused"))
    found = judged(old, one)
    assert not found.losses and "failed runs judges" in next(m.why for m in found.moved if m.metric == "rdf_mae")
    materials = ("Li3PS4", "Li4GeS4", "Li10GeP2S12")
    none = results(*(score("failed_share", 0.0, [0.0] * 6, m) for m in materials))
    every = results(*(score("failed_share", 1.0, [1.0] * 6, m) for m in materials))
    found = judged(none, every)
    assert found.losses[0].evidence is not None and found.losses[0].p == pytest.approx(2**-18)
    assert judged(every, none).moved[0].label == "gain"


def test_few_runs_say_that_they_can_show_nothing() -> None:
    found = judged(results(score("failed_share", 0.0, [0.0, 0.0])), results(score("failed_share", 1.0, [1.0, 1.0])))
    assert found.moved[0].label == "cannot tell" and "cannot show less than p = 0.25" in found.moved[0].why


def test_single_runs_are_compared_although_the_cell_has_no_number() -> None:
    old = results(score("rdf_mae", 0.02, [0.020, 0.021, 0.019, 0.022, 0.020, 0.021]))
    worse: list[float | None] = [0.045, 0.046, 0.044, 0.047, 0.045, None]
    parts = {"by_run": score("rdf_mae", 0.04, worse).parts["by_run"]}
    new = results(dataclasses.replace(missing("rdf_mae", "fused"), parts=parts))
    assert labels(judged(old, new), "rdf_mae") == "loss"


def test_numbers_with_intervals_alone() -> None:
    def curl(value: float, half: float) -> Results:
        return results(score("force_curl", value, interval=(value - half, value + half)))

    assert labels(judged(curl(0.001, 0.0005), curl(0.01, 0.0005)), "force_curl") == "loss"
    assert labels(judged(curl(0.001, 0.0005), curl(0.01, 0.02)), "force_curl") == "cannot tell"
    assert labels(judged(curl(0.001, 0.0001), curl(0.0011, 0.0001)), "force_curl") == "unchanged"
    bare = results(score("force_curl", 0.01))
    assert judged(curl(0.001, 0.0005), bare).moved[0].why == "no interval"


def test_closer_columns_lose_on_either_side_of_the_reference() -> None:
    def slope(value: float) -> Results:
        return results(score("force_slope", value, interval=(value - 0.004, value + 0.004), parts={"reference": 1.0}))

    for away in (0.9, 1.1):
        assert labels(judged(slope(0.99), slope(away)), "force_slope") == "loss"
        assert labels(judged(slope(away), slope(0.99)), "force_slope") == "gain"


def test_a_bound_counts_as_the_best_it_allows() -> None:
    """A diffusivity that fell below detection, two decades under the reference's, is a loss although it has no value."""
    old = results(score("diffusivity", 4e-5, interval=(3e-5, 5e-5), parts={"reference": 5e-5}))
    bound = dataclasses.replace(missing("diffusivity", "below detection"), interval=(0.0, 5e-7), parts={"reference": 5e-5})
    assert labels(judged(old, results(bound)), "diffusivity") == "loss"
    loose = dataclasses.replace(bound, interval=(0.0, 1e-4))
    assert labels(judged(old, results(loose)), "diffusivity") == "cannot tell"


def test_a_slow_machine_is_no_slow_model() -> None:
    """Rounds and yardstick 30% slower: nothing. The rounds alone: a loss."""
    where = {"metric": "ns_per_day", "material": "Li10GeP2S12"}
    assert labels(judged(results(speed()), results(speed(machine=1.3))), **where) == "unchanged"
    assert labels(judged(results(speed()), results(speed(slower=1.3))), **where) == "loss"
    assert labels(judged(results(speed()), results(speed(slower=0.7))), **where) == "gain"
    assert labels(judged(results(speed()), results(speed(slower=1.2, yardstick=2))), **where) == "cannot tell"
    assert labels(judged(results(speed()), results(speed(slower=1.6, yardstick=2))), **where) == "loss"


def test_speeds_of_other_hardware_are_not_compared() -> None:
    found = judged(results(speed()), results(speed(slower=3.0, hardware="another")))
    assert found.moved[0].label == "not compared" and found.moved[0].why == "other hardware: a machine then, another now"


def test_results_of_another_protocol_reference_or_precision_are_refused() -> None:
    found = judged(results(force_mae()), results(force_mae(2.0), preset="smoke"))
    assert not found.moved and found.left_out == ["toy: preset: 'quick' then, 'smoke' now"]
    made = [dataclasses.replace(force_mae(), provenance={"reference_runs": {"a.h5": sha}}) for sha in ("x", "y")]
    old, new = (results(one) for one in made)
    assert judged(old, new).moved[0].why == "the reference's runs have changed"
    new = results(force_mae(2.0))
    new.model["precision"] = "tf32"
    assert judged(results(force_mae()), new).moved[0].why == "precision: float32 then, tf32 now"
    assert judge([results(force_mae(), label="other")], [new]).left_out == ["toy: it is not in the baseline"]


def test_holm_counts_everything() -> None:
    """p = 0.001 alone is significant at 3%, among forty numbers that did not move it is not."""
    assert holm([0.001], 0.03) == [True]
    assert holm([0.001] + [1.0] * 39, 0.03) == [False] * 40
    assert holm([], 0.03) == []


def test_signs_are_counted_exactly() -> None:
    random = np.random.default_rng(1)
    losses = random.standard_normal(13)
    signs = 1 - 2 * ((np.arange(2**13)[:, None] >> np.arange(13)) & 1)
    assert sign_flips(losses) == pytest.approx((signs @ np.abs(losses) >= losses.sum() - 1e-9).mean())
    assert sign_flips(np.ones(50)) == pytest.approx(2.0**-50)
    assert sign_flips(np.zeros(4)) == 1.0
    assert sign_flips(np.arange(1.0, 41)) == pytest.approx(1e-5, rel=1e-3)
