"""Claims of the paper: each verdict comes out where it should, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from grannfield.claims.claim import Claim, ClaimError, book, claim_of, said
from grannfield.claims.evidence import Measured, Published
from grannfield.claims.judged import Judged, judge
from grannfield.claims.rules import RULES
from grannfield.claims.told import document, write_reproduction
from grannfield.report import paper
from grannfield.report.results import Results, all_results
from grannfield.report_command import write_tables
from grannfield.score import Score
from tests.report.made import MATERIALS, SURROGATE

LGPS, LI3PS4, LI4GES4 = MATERIALS
AIMD = "AIMD (VASP, PBE)"
CLAIMS = {claim.id: claim for claim in book().claims}
TABLE1 = {name: round(1e6 * float(row["parameters_million"] or 0)) for name, row in paper.table1().items()}
R2 = {LGPS: 0.99, LI3PS4: 0.97, LI4GES4: 0.97}


def run(name: str, preset: str = "small", against: str = SURROGATE, **model: Any) -> Results:
    """Results of one of the paper's models at Table 1's size, without any score."""
    about = {"name": name, "n_parameters": TABLE1[name.partition("@")[0]], "provenance": {"hardware": "a GPU"}} | model
    one = Results(name, about, {"preset": preset, "described": "as long as it takes", "hardware": "a GPU"})
    for material in MATERIALS:  # a column that no claim is about, so that every material is there
        put(one, "survival_ps", material, 10.0, 0.0, against)
    return one


def put(one: Results, metric: str, material: str, value: float, half: float, against: str = SURROGATE, **more: Any) -> Results:
    """The same results with one more score."""
    known = {"n": 50, "interval": (value - half, value + half), "provenance": {"reference": against}} | more
    one.add(Score(metric, one.label, material, value, **known))
    return one


def without(one: Results, metric: str, material: str, reason: str, against: str = SURROGATE) -> Results:
    one.add(Score(metric, one.label, material, reason=reason, provenance={"reference": against}))
    return one


def forces(name: str, r2: dict[str, float], half: float = 0.002, **more: Any) -> Results:
    one = run(name, **more)
    for material, value in r2.items():
        put(one, "force_r2_random", material, value, half)
    return one


def rdf(one: Results, material: str, value: float, half: float, verdict: str, floor: float = 0.02) -> Results:
    by_run = [{"interval": [value - half, value + half], "floor": floor, "verdict": verdict}]
    parts = {"by_run": by_run, "threshold": max(0.02, 1.5 * floor)}
    return put(one, "rdf_mae", material, value, half, verdict=f"{verdict} (worst {value}, limit 0.03)", parts=parts)


def sigma(one: Results, material: str, value: float, own: float, half: float = 0.1) -> Results:
    one.add_reference(Score("neg_log_sigma", SURROGATE, material, own, n=3, interval=(own - half, own + half)))
    return put(one, "neg_log_sigma", material, value, half)


def judged(claim: str, *results: Results, behaviour: str = "default") -> Judged:
    return judge(CLAIMS[claim], Measured(results, behaviour))


def words(found: Judged) -> dict[str, str]:
    return {one.subject: one.word for one in found.findings if one.run}


# what may decide


def test_a_threshold_is_confirmed_refuted_or_straddled() -> None:
    for value, half, word in ((0.99, 0.002, "confirmed"), (0.97, 0.002, "refuted"), (0.98, 0.002, "undecided")):
        found = judged("B1", forces("schnet", {LGPS: value}, half))
        assert words(found) == {"schnet": word} and found.word == "undecided"  # ten models were not run


def test_most_is_more_than_half_of_all_eleven() -> None:
    good = [forces(name, {LGPS: 0.99}) for name in list(paper.TITLES)[:6]]
    poor = [forces(name, {LGPS: 0.9}) for name in list(paper.TITLES)[6:]]
    assert judged("B1", *good).word == "confirmed"
    assert judged("B1", *good[:5], *poor).word == "undecided"  # one was not run
    assert judged("B1", *good[:5], *poor, forces(list(paper.TITLES)[5], {LGPS: 0.9})).word == "refuted"


@pytest.mark.parametrize(
    ("more", "bar"),
    [
        ({"preset": "tiny"}, "scale tiny"),
        ({"preset": "given"}, "scale given"),
        ({"n_parameters": 31_000, "reduced": True}, "reduced size (0.03 of 0.49 million parameters)"),
        ({"n_parameters": 31_000}, "reduced size (0.03 of 0.49 million parameters)"),
        ({"n_parameters": None}, "size not known"),
        ({"preset": "quick"}, ""),
        ({"preset": "small"}, ""),
        ({"preset": "paper"}, ""),
    ],
)
def test_small_scales_and_sizes_decide_nothing_but_are_shown(more: dict[str, Any], bar: str) -> None:
    one = forces("schnet", R2, **more)
    finding = judged("B1", one).findings[1]
    assert finding.seen is True and finding.bars == ((bar,) if bar else ())
    assert finding.word == ("undecided" if bar else "confirmed")
    text = document([one], Path("nowhere"))
    row = re.search(r"\| SchNet \| [^\n]*0\.9900 ± 0\.0020[^\n]*", re.sub(" +", " ", text))
    assert row is not None and bar in row[0]


def test_a_missing_cell_is_undecided() -> None:
    found = judged("B2", forces("dimenet", {LI3PS4: 0.99}))
    assert words(found) == {"dimenet": "undecided"} and found.findings[0].seen is None
    assert words(judged("B2", forces("dimenet", {LI3PS4: 0.9}))) == {"dimenet": "refuted"}  # one material is enough for that


def test_of_two_scales_the_larger_speaks_and_of_two_labels_the_plain_one() -> None:
    tiny, quick = forces("schnet", {LGPS: 0.5}, preset="tiny"), forces("schnet", R2)
    other = forces("schnet", {LGPS: 0.5}, preset="paper")
    tiny.label, other.label = "schnet@tiny", "my-schnet"
    assert words(judged("B1", tiny, quick, other)) == {"schnet": "confirmed"}


def test_the_published_code_is_judged_by_itself() -> None:
    both = forces("schnet", R2), forces("schnet@published", {LGPS: 0.9})
    assert words(judged("B1", *both)) == {"schnet": "confirmed"}
    assert words(judged("B1", *both, behaviour="published")) == {"schnet": "refuted"}


# structure


def test_stability_on_intervals() -> None:
    def word(value: float, half: float, verdict: str) -> str:
        return words(judged("C3", rdf(run("cgcnn"), LGPS, value, half, verdict)))["cgcnn"]

    assert word(0.02, 0.005, "stable") == "refuted"  # the claim is that it is not
    assert word(0.028, 0.005, "stable") == "undecided" and word(0.032, 0.005, "lattice mismatch") == "undecided"
    assert word(0.05, 0.005, "lattice mismatch") == "confirmed"
    assert word(0.01, 0.005, "fusion") == "confirmed"  # an event in a run is no matter of intervals


def test_a_physical_reason_is_an_answer_and_too_short_is_none() -> None:
    for reason, word in (("fused", "confirmed"), ("exploded", "confirmed"), ("too short", "undecided")):
        assert words(judged("C3", without(run("cgcnn"), "rdf_mae", LGPS, reason))) == {"cgcnn": word}
    for reason, word in (("fused", "confirmed"), ("too short", "undecided")):
        one = without(without(run("schnet"), "neg_log_sigma", LI3PS4, reason), "neg_log_sigma", LI4GES4, reason)
        assert judged("D8", one).word == word


def test_stable_on_the_training_material_only() -> None:
    def schnet(*verdicts: str) -> Results:
        one = run("schnet")
        for material, verdict in zip(MATERIALS, verdicts, strict=True):
            rdf(one, material, 0.02 if verdict == "stable" else 0.06, 0.002, verdict)
        return one

    assert words(judged("C2", schnet("stable", "fusion", "lattice mismatch"))) == {"schnet": "confirmed"}
    assert words(judged("C2", schnet("stable", "stable", "fusion"))) == {"schnet": "refuted"}


def test_accurate_forces_with_a_broken_structure() -> None:
    broken = rdf(forces("leftnet", R2), LI3PS4, 0.06, 0.002, "fusion")
    assert judged("C4", broken).word == "confirmed"  # one model is enough
    poor = rdf(forces("cgcnn", {LI3PS4: 0.8, LI4GES4: 0.8}), LI3PS4, 0.06, 0.002, "fusion")
    assert judged("C4", poor).word == "undecided" and words(judged("C4", poor)) == {"cgcnn": "refuted"}
    assert judged("C5", broken).word == "confirmed" and words(judged("C6", broken)) == {"leftnet": "undecided"}
    assert judged("C6", rdf(run("gns_tat"), LGPS, 0.06, 0.002, "lattice mismatch")).word == "confirmed"


def test_the_floor_of_the_reference_needs_its_length_and_aimd() -> None:
    def floors(value: float, preset: str, against: str) -> Judged:
        one = run("schnet", preset, against)
        for material in MATERIALS:
            parts = {"floor": {"value": value, "interval": [value - 0.002, value + 0.002], "n": 4}}
            put(one, "rdf_mae", material, 0.02, 0.001, against, parts=parts)
        return judged("C7", one)

    assert floors(0.01, "paper", AIMD).word == "confirmed" and floors(0.03, "paper", AIMD).word == "refuted"
    assert floors(0.03, "quick", AIMD).findings[0].bars == ("scale quick",)
    assert floors(0.03, "paper", SURROGATE).findings[0].bars == ("the reference is a surrogate, not AIMD",)


# conductivity


def conductor(name: str, *pairs: tuple[float, float], half: float = 0.1) -> Results:
    """A model with its own and the reference's -log10 sigma on the three materials."""
    one = run(name)
    for material, (value, own) in zip(MATERIALS, pairs, strict=True):
        sigma(one, material, value, own, half)
    return one


def test_agreement_within_a_factor_of_ten() -> None:
    near, far = ((-1.0, -1.4), (0.5, 0.8), (13.0, 13.6)), ((-1.0, -1.4), (0.5, 0.8), (8.0, 13.6))
    assert judged("D2", conductor("dimenet", *near), conductor("dimenet_pp", *near)).word == "confirmed"
    assert judged("D2", conductor("dimenet", *near), conductor("dimenet_pp", *far)).word == "refuted"
    assert judged("D2", conductor("dimenet", *near, half=1.0), conductor("dimenet_pp", *near)).word == "undecided"
    assert words(judged("D3", conductor("scn", *far))) == {"scn": "confirmed"}


def test_distances_are_compared_by_intervals_that_do_not_meet() -> None:
    near, far = ((-1.0, -1.4), (0.5, 0.8), (13.0, 13.6)), ((-1.0, -1.4), (3.0, 0.8), (8.0, 13.6))
    good = [conductor(name, *near) for name in ("dimenet", "dimenet_pp")]
    others = [conductor(name, *far) for name in CLAIMS["D5"].than]
    assert judged("D5", *good, *others).word == "confirmed"
    assert judged("D5", *[conductor(name, *far) for name in ("dimenet", "dimenet_pp")], conductor("scn", *near)).word == "refuted"
    assert judged("D5", *good, *[conductor(name, *near) for name in CLAIMS["D5"].than]).word == "undecided"


def test_the_order_of_materials_in_a_model_and_in_the_reference() -> None:
    rising, falling = ((-1.0, -1.4), (0.5, 0.8), (13.0, 13.6)), ((1.0, 1.4), (0.5, 0.8), (13.0, 13.6))
    assert words(judged("D6", conductor("dimenet", *rising), conductor("dimenet_pp", *falling))) == {
        "dimenet": "confirmed", "dimenet_pp": "refuted",
    }  # fmt: skip
    seen = judged("D1", conductor("dimenet", *rising))
    assert seen.seen is True and seen.word == "undecided"  # against a surrogate nothing is known of AIMD


def test_the_papers_table_2_under_the_papers_claims() -> None:
    own = {key: judge(CLAIMS[key], Published()) for key in ("D2", "D3", "D4", "D5", "D6")}
    assert {key: one.seen for key, one in own.items()} == {"D2": False, "D3": None, "D4": None, "D5": True, "D6": True}
    assert [o.holds for o in own["D2"].findings[0].observations] == [True, True, False]  # 8.00 against 13.59 on Li4GeS4
    assert all(one.seen is None for one in own["D3"].findings if one.subject == "schnet")


# speed, counts, symmetry


def timed(name: str, value: float, hardware: str = "NVIDIA H200") -> Results:
    parts = {"hardware": hardware, "rounds_s": [0.95, 0.97, 1.0, 1.02, 1.05]}
    return put(run(name), "ns_per_day", LGPS, value, 0.01, n=5, parts=parts)


def test_speeds_are_ranked_on_one_gpu() -> None:
    others = [timed(name, 10.0) for name in CLAIMS["A5"].than]
    assert judged("A5", timed("cgcnn", 12.0), *others).word == "confirmed"
    assert judged("A5", timed("cgcnn", 8.0), *others).word == "refuted"
    assert judged("A5", timed("cgcnn", 10.5), *others).word == "undecided"  # the rounds overlap
    assert judged("A5", timed("cgcnn", 12.0, "NVIDIA A100"), *others).findings[0].bars == ("not on the same hardware",)
    slow = judged("A4", timed("cgcnn", 12.0, "AMD EPYC, 2 cores, 1 threads")).findings[0]
    assert slow.seen is True and slow.bars == ("timed on a processor",)


def test_parameters_and_symmetries_need_no_scale() -> None:
    def found(check: str, value: float, precision: str = "float64") -> dict[str, Any]:
        return {"check": check, "value": value, "precision": precision, "verdict": "pass"}

    exact = [found("rotation", 1e-6, "float32"), found("reflection", 1e-14), found("translation", 1e-14)]
    turned = [found("rotation", 0.7, "float32"), *exact[1:]]
    contracts = {
        "schnet": {"default": {"n_parameters": 494_209, "findings": exact}},
        "gns_tat": {"default": {"n_parameters": 1_900_000, "findings": turned}},
        "escn": {"default": {"n_parameters": 34_284_032, "findings": exact}},
    }
    evidence = Measured([], contracts=contracts)
    assert words(judge(CLAIMS["A1"], evidence)) == {"schnet": "confirmed", "gns_tat": "refuted", "escn": "confirmed"}
    assert words(judge(CLAIMS["A2"], evidence)) == {"schnet": "confirmed", "gns_tat": "refuted", "escn": "undecided"}


# paths


def test_ions_that_stray_and_cells_that_move() -> None:
    def path(label: str, drift: str) -> Results:
        one = run("scn")
        for material in MATERIALS:
            test = {"label": label, "excess": 0.1, "interval": [0.05, 0.15]}
            put(one, "outside_channels", material, 0.12, 0.02, parts={"test": test, "floor": 0.02})
            put(one, "framework_drift", material, 0.1, 0.01, verdict=drift)
        return one

    for label, drift, word in (
        ("different", "recoil only", "confirmed"),
        ("indistinguishable", "moves as a whole", "confirmed"),
        ("indistinguishable", "recoil only", "refuted"),
        ("undecided", "recoil only", "undecided"),
    ):
        assert words(judged("E1", path(label, drift))) == {"scn": word}


# the document


def test_every_claim_is_there_when_nothing_is_known(tmp_path: Path) -> None:
    text = write_reproduction(tmp_path).read_text()
    for claim in book().claims:
        assert f"[{claim.id}](#{claim.id.lower()})" in text and f"#### {claim.id}\n" in text
    assert "0 confirmed, 0 refuted" in text and "none of the paper's 11 models" in text
    assert text.count("Nothing was run.") == len(CLAIMS) + 1


def test_the_report_writes_the_document_twice_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = forces(
        "schnet", R2, preset="tiny", provenance={"budget_s": 60.0, "samples": 1440, "epochs": 1.6, "training_frames": 900}
    )
    one.write(tmp_path)
    monkeypatch.setattr("grannfield.studies.told.sections", lambda reports: [("Seeds | more", "Two seeds, n = 2.")])
    paths = write_tables(tmp_path)
    first = (tmp_path / "REPRODUCTION.md").read_bytes()
    assert tmp_path / "REPRODUCTION.md" in paths
    write_tables(tmp_path)
    assert (tmp_path / "REPRODUCTION.md").read_bytes() == first
    text = first.decode()
    assert SURROGATE in text and "preset `tiny`" in text and "0.10% of the paper's" in text
    assert "### Seeds \\| more\n\nTwo seeds, n = 2." in text
    assert "1 of the paper's 11 models (SchNet)" in text


def test_verdicts_of_both_behaviours_stand_side_by_side(tmp_path: Path) -> None:
    text = document([forces("schnet", R2), forces("schnet@published", {LGPS: 0.9})], tmp_path)
    row = next(line for line in re.sub(" +", " ", text).splitlines() if line.startswith("| SchNet | default: confirmed"))
    assert "published code: refuted" in row and "default: LGPS: force R² (random) 0.9900 ± 0.0020 (n=50)" in row
    assert "None was at Table 1's size" not in text


def test_the_shipped_results_are_told() -> None:
    shipped = Path(__file__).parents[2] / "reports"
    if not (shipped / "results").is_dir():
        pytest.skip("a source tree without results")
    text = document(all_results(shipped), shipped)
    assert "surrogate: SevenNet-0" in text and len(text) < 120_000
    assert re.search(r"\[A1\]\(#a1\) [^|]*\| confirmed \| confirmed \|", text)
    assert re.search(r"\[A2\]\(#a2\) [^|]*\| refuted \| refuted \|", text)  # SCN turns no rotation exactly
    for line in text.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)
            assert len(cells) in (5, 6, 7), line


# the file of claims


def test_the_file_names_what_exists() -> None:
    sources = "".join(claim.source for claim in book().claims)
    assert "Table 1" in sources and "Table 2" in sources and len(CLAIMS) == len(book().claims) >= 20
    assert {one["is"] for claim in book().claims for one in claim.condition} <= set(RULES)
    for claim in book().claims:
        assert claim.subjects and claim.words.endswith("."), claim.id
    assert said({"is": "resolved", "metric": "neg_log_sigma", "expect": False}).endswith("has no number")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["shnet"]}, "there is no model 'shnet'"),
        ({"kind": "guess"}, "kind 'guess'"),
        ({"least": "huge"}, "least 'huge'"),
        ({"among": "some"}, "over and among are every, most, any"),
        ({"metric": "r2"}, "there is no column 'r2'"),
        ({"condition": [{"is": "above", "metric": "force_r2"}]}, "needs limit"),
        ({"condition": [{"is": "nice"}]}, "there is no condition 'nice'"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_entry_is_named(change: dict[str, Any], message: str) -> None:
    entry = {"id": "X1", "group": "g", "title": "t", "text": "t", "source": "s", "kind": "cells"}
    assert isinstance(claim_of(entry), Claim)
    with pytest.raises(ClaimError, match=re.escape(message)) as problem:
        claim_of(entry | change)
    assert "claims.toml, X1" in str(problem.value)
