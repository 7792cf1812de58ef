"""What the README tells a stranger to do, done."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_model_of_the_readme_is_scored(tmp_path: Path) -> None:
    code = re.search(r"```python\n# my_model\.py\n(.*?)```", README, re.DOTALL)
    assert code is not None
    (tmp_path / "my_model.py").write_text(code.group(1))
    command = [sys.executable, "-m", "pytest", str(REPOSITORY / "benchmarks"), "--model", "my_model.py:Soft"]
    short = ["--material", "Li3PS4", "-k", "force_r2", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *short], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Soft on Li3PS4" in done.stdout and (tmp_path / "reports" / "leaderboard.md").exists()


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
