"""All stored outputs of the published arithmetic, and the harness that compares with them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from grannfield.forcefield import create, registered
from grannfield.report.paper import table1
from grannfield.testing import main, model_of, parity, parity_field, stored

FILES = sorted((Path(__file__).parents[1] / "parity").glob("*.npz.xz"))
SCHNET = next(path for path in FILES if path.name == "schnet.npz.xz")
COUNTS = {
    "cgcnn": 245_990,
    "schnet": 494_209,
    "dimenet": 1_106_422,
    "dimenet_pp": 1_488_774,
    "gns_tat": 1_968_872,
    "deeper_gatgnn": 222_351,
    "scn": 20_441_602,
    "escn": 34_284_032,
    "forcenet": 11_365_284,
    "equiformer": 7_836_675,
    "leftnet": 2_119_076,
}
SMALL_CELLS_OF_LEFTNET = 1e-3
"""Of max|F| in single precision: self-image edges there decide by rounding."""


def test_every_model_has_a_file() -> None:
    assert {model_of(path) for path in FILES} == set(COUNTS) == set(registered())


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name.partition(".")[0])
def test_double_precision(path: Path) -> None:
    errors = parity(path)
    assert set(errors) >= ({"A", "B", "C"} if "A" in errors else {"lgps", "skew", "batch", "lgps_cap12"})
    assert max(max(pair) for pair in errors.values()) <= 1e-11


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name.partition(".")[0])
def test_single_precision(path: Path) -> None:
    """Forces within 5e-5 of the largest one; `parity` divides by max(1, largest)."""
    file = stored(path)
    for structure, (by_energy, by_force) in parity(path, torch.float32).items():
        largest = np.abs(file[f"{structure}/forces"]).max()
        loose = path.name.startswith("leftnet") and structure in ("B", "C")
        assert by_force * max(1.0, largest) / largest <= (SMALL_CELLS_OF_LEFTNET if loose else 5e-5), structure
        assert by_energy <= 5e-5, structure
    assert parity_field(path, torch.float32).scale.scale.dtype == torch.float64


@pytest.mark.parametrize("name", COUNTS)
def test_numbers_of_parameters(name: str) -> None:
    n = create(name, as_published=True).n_parameters
    assert n == COUNTS[name]
    assert f"{n / 1e6:.2f}" == table1()[name]["parameters_million"]


@pytest.mark.parametrize("name", COUNTS)
def test_docstrings_state_the_counts_and_the_differences(name: str) -> None:
    text = " ".join((registered()[name].__doc__ or "").split())
    counts = {f"{create(name, as_published=published).n_parameters:,}" for published in (True, False)}
    assert all(count in text for count in counts), counts
    assert ("Differs from the published arithmetic:" in text) == (name != "schnet")


def test_a_wrong_weight_is_seen(tmp_path: Path) -> None:
    arrays = stored(SCHNET)
    arrays["w/int1.out.W"] = arrays["w/int1.out.W"] * (1 + 1e-6)
    np.savez(tmp_path / "schnet.npz", **arrays)
    assert max(max(pair) for pair in parity(tmp_path / "schnet.npz").values()) > 1e-8


@pytest.mark.parametrize(
    ("name", "message"), [("lacks", "lacks weights"), ("more", "no place for"), ("mlp", "does not begin with")]
)
def test_files_that_do_not_fit_are_named(tmp_path: Path, name: str, message: str) -> None:
    arrays = {key: value for key, value in stored(SCHNET).items() if name != "lacks" or key != "w/head1.b"}
    if name == "more":
        arrays["w/head2.W"] = np.zeros((1, 1))
    path = tmp_path / f"{'mlp' if name == 'mlp' else 'schnet'}.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        parity(path)


def test_fewer_edges_than_a_search_finds_are_taken_from_the_file(tmp_path: Path) -> None:
    """A capped input under any name: what decides is the number of edges."""
    file = stored(SCHNET)
    arrays = {key: value for key, value in file.items() if not key.startswith(("lgps/", "batch/", "skew/"))}
    arrays |= {f"other/{key[11:]}": arrays.pop(key) for key in list(arrays) if key.startswith("lgps_cap12/")}
    arrays |= {f"other/{key}": file[f"lgps/{key}"] for key in ("positions", "Z", "cell", "batch")}
    np.savez(tmp_path / "schnet_other.npz", **arrays)
    errors = parity(tmp_path / "schnet_other.npz")
    assert list(errors) == ["other"] and max(errors["other"]) < 1e-12


LINE = re.compile(r"(\S+) energy (\d\.\de[+-]\d\d) forces (\d\.\de[+-]\d\d)")


def test_command_prints_one_line_for_each_structure(capsys: pytest.CaptureFixture[str]) -> None:
    main(["parity", str(SCHNET)])
    printed = capsys.readouterr()
    found = [LINE.fullmatch(line) for line in printed.out.splitlines()]
    assert all(found) and printed.err == ""
    assert [m[1] for m in found if m] == ["batch", "lgps", "lgps_cap12", "skew"]


def test_command_in_single_precision_and_on_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    main(["parity", "--precision", "float32", str(SCHNET)])
    found = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    assert all(found) and max(float(m[3]) for m in found if m) > 1e-9
    with pytest.raises(SystemExit) as ended:
        main(["parity", "schnet_nowhere.npz"])
    assert ended.value.code == 2 and "schnet_nowhere.npz" in capsys.readouterr().err


def test_module_runs() -> None:
    command = [sys.executable, "-m", "grannfield.testing", "parity", str(SCHNET)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert len(done.stdout.splitlines()) == 4 and all(LINE.fullmatch(line) for line in done.stdout.splitlines())
