"""Verification recomputes: it sees an altered frame, value, interval, hash, sample or weight, and a file that is not there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grannfield import cli
from grannfield.data import compact
from grannfield.data.checksum import sha256_of_file
from grannfield.data.predicted import read_predictions, write_predictions
from grannfield.data.store import StoreError, read_attributes, read_trajectory, write_trajectory
from grannfield.evidence.compare import differences
from grannfield.evidence.kept import reference_data
from grannfield.evidence.subject import described_subject
from grannfield.harness import unseen_frames
from grannfield.report.results import Results, read_results

from .conftest import FORMULA, LABEL, LGPS, rewritten


def verify(reports: Path, *arguments: str) -> int:
    return cli.main(["verify", LABEL, *arguments, "--reports", str(reports)])


def pointer(stored: Results, metric: str) -> dict:
    return stored.scores[metric, FORMULA].provenance["evidence"][0]


def test_an_honest_board_passes_and_nothing_is_written(reports, capsys):
    before = {path: path.read_bytes() for path in reports.rglob("*") if path.is_file()}
    assert verify(reports, "--strict") == 0
    said = capsys.readouterr().out
    assert f"{LABEL} on {FORMULA}: " in said and "0 different, 0 cannot" in said
    assert {path: path.read_bytes() for path in before} == before


def test_one_altered_frame(reports, stored, capsys):
    """The file is not the one recorded; and with every hash rewritten, the number is not the one stored."""
    path = reports / "store" / pointer(stored, "rdf_mae")["path"]
    run, about, old = read_trajectory(path), read_attributes(path), sha256_of_file(path)
    pos = run.pos.copy()
    pos[60, 3] += [0.8, 0.0, 0.0]
    write_trajectory(path, replace(run, pos=pos), about, compactly=compact.MOTION)
    assert verify(reports, FORMULA, "rdf_mae", "--frames", "0") == 1
    assert "the file was altered" in capsys.readouterr().out
    rewritten(reports, old, sha256_of_file(path))
    assert verify(reports, FORMULA, "rdf_mae", "--frames", "0") == 1
    assert "stored" in (said := capsys.readouterr().out) and "the file was altered" not in said


@pytest.mark.parametrize(("metric", "material"), [("rdf_mae", FORMULA), ("force_mae", FORMULA), ("ns_per_day", LGPS)])
def test_one_altered_value_with_consistent_hashes(reports, stored, metric, material, capsys):
    """No file has changed and every hash fits; only the number is another."""
    score = stored.scores[metric, material]
    low, high = score.interval
    shift = 1.001
    stored.add(replace(score, value=score.value * shift, interval=(low * shift, high * shift)))
    stored.write(reports)
    assert verify(reports, material, metric, "--frames", "0") == 1
    said = capsys.readouterr().out
    assert f"value: {float(f'{score.value * shift:.10g}')!r} stored, " in said
    assert float(said.split(" stored, ")[1].split()[0]) == pytest.approx(score.value, rel=1e-9)


def test_an_altered_interval(reports, stored, capsys):
    score = stored.scores["force_r2", FORMULA]
    stored.add(replace(score, interval=(score.interval[0], score.interval[1] - 1e-4)))
    stored.write(reports)
    assert verify(reports, FORMULA, "force_r2", "--frames", "0") == 1
    assert "interval[1]" in capsys.readouterr().out


def test_an_altered_verdict_sample_floor_or_reason(reports, stored, capsys):
    """Of four cells each another field; a number that hides a failure is one of them."""
    rdf, wasserstein, lost, forces = (
        stored.scores[m, FORMULA] for m in ("rdf_mae", "rdf_wasserstein", "survival_ps", "force_r2")
    )
    wasserstein.parts["floor"]["value"] *= 2
    stored.add(replace(rdf, verdict="stable (worst 0.001, limit 0.020)"))
    stored.add(replace(lost, n=999))
    stored.add(replace(forces, value=float("nan"), interval=None, reason="exploded"))
    stored.write(reports)
    assert verify(reports, FORMULA, "--frames", "0") == 1
    said = capsys.readouterr().out
    assert "4 different" in said
    for expected in (
        "rdf_mae  verdict:",
        "rdf_wasserstein  parts.floor.value:",
        "survival_ps  n: 999",
        "force_r2  value: None stored",
    ):
        assert expected in said


def test_an_altered_raw_sample(reports):
    rewritten(reports, "0.55,", "0.35,")
    assert verify(reports, LGPS, "ns_per_day", "--frames", "0") == 1


def test_consistently_forged_predictions_are_caught_by_the_weights(reports, stored, capsys):
    """Forces drawn towards the reference, every hash and number rewritten: only the model itself can tell."""
    found = pointer(stored, "force_r2")
    path = reports / "store" / found["path"]
    reference = unseen_frames(described_subject(stored), reference_data(FORMULA, ""), "windows", 50, 0)[0].forces
    energy, forces, made_on = read_predictions(path, reference)
    write_predictions(path, energy, forces + 0.5 * (reference - forces), made_on, reference)
    rewritten(reports, found["sha256"], sha256_of_file(path))
    assert cli.main(["rescore", LABEL, "--reports", str(reports)]) == 0
    assert verify(reports, FORMULA, "force_r2", "--frames", "0") == 0
    assert verify(reports, FORMULA, "force_r2", "--frames", "5") == 1
    assert "forces (windows)  frame" in capsys.readouterr().out


def test_forged_motion_is_caught_by_the_energy_of_its_frames(reports, stored, capsys):
    found = pointer(stored, "nve_drift")
    path = reports / "store" / found["path"]
    run, about = read_trajectory(path), read_attributes(path)
    write_trajectory(path, replace(run, energy=run.energy[::-1] + 0.5), about, compactly=compact.MOTION)
    rewritten(reports, found["sha256"], sha256_of_file(path))
    assert verify(reports, FORMULA, "nve_drift", "--frames", "5") == 1
    assert "energies (nve)" in capsys.readouterr().out


def test_other_weights_under_the_same_name(reports, stored, capsys):
    stored.model["identity"] = "0" * 64
    stored.write(reports)
    assert verify(reports, LGPS, "ns_per_day") == 1
    assert "was scored with weights 000000000000" in capsys.readouterr().out


def test_a_missing_file_is_said_and_is_no_pass(reports, stored, capsys):
    """A cell without its evidence is not called the same, nor false."""
    (reports / "store" / pointer(stored, "rdf_mae")["path"]).unlink()
    assert verify(reports, FORMULA, "rdf_mae", "--frames", "0") == 1  # nothing at all could be recomputed
    assert "cannot     rdf_mae" in capsys.readouterr().out
    assert verify(reports, FORMULA, "--frames", "0") == 0
    assert verify(reports, FORMULA, "--frames", "0", "--strict") == 1


def test_a_truncated_file(reports, stored, capsys):
    found = pointer(stored, "rdf_mae")
    path = reports / "store" / found["path"]
    path.write_bytes(path.read_bytes()[:-2000])
    assert verify(reports, FORMULA, "rdf_mae", "--frames", "0") == 1
    assert "the file was altered" in capsys.readouterr().out
    rewritten(reports, found["sha256"], sha256_of_file(path))
    assert verify(reports, FORMULA, "rdf_mae", "--frames", "0") == 1
    assert "cut short or damaged" in capsys.readouterr().out


def test_a_path_that_leaves_the_folder(reports, stored, capsys):
    rewritten(reports, pointer(stored, "force_r2")["path"], "../../results/x.npz")
    assert verify(reports, FORMULA, "force_r2", "--frames", "0") == 1
    assert "leaves the folders of evidence" in capsys.readouterr().out


def test_another_reference_is_not_compared_with(reports, stored, capsys):
    sha256 = next(iter(stored.scores["rdf_mae", FORMULA].provenance["reference_runs"].values()))
    rewritten(reports, sha256, "f" * 64)
    assert verify(reports, FORMULA, "rdf_mae", "--frames", "0") == 1
    assert "has other files or sums" in capsys.readouterr().out


def test_rounding_passes_and_more_does_not():
    assert not list(differences({"value": 0.3, "parts": {"a": [1.0, None]}}, {"value": 0.3 + 1e-13, "parts": {"a": [1.0, None]}}))
    assert list(differences({"value": 0.3}, {"value": 0.3 + 1e-8}))
    assert list(differences({"a": [1.0]}, {"a": [1.0, 2.0]})) and list(differences({"a": True}, {"a": 1}))


def test_rescoring_writes_what_evidence_gives(reports, stored, capsys):
    score = stored.scores["rdf_mae", FORMULA]
    stored.add(replace(score, value=2 * score.value))
    stored.write(reports)
    assert cli.main(["rescore", LABEL, "--reports", str(reports)]) == 0
    assert "1 changed, 0 left as they were" in capsys.readouterr().out
    again = read_results(reports / "results" / f"{LABEL}.json").scores["rdf_mae", FORMULA]
    assert again.value == score.value and again.provenance["rescored"]
    assert again.provenance["runs_made_on"] == score.provenance["runs_made_on"]
    assert again.provenance["date"] > "2026" and again.provenance["evidence"] == score.provenance["evidence"]


def test_rescoring_leaves_what_has_no_evidence(reports, stored, capsys):
    (reports / "store" / pointer(stored, "rdf_mae")["path"]).unlink()
    assert cli.main(["rescore", LABEL, "--reports", str(reports)]) == 0
    assert f"left     {FORMULA} rdf_mae" in capsys.readouterr().out
    assert read_results(reports / "results" / f"{LABEL}.json").scores["rdf_mae", FORMULA] == stored.scores["rdf_mae", FORMULA]


def test_kept_evidence_is_enough(reports, stored):
    """Without the store, as in a clone; and what no score points to any more is not shipped."""
    stray = reports / "evidence" / LABEL / "md" / "old" / "run-0.h5"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"old")
    assert cli.main(["keep", "--reports", str(reports)]) == 0
    (reports / "store").rename(reports / "elsewhere")
    assert not stray.exists()
    assert verify(reports, "--strict", "--frames", "0") == 0
    (reports / "evidence" / LABEL / pointer(stored, "force_r2")["path"]).unlink()
    assert cli.main(["keep", "--reports", str(reports)]) == 2


def test_what_was_made_again_takes_the_place_of_what_was_kept(reports, stored, capsys):
    assert cli.main(["keep", "--reports", str(reports)]) == 0
    path = pointer(stored, "force_r2")["path"]
    kept, made = reports / "evidence" / LABEL / path, reports / "store" / path
    kept.write_bytes(b"of yesterday")
    assert cli.main(["keep", "--reports", str(reports)]) == 0 and kept.read_bytes() == made.read_bytes()
    kept.write_bytes(b"of yesterday")
    made.write_bytes(b"of tomorrow")
    assert cli.main(["keep", "--reports", str(reports)]) == 2 and "the file was altered" in capsys.readouterr().err
    assert kept.read_bytes() == b"of yesterday"


def test_predictions_belong_to_their_frames(reports, stored):
    """Forces of a frame that is not the reference's would be compared with the wrong ones: its hash stands beside them."""
    found = pointer(stored, "force_r2")
    rewritten(reports, found["frames_sha256"], "e" * 64)
    assert verify(reports, FORMULA, "force_r2", "--frames", "0") == 1


@pytest.mark.parametrize("beside", [True, False])
def test_forces_are_kept_to_a_thousandth(tmp_path, beside):
    random = np.random.default_rng(0)
    energy, forces = -200 + random.normal(size=7), random.normal(size=(7, 5, 3))
    made_on, near = {"hardware": "x"}, (forces + 0.1 * random.normal(size=forces.shape)).astype(np.float16)
    reference = near if beside else None
    again = read_predictions(write_predictions(tmp_path / "p.npz", energy, forces, made_on, reference), reference)
    assert np.abs(again[0] - energy).max() <= 2**-21 and np.abs(again[1] - forces).max() <= 2**-10 and again[2] == made_on
    write_predictions(tmp_path / "q.npz", *again, reference)
    assert (tmp_path / "q.npz").read_bytes() == (tmp_path / "p.npz").read_bytes()
    far = read_predictions(write_predictions(tmp_path / "r.npz", energy, 1e12 * forces, made_on, reference))
    assert np.array_equal(far[1], 1e12 * forces)


def test_differences_from_other_forces_are_refused(tmp_path):
    forces = np.random.default_rng(0).normal(size=(7, 5, 3))
    path = write_predictions(tmp_path / "p.npz", np.zeros(7), forces, {}, 0.9 * forces)
    for other in (0.91 * forces, None):
        with pytest.raises(StoreError, match=r"p\.npz keeps differences from forces of a reference with SHA-256 .* has changed"):
            read_predictions(path, other)


def test_predictions_of_earlier_versions_need_no_reference(tmp_path):
    """They kept forces themselves, to 2^-10 eV/Å, and said nothing of it."""
    units = np.array([[[1024, -512, 3]]])
    arrays = {"energy-steps": compact.packed_series(np.array([-1.5]), 20), "force-units": np.moveaxis(units, 0, -1)}
    content, layout = compact.to_bytes(arrays)
    packed = np.frombuffer(content, dtype=np.uint8)
    np.savez(tmp_path / "old.npz", packed=packed, layout=np.array(json.dumps(layout)), made_on=np.array("{}"))
    for reference in (None, np.ones((1, 1, 3))):
        energy, forces, _ = read_predictions(tmp_path / "old.npz", reference)
        assert energy.tolist() == [-1.5] and forces.tolist() == [[[1.0, -0.5, 3 / 1024]]]
