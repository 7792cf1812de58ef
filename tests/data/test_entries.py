"""Runs added to files that people write: nothing else in them changes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from grannfield.data.entries import enter, listed
from grannfield.data.table import TableError

RUN = """[[reference.run]]
file = "{file}"
temperature = {temperature}
ramp_ps = 1
length_ps = 10
interval_fs = 10
sha256 = "0"
"""
ABOUT = {"name": "first", "kind": "analytic", "maker": 'the "maker"', "thermostat": "none", "drop": 0.3}
LIST = f"""# what I know
[[reference]]  # mine
name = "first"
kind = "analytic"
maker = 'the "maker"'
thermostat = "none"
notes = \"\"\"
two
lines\"\"\"

# hot
{RUN.format(file="a.h5", temperature=1000)}
[[reference]]
name = "second"
kind = "analytic"
maker = "m"
thermostat = "none"

{RUN.format(file="b.h5", temperature=1000)}"""


def test_a_new_file_gets_reference_and_run(tmp_path: Path) -> None:
    path = enter(tmp_path, ABOUT, RUN.format(file="a.h5", temperature=800))
    assert path == tmp_path / "references.toml"
    (reference,) = listed(tmp_path, "X").values()
    assert reference.maker == 'the "maker"' and reference.run(800.0).path == tmp_path / "a.h5"


def test_a_run_goes_to_the_end_of_its_own_reference(tmp_path: Path) -> None:
    (tmp_path / "references.toml").write_text(LIST)
    enter(tmp_path, ABOUT, RUN.format(file="c.h5", temperature=800))
    text = (tmp_path / "references.toml").read_text()
    assert text.replace(RUN.format(file="c.h5", temperature=800) + "\n", "") == LIST
    assert [run.path.name for run in listed(tmp_path, "X")["first"].runs] == ["a.h5", "c.h5"]
    enter(tmp_path, {**ABOUT, "name": "third"}, RUN.format(file="d.h5", temperature=800))
    assert (tmp_path / "references.toml").read_text().startswith(text)
    assert [len(one.runs) for one in listed(tmp_path, "X").values()] == [2, 1, 1]


def test_a_run_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "references.toml").write_text(LIST)
    enter(tmp_path, ABOUT, RUN.format(file="c.h5", temperature=1000), instead_of="a.h5")
    text = (tmp_path / "references.toml").read_text()
    assert 'file = "a.h5"' not in text and "two\nlines" in text and "# mine" in text
    assert [run.path.name for one in listed(tmp_path, "X").values() for run in one.runs] == ["c.h5", "b.h5"]


@pytest.mark.parametrize(
    "text",
    [
        'reference = [{name = "first", kind = "analytic", maker = "m", thermostat = "none", run = []}]\n',
        LIST.replace("two", "[[reference]]\n\n\n\n[[reference.run]]"),
    ],
)
def test_a_file_written_in_another_way_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    tomllib.loads(text)
    (tmp_path / "references.toml").write_text(text)
    with pytest.raises(TableError, match="add this to 'first'"):
        enter(tmp_path, ABOUT, RUN.format(file="c.h5", temperature=800))
    assert (tmp_path / "references.toml").read_text() == text
