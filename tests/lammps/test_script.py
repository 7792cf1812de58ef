"""What is added to an input script, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from grannfield.lammps.script import ScriptError, commands_of, paused


def script(folder: Path, text: str) -> list[str]:
    """The script with its pauses, each as one word."""
    path = folder / "in.test"
    path.write_text(text)
    written = iter(paused(path, folder / "empty").text.splitlines())
    lines: list[str] = []
    for line in written:
        if line.startswith("echo none # grannfield"):
            added = [next(written).split()[0] for _ in range(4)]
            assert added == ["variable", "jump", "label", "echo"]
            line = "PAUSE"
        lines.append(line)
    return lines


def test_pauses_stand_after_the_box_and_around_runs(tmp_path: Path) -> None:
    text = 'units metal\nread_data a.data\nfix 1 all nve # nvt\nrun 10\nprint """\nrun 5\n"""\nfix 2 all nvt temp 1 1 1\n'
    assert script(tmp_path, text) == [
        "units metal", "read_data a.data", "PAUSE", "fix 1 all nve # nvt", "PAUSE", "run 10", "PAUSE", 'print """', "run 5",
        '"""', "fix 2 all nvt temp 1 1 1", "PAUSE",
    ]  # fmt: skip


def test_no_pause_between_next_and_the_jump_it_may_swallow(tmp_path: Path) -> None:
    text = "label loop\nrun 10\nnext i\ninclude more\njump SELF loop\nrun 5\n"
    assert script(tmp_path, text) == [
        "label loop", "PAUSE", "run 10", "PAUSE", "next i", "include more", "jump SELF loop", "PAUSE", "run 5", "PAUSE",
    ]  # fmt: skip


def test_quit_ends_the_reading_and_not_python(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    found = script(tmp_path, 'if "$a > 1" then quit\nif "$a > 1" then "quit 1" else "print x"\nquit\n')
    assert [line for line in found if line != "PAUSE"] == [
        f"if \"$a > 1\" then 'jump \"{empty}\"'", f"if \"$a > 1\" then 'jump \"{empty}\"' else \"print x\"", f'jump "{empty}"',
    ]  # fmt: skip


def test_elements_from_pair_coeff(tmp_path: Path) -> None:
    path = tmp_path / "in.test"
    path.write_text("pair_style grannfield\npair_coeff * * Li &\n  P S\n")
    found = paused(path, tmp_path / "empty")
    assert found.elements == ("Li", "P", "S") and found.text == "pair_style none\n# pair_coeff * * Li P S\n"
    path.write_text("pair_style grannfield\npair_coeff 1 1 Li\n")
    with pytest.raises(ScriptError, match=r"in\.test:2: pair_coeff 1 1 Li: under pair_style grannfield write pair_coeff"):
        paused(path, tmp_path / "empty")
    path.write_text("pair_style lj/cut 8\npair_coeff * * 1 1\n")
    assert paused(path, tmp_path / "empty").elements == ()


def test_a_fix_external_of_the_user_is_found_and_a_missing_script_said(tmp_path: Path) -> None:
    path = tmp_path / "in.test"
    path.write_text("fix mine all external pf/callback 1 1\n")
    assert paused(path, tmp_path / "empty").fix == "mine"
    with pytest.raises(FileNotFoundError, match="no LAMMPS input script"):
        paused(tmp_path / "none", tmp_path / "empty")


def test_numbers_of_lines() -> None:
    assert [(c.name, c.line) for c in commands_of("a &\n b\n\nc\n")] == [("a", 1), ("", 3), ("c", 4)]
