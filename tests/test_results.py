"""Results files: format 3 holds what formats 1 and 2 did, each stamp and each key of a table once; all are read."""

from __future__ import annotations

import json
import math

import pytest

from grannfield.report.results import Results, ResultsError, all_results, read_results
from grannfield.score import Score

VERSIONS = {"torch": "2.13.0", "code": "abc"}


def results(n=6):
    """Scores with what they may hold: numbers, none, open intervals, parts of every kind, stamps that share much."""
    one = Results("a <b>", {"identity": "0" * 64, "settings": {"cutoff": 6.0}}, {"preset": "smoke", "seed": 0})
    run = {"kind": "md", "path": "md/1/run-0.h5", "sha256": "f" * 64, "protocol": {"length": 1000.0, "ramp": 0.0}}
    for i in range(n):
        stamp = {"date": f"2026-01-01 00:0{i // 3} UTC", "versions": VERSIONS, "reference_runs": {}, "kinship": ""}
        stamp |= {"evidence": [run, {"kind": "curl", "path": f"curl/{i % 2}.npz"}]}
        stamp |= {"runs_made_on": [{"hardware": "x", "versions": VERSIONS}]}
        value = math.nan if i == 2 else (i + 1) / 32
        about = {"n": i + 1, "interval": (-math.inf, 0.375), "reason": "fused" if i == 2 else "", "provenance": stamp}
        parts = {"by_run": [{"value": value, "interval": None}], "none": None, "deep": {"a": [1, {"b": -math.inf}]}}
        parts |= {
            "mixed": [{"a": 1}, {"b": 1}],
            "empty": [{}, {}],
            "table": [{"x": i, "y": [{"u": k}, {"u": None}]} for k in (1, 2)],
        }
        one.add(Score(f"m{i}", "a <b>", "Li3PS4", value, parts=parts, **about))
    one.add_reference(Score("m0", "surrogate: x", "Li3PS4", 1e-300, n=1, provenance={"versions": VERSIONS}))
    return one


def as_dicts(one):
    return [{key: score.to_dict() for key, score in group.items()} for group in (one.scores, one.reference)]


def test_round_trip_and_repeats(tmp_path):
    one = results()
    path = one.write(tmp_path)
    found = read_results(path)
    assert as_dicts(found) == as_dicts(one) and (found.model, found.protocol) == (one.model, one.protocol)
    assert found.text == one.text == path.read_text(encoding="utf-8")
    assert found.scores["m0", "Li3PS4"].interval == (-math.inf, 0.375)


def test_each_distinct_stamp_once_and_a_line_for_each_score(tmp_path):
    content = json.loads(results(60).text)
    assert content["format"] == 3 and content["shared"]["versions"] == [VERSIONS]
    assert len(content["shared"]["evidence"]) == 3 and len(content["shared"]["protocol"]) == 1
    lines = results(60).text.splitlines()
    assert sum(line.lstrip().startswith('{"better"') or '"metric":"m' in line for line in lines) == 61


def test_one_changed_number_changes_one_line():
    one, two = results(), results()
    old = two.scores["m3", "Li3PS4"]
    two.add(Score("m3", old.model, old.material, 0.5, n=old.n, interval=old.interval, parts=old.parts, provenance=old.provenance))
    pairs = zip(one.text.splitlines(), two.text.splitlines(), strict=True)
    assert sum(a != b for a, b in pairs) == 1


def test_the_keys_of_a_table_stand_once(tmp_path):
    one = results(1)
    one.scores["m0", "Li3PS4"].parts["by_run"] = [{"value": k / 8, "interval": None, "reason": "x"} for k in range(20)]
    line = next(line for line in one.text.splitlines() if '"m0"' in line and '"by_run"' in line)
    assert line.count('"reason"') == 1 and line.count('"x"') == 21
    assert as_dicts(read_results(one.write(tmp_path))) == as_dicts(one)
    one.scores["m0", "Li3PS4"].parts["deep"] = {"@columns": 1}
    with pytest.raises(ResultsError, match="may not be @columns"):
        one.text  # noqa: B018


def test_numbers_are_written_with_ten_digits(tmp_path):
    one = results(1)
    one.add(Score("third", "a <b>", "Li3PS4", -1e5 / 3, n=3, interval=(-2e5 / 3, 1 / 3), parts={"deep": [{"x": 2 / 3}]}))
    found = read_results(one.write(tmp_path))
    third = found.scores["third", "Li3PS4"]
    assert (third.value, third.interval) == (-33333.33333, (-66666.66667, 0.3333333333)) and third.parts == {
        "deep": [{"x": 0.6666666667}]
    }
    assert found.text == one.text


def test_format_2_is_read_and_becomes_format_3(tmp_path):
    one = results()
    content = json.loads(one.text) | {"format": 2}
    for row, score in zip(content["scores"], (one.scores[key] for key in sorted(one.scores)), strict=True):
        row["parts"] = score.to_dict()["parts"]
    path = one.path(tmp_path)
    path.parent.mkdir()
    path.write_text(json.dumps(content), encoding="utf-8")
    found = read_results(path)
    assert as_dicts(found) == as_dicts(one) and found.text == one.text


def test_format_1_is_read_and_becomes_format_3(tmp_path):
    one = results()
    scores, reference = as_dicts(one)
    old = {"format": 1, "label": one.label, "model": one.model, "protocol": one.protocol}
    old |= {"scores": list(scores.values()), "reference": list(reference.values())}
    path = one.path(tmp_path)
    path.parent.mkdir()
    path.write_text(json.dumps(old, indent=1), encoding="utf-8")
    found = read_results(path)
    assert as_dicts(found) == as_dicts(one) and found.text == one.text
    assert len(found.text) < 0.6 * len(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-100],
        lambda text: text.replace('"provenance":0', '"provenance":99'),
        lambda text: text.replace('"@versions":0', '"@versions":7'),
        lambda text: text.replace('"format": 3', '"format": "three"'),
        lambda text: text.replace('{"u":[1,null]}', '{"u":[1,null],"v":[1]}'),
        lambda text: "[]",
        lambda text: text.replace('"stamps": [', '"stamps": {"a": ['),
    ],
)
def test_damage_names_the_file(tmp_path, damage):
    path = results().write(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert damage(text) != text
    path.write_text(damage(text), encoding="utf-8")
    with pytest.raises(ResultsError, match=r"results.a__b_\.json is not a results file"):
        all_results(tmp_path)


def test_a_later_format_and_a_reserved_key(tmp_path):
    path = results().write(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace('"format": 3', '"format": 4'), encoding="utf-8")
    with pytest.raises(ResultsError, match="reads up to 3: upgrade"):
        read_results(path)
    with pytest.raises(ResultsError, match="may not begin with @"):
        Results("x", scores={("m", "a"): Score("m", "x", "a", 1.0, n=1, provenance={"@a": 1})}).text  # noqa: B018
