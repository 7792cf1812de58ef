"""`grannfield reference make` killed with SIGKILL at random moments, against the uninterrupted run: the same bits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from grannfield.data.store import read_trajectory

ROOT = Path(__file__).parents[1]
DRIVER = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)
import grannfield.provenance
grannfield.provenance.stamp()  # what every call would read again
import grannfield.data.entries, grannfield.foreign, grannfield.reference.make, grannfield.reference.maker, tests.waves
from grannfield.cli import main

whole, cut, kills, pieces, *arguments = sys.argv[1:]
moment = random.Random(2)

def begun(into):
    process = os.fork()
    if process == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os._exit(main([*arguments, "--into", into]))
    return process

def ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

def files():
    return sum(name.endswith(".npz") for _, _, names in os.walk(cut) for name in names)

assert ended(begun(whole)) == 0
early, steps = 0, set()
for _ in range(int(kills)):
    before = files()
    more = moment.randrange(0, int(2 * int(pieces) / int(kills)))
    process = begun(cut)
    while files() < before + more and os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.001)
    time.sleep(moment.uniform(0.0, 0.02 if more else 0.3))
    os.kill(process, signal.SIGKILL)
    early += ended(process) == -signal.SIGKILL
    steps.add(files())
print(early, len(steps))
sys.exit(ended(begun(cut)))
"""


def test_twenty_kills_leave_no_trace(tmp_path: Path) -> None:
    """Each after a random number of further files and a random time: in the beginning, in steps, and while files are written."""
    kills, frames = 20, 80
    arguments = ["reference", "make", "--material", "Li3PS4", "--calculator", "tests.waves:Waves(slow=0.001)", "--name", "waves"]
    arguments += ["--temperatures", "300", "--ps", str(frames / 100), "--ramp-ps", "0.02", "--keep-every", "0"]
    places = [tmp_path / "whole", tmp_path / "cut"]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *map(str, places), str(kills), str(frames), *arguments],
        cwd=ROOT, env=os.environ | {"XDG_DATA_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    early, sittings = map(int, done.stdout.split())
    assert early >= 0.9 * kills and sittings >= 0.5 * kills
    whole, cut = (read_trajectory(place / "Li3PS4" / "waves_300K.h5") for place in places)
    for key in ("z", "pos", "cell", "time", "temperature", "energy", "forces"):
        assert np.array_equal(getattr(whole, key), getattr(cut, key)), key
    left = sorted(path.relative_to(places[1]).as_posix() for path in places[1].rglob("*") if path.is_file())
    assert left == ["Li3PS4/.lock", "Li3PS4/references.toml", "Li3PS4/waves_300K.h5"]
    text = [(place / "Li3PS4" / "references.toml").read_text() for place in places]
    assert re.sub("sha256.*", "", text[0]) == re.sub("sha256.*", "", text[1])


def test_two_processes_share_the_runs(tmp_path: Path) -> None:
    """The same command twice at once: every run is made once, and both references stand in one list."""
    command = [sys.executable, "-m", "grannfield.cli", "reference", "make", "--material", "Li3PS4", "--name", "waves"]
    command += ["--calculator", "tests.waves:Waves(slow=0.002)", "--temperatures", "300,400,500", "--ps", "0.1", "--ramp-ps", "0"]
    both = [
        subprocess.Popen(command, cwd=ROOT, env=os.environ | {"XDG_DATA_HOME": str(tmp_path)}, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = "".join(process.communicate(timeout=120)[0] for process in both)
    assert {process.returncode for process in both} <= {0, 1}
    folder = tmp_path / "grannfield" / "datasets" / "Li3PS4"
    assert [said.count(f"{t} K, seed {t}: made") for t in (300, 400, 500)] == [1, 1, 1]
    assert (folder / "references.toml").read_text().count("[[reference.run]]") == 3 and len(list(folder.glob("*.h5"))) == 3
