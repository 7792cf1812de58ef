"""What the README and the page it sends a stranger to tell them to do, done."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from grannfield.given import given_runs

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SCORE = (REPOSITORY / "docs" / "score.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("file", "cls"), [("my_model.py", "Soft"), ("my_pyg.py", "Messages")])
def test_the_models_of_the_documentation_are_scored(file: str, cls: str, tmp_path: Path) -> None:
    code = re.search(rf"```python file={re.escape(file)}\n(.*?)```", SCORE, re.DOTALL)
    assert code is not None
    (tmp_path / file).write_text(code.group(1))
    command = [sys.executable, "-m", "pytest", str(REPOSITORY / "benchmarks"), "--model", f"{file}:{cls}"]
    short = ["--material", "Li3PS4", "-k", "force_r2", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *short], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{cls} on Li3PS4" in done.stdout and (tmp_path / "reports" / "leaderboard.md").exists()


def test_the_trajectories_of_the_documentation_can_be_described(tmp_path: Path) -> None:
    text = re.search(r"```toml file=runs/trajectories\.toml\n(.*?)```", SCORE, re.DOTALL)
    assert text is not None
    (tmp_path / "trajectories.toml").write_text(text.group(1))
    with pytest.raises(FileNotFoundError, match=r"there is no .*1000K"):  # described well: only the files are missing
        given_runs(tmp_path)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = "python -m pip install tox && tox run -e tests"
    assert command in README
    assert command in (REPOSITORY / ".ci" / "run").read_text()


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (REPOSITORY / target).exists(), target


def test_torch_is_pinned_in_one_place() -> None:
    pinned = [
        path.name
        for path in (
            *REPOSITORY.glob("*.toml"),
            *REPOSITORY.glob("*.ini"),
            *REPOSITORY.glob("*.txt"),
            *REPOSITORY.glob(".github/*/*"),
        )
        if re.search(r"torch\s*==", path.read_text(encoding="utf-8"))
    ]
    assert pinned == ["constraints.txt"]
