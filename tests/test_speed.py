"""Timing side by side, what an evaluation costs without a clock, and the file that keeps it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grannfield import speed_training
from grannfield.cli import main
from grannfield.forcefield import create, registered
from grannfield.md.block import Blocks
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated
from grannfield.md.state import MDState, initial_state
from grannfield.md.watch import Watch
from grannfield.nn import sizes
from grannfield.speed import (
    against_loops,
    against_rival,
    awake,
    compared,
    comparisons,
    costs,
    interleaved,
    models,
    of_model,
    operations,
    subjects,
    suite,
    verdicts,
)
from grannfield.speed.goals import operation_goals, table_of_goals
from grannfield.speed.loops import PROTOCOL, Loop, OurField, PyGField, ase_loop, torch_sim_loop
from grannfield.speed.timing import Clock
from grannfield.testing import count_operations
from tests.models.small import SMALL
from tests.test_layers import HEAVY

SIZES: dict[str, dict[str, int]] = {
    "schnet": {"hidden_channels": 8, "num_filters": 8, "num_interactions": 1, "num_gaussians": 8},
    "dimenet": {"hidden_channels": 16, "num_blocks": 1, "num_spherical": 3, "num_radial": 3},
    "dimenet_pp": {"hidden_channels": 16, "num_blocks": 1, "num_spherical": 3, "num_radial": 3},
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of a size that a test can time."""
    sized = lambda name: create(name, **SIZES.get(name, {}))  # noqa: E731
    monkeypatch.setattr(subjects, "create", sized)
    monkeypatch.setattr(costs, "create", sized)
    monkeypatch.setattr(comparisons, "GENTLE", 1.0)  # forces of a size that shows whether the motion is the same


def test_a_contender_that_takes_twice_as_long_has_a_ratio_of_two() -> None:
    calls = {"ours": lambda: time.sleep(0.01), "theirs": lambda: time.sleep(0.02)}
    found = compared(interleaved(calls, 5), "ours")
    assert 1.6 < found["theirs"]["ratio"]["median"] < 2.4 and "ratio" not in found["ours"]
    assert 10 <= found["ours"]["ms"]["median"] < 14 and found["ours"]["ms"]["n"] == 5


def test_the_order_turns_from_round_to_round() -> None:
    seen: list[str] = []
    interleaved({name: lambda name=name: seen.append(name) for name in "abc"}, 2)  # type: ignore[misc]
    rounds = ["".join(seen[3 * k : 3 * k + 3]) for k in range(4)]
    assert {"".join(sorted(r)) for r in rounds} == {"abc"} and len(set(rounds)) == 3


def test_a_clock_sees_the_time_inside_and_no_other() -> None:
    clock = Clock()
    inside = clock.around(lambda: time.sleep(0.02))

    def step() -> None:
        inside()
        time.sleep(0.02)

    (times,) = interleaved({"step": step}, 3, clocks={"step": clock}).values()
    assert len(clock.rounds) == 3
    assert all(0.019 < inner < whole - 0.019 for inner, whole in zip(clock.rounds, times, strict=True))


def test_operations_are_counted_below_autograd_and_exactly() -> None:
    x = torch.randn(4, 4, requires_grad=True)
    forward, _, _ = count_operations(lambda: torch.tanh(x @ x).sum())
    whole, syncs, names = count_operations(lambda: torch.autograd.grad(torch.tanh(x @ x).sum(), x))
    assert forward == 3 and whole > 6 and syncs == 0 and names["mm"] == 3
    assert count_operations(lambda: x[x > 0])[1] == 1 and count_operations(lambda: x.sum().item())[1] == 1
    assert operations(["schnet"]) == operations(["schnet"])


@pytest.mark.parametrize(("name", "most"), operation_goals().items())
def test_an_evaluation_asks_for_no_more_operations_than_its_goal(name: str, most: int) -> None:
    found = operations([name])[name]
    assert found["synchronisations"] == 0
    assert found["operations"] <= most


def test_operations_do_not_depend_on_the_cache_of_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "create", lambda name: create(name, **SMALL[name]))
    usual = operations(["escn"])
    monkeypatch.setitem(sizes.BUFFER, "cpu", 2**12)
    assert operations(["escn"]) == usual
    field, start = create("escn", **SMALL["escn"]).eval(), subjects.crystal("LGPS")
    assert count_operations(costs.evaluation_of(field, start))[0] > usual["escn"]["operations"]


def test_costs_of_a_product_and_its_gradient() -> None:
    a, b = torch.randn(10, 20, requires_grad=True), torch.randn(20, 30, requires_grad=True)
    found = costs.costs(lambda: torch.autograd.grad((a @ b).sum(), (a, b)))
    assert found.flop == 3 * 2 * 10 * 20 * 30  # itself and one product for each factor
    assert found.live == 0 and found.peak == 4 * (10 * 20 + 20 * 30 + 2)  # both gradients, the sum and its slope


def test_a_timed_field_is_not_asleep() -> None:
    assert not any(p.any() for key, p in create("dimenet").named_parameters() if key.endswith("final.weight"))
    assert all(p.any() for key, p in awake("dimenet").named_parameters() if key.endswith("final.weight"))
    assert awake("schnet", precision="float64").dtype == torch.float64


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["schnet", "dimenet", "dimenet_pp"])
def test_rivals_have_the_same_forces(name: str) -> None:
    entry = against_rival(name, subjects.SMALL_CELL, rounds=1)
    assert entry["forces_differ"]["PyTorch Geometric"] < 2e-5 and entry["not installed"] == []
    assert set(entry["times"]) == {"grannfield", "PyTorch Geometric"}


def start_of(replicas: int) -> MDState:
    cell = subjects.crystal(subjects.SMALL_CELL)
    return initial_state(cell.z, cell.pos, cell.cell, PROTOCOL.temperature, list(range(replicas)))


def moved(loop: Loop, start: MDState, steps: int) -> Tensor:
    """Displacements after some steps, without whole cells."""
    loop.run(steps)
    across = (loop.positions().double() - start.pos) @ torch.linalg.inv(start.cell)
    return (across - across.round()) @ start.cell


@pytest.mark.usefixtures("small")
def test_ase_makes_the_same_motion() -> None:
    start = start_of(2)
    ours = moved(comparisons.our_loop("schnet", start), start, 10)
    theirs = ase_loop(awake("schnet"), start)
    # Theirs counts 3 n degrees of freedom, ours 3 n - 3: the thermostats differ a little.
    assert (moved(theirs, start, 10) - ours).abs().max() < 2e-3 < 0.1 < ours.abs().max()
    assert theirs.clock.seconds > 0


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("model", [OurField, PyGField])
def test_torch_sim_makes_the_same_motion(model: Any) -> None:
    pytest.importorskip("torch_sim")
    start = start_of(1)
    ours = comparisons.our_loop("schnet", start)
    theirs = torch_sim_loop(model(awake("schnet"), start), start)
    assert theirs.integrator.startswith("Nosé-Hoover")
    assert (theirs.forces - ours.forces).abs().max() < 1e-5 * ours.forces.abs().max()
    assert (moved(theirs, start, 9) - moved(ours, start, 10)).abs().max() < 2e-3  # it made one to see whether it can


@pytest.mark.usefixtures("small")
def test_a_gentle_field_fails_no_replica() -> None:
    start = start_of(2)
    evaluate = Evaluate(awake("schnet", strength=subjects.GENTLE), start)
    blocks = Blocks(evaluate, PROTOCOL, start.pos.device)
    _, watch = blocks(evaluated(start, evaluate), Watch.new(2, 2.0), 0, 40)
    assert watch.alive.all()


@pytest.mark.usefixtures("small")
def test_six_replicas_in_torch_sim() -> None:
    pytest.importorskip("torch_sim")
    entry = against_loops("schnet", subjects.SMALL_CELL, 6, rounds=2)
    assert all(difference < 1e-5 for difference in entry["forces_differ"].values()) and len(entry["forces_differ"]) == 3
    assert set(entry["times"]) == {*entry["outside_predict"], "predict alone"}
    assert all(0 < share["median"] < 1 for share in entry["outside_predict"].values())


@pytest.mark.usefixtures("small")
def test_a_contender_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch_sim", "torch_geometric"):
        monkeypatch.setitem(sys.modules, module, None)
    entry = against_loops("schnet", subjects.SMALL_CELL, 1, rounds=1)
    assert {"torch_geometric", "torch_sim"} <= set(entry["not installed"])
    assert set(entry["times"]) == {"grannfield", "ASE", "predict alone"}
    entry = against_rival("schnet", subjects.SMALL_CELL, rounds=1)
    assert entry["not installed"] == ["torch_geometric"] and set(entry["times"]) == {"grannfield"}


def test_another_release_of_torch_sim_is_not_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(subjects.PACKAGES, "torch-sim", ("torch",))
    monkeypatch.setattr(subjects, "RELEASES", {"torch": ("torch", "0.3.")})
    assert subjects.missing("torch-sim") == ["torch 0.3.*"]


@pytest.mark.usefixtures("small")
def test_speed_of_a_model() -> None:
    found = json.loads(json.dumps(of_model("schnet", replicas=(1, 2), seconds=1.0)))
    one, two = found["steps"]["1"], found["steps"]["2"]
    assert one["ns_per_day"] == pytest.approx(172.8 / one["ms"]["median"], rel=1e-3)
    assert one["ns_per_day_of_all"] == one["ns_per_day"]
    assert two["ns_per_day_of_all"] == pytest.approx(2 * two["ns_per_day"], rel=1e-3)
    assert one["ms"]["n"] >= models.FEWEST_BLOCKS and 0 < one["share_of_roofline"] < 1
    evaluation = found["evaluation"]
    assert evaluation["synchronisations"] == 0 and 0 < evaluation["minimal_mb"] < evaluation["moved_mb"]


@pytest.mark.usefixtures("small")
def test_sizes_that_do_not_fit_are_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = of_model("schnet", replicas=(1, 10_000), seconds=0.5)["steps"]
    assert steps["1"]["ms"] and steps["10000"]["ms"] is None and "s left" in steps["10000"]["reason"]
    monkeypatch.setattr(models, "free_memory", lambda: 1e6)
    steps = of_model("schnet", replicas=(1,), seconds=0.5)["steps"]
    assert steps["1"]["ms"] is None and "GB free" in steps["1"]["reason"]


def test_goals_are_about_things_that_are_measured() -> None:
    kept = {(section, key) for section, key, _ in suite.pieces_of(suite.Request(tuple(registered())))}
    table = table_of_goals()
    assert set(operation_goals()) == set(registered()) == {name for name, goal in table["gpu"].items() if isinstance(goal, dict)}
    for goal in table["goal"]:
        for place in filter(None, (goal["at"], goal.get("than"))):
            assert tuple(place[:2]) in kept
            contender = place[3] if place[2] in ("times", "outside_predict", "forces_differ") else comparisons.OURS
            others = {rival for rivals in comparisons.LOOPS.values() for rival in rivals}
            assert contender in {comparisons.OURS, "PyTorch Geometric", speed_training.LITERAL, *others}
        assert goal["source"] and ("at_least" in goal) + ("at_most" in goal) + ("than" in goal) == 1


def test_verdicts() -> None:
    share = lambda ours, theirs: {"grannfield": {"median": ours}, "torch-sim, our field": {"median": theirs}}  # noqa: E731
    dynamics = {"schnet dynamics LGPS x1": {"outside_predict": share(0.04, 0.05)}}
    counts = {"cgcnn": {"operations": 151, "synchronisations": 0}}
    found = {v.what: v for v in verdicts({"hardware": "a processor", "comparisons": dynamics, "operations": counts})}
    assert found["SchNet on LGPS: share of a step outside predict"].met is False
    assert found["SchNet on LGPS: share of a step outside predict, not above torch-sim's with our own field"].met is True
    assert found["SchNet on LGPS: share of a step outside predict, not above torch-sim's"].met is None
    assert found["cgcnn: device operations"].met is False and found["cgcnn: host synchronisations"].met is True
    assert "151, goal at most 150" in str(found["cgcnn: device operations"])
    assert not any("ns/day" in what for what in found)
    steps = {"cgcnn": {"steps": {"1": {"ms": {"median": 0.2}, "ns_per_day": 864.0}, "90": {"ms": None, "reason": "memory"}}}}
    found = {v.what: v for v in verdicts({"hardware": "NVIDIA H200", "models": steps})}
    assert found["cgcnn: ns/day of one LGPS replica"].met and found["CGCNN: ms a step of one LGPS replica"].met
    assert found["cgcnn: ns/day of 90 LGPS replicas"].met is None


@pytest.mark.usefixtures("small")
def test_command_writes_what_it_prints_and_keeps_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--rounds", "1", "--seconds", "0.5", "--reports", str(tmp_path)]
    assert main(["speed", "schnet", "--only", "comparisons", "--only", "operations", *common]) == 0
    (path,) = (tmp_path / "speed").iterdir()
    shown = capsys.readouterr().out
    assert str(path) in shown and "PyTorch Geometric" in shown and "ASE" in shown and "predict alone" in shown
    first = json.loads(path.read_text())
    assert main(["speed", "cgcnn", "--only", "operations", "--check", *common]) in (0, 1)
    assert "goals met" in capsys.readouterr().out
    both = json.loads(path.read_text())
    assert list(both["operations"]) == ["schnet", "cgcnn"] and both["comparisons"] == first["comparisons"]
    assert both["provenance"]["versions"]["torch"] == torch.__version__
    assert set(both["operations"]["cgcnn"]["made"]) == {"date", "code", "threads", "load", "openmp"}
    assert both["operations"]["cgcnn"]["made"]["threads"] == torch.get_num_threads()


def test_check_fails_with_the_goal_that_was_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "operations", lambda names: {names[0]: {"operations": 10**6, "synchronisations": 0}})
    assert main(["speed", "cgcnn", "--only", "operations", "--check", "--reports", str(tmp_path)]) == 1
    assert "missed: cgcnn: device operations: 1e+06, goal at most 150" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shnet"], "no model is called shnet"),
        (["--rounds", "0"], "--rounds must be positive"),
        (["--seconds", "-1"], "--seconds must be positive"),
        (["schnet", "--only", "models", "--precision", "tf32"], "tf32 is an arithmetic of NVIDIA's GPUs"),
        (["schnet", "--only", "models", "--precision", "bfloat16"], "no precision is called 'bfloat16'"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", *arguments, "--reports", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", "--device", "cuda", "--reports", str(tmp_path)]) == 2
    assert "torch sees no GPU" in capsys.readouterr().err


def test_a_piece_that_fails_is_named_and_the_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(names: list[str]) -> dict[str, dict[str, int]]:
        if names == ["cgcnn"]:
            raise RuntimeError("no kernel image")
        return {names[0]: {"operations": 1, "synchronisations": 0}}

    monkeypatch.setattr(suite, "operations", counted)
    assert main(["speed", "cgcnn", "schnet", "--only", "operations", "--reports", str(tmp_path)]) == 2
    assert "1 of 2 pieces failed" in (said := capsys.readouterr().err) and "operations: cgcnn: no kernel image" in said
    (path,) = (tmp_path / "speed").iterdir()
    assert list(json.loads(path.read_text())["operations"]) == ["schnet"]


@pytest.mark.parametrize("content", ["{half", '{"energy_and_forces": []}'])
def test_a_file_that_cannot_be_added_to_is_left_alone(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "speed" / f"{suite.slug(suite.hardware_name('cpu'))}.json"
    path.parent.mkdir()
    path.write_text(content)
    assert main(["speed", "schnet", "--only", "operations", "--reports", str(tmp_path)]) == 2
    assert "move it away" in capsys.readouterr().err and path.read_text() == content


def test_runs_without_the_big_libraries(tmp_path: Path) -> None:
    """As on a machine that has torch, NumPy, h5py and safetensors: others are named as not installed."""
    program = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(HEAVY | {"torch_sim", "vesin_torch", "scipy", "e3nn"})!r}))
import torch
from grannfield import speed_training
from grannfield.cli import main
from grannfield.forcefield import create
from grannfield.speed import costs, subjects
torch.set_num_threads(1)
subjects.create = costs.create = lambda name: create(name, **{SIZES["schnet"]!r})
only = ["--only", "comparisons", "--only", "models", "--only", "operations"]
raise SystemExit(main(["speed", "schnet", *only, "--rounds", "1", "--seconds", "1", "--reports", {str(tmp_path)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "not installed: ase, torch_geometric, torch_sim, vesin, vesin_torch" in done.stdout and "ns per day" in done.stdout


@pytest.mark.usefixtures("small")
def test_training_is_measured_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["speed", "schnet", "--only", "training", "--rounds", "1", "--seconds", "1", "--reports", str(tmp_path)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "best samples per s" in shown and "schnet against the literal step" in shown and speed_training.LITERAL in shown


@pytest.mark.usefixtures("small")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_speed_of_a_model_on_a_gpu() -> None:
    found = of_model("schnet", "cuda", replicas=(1, 6), seconds=5.0)
    assert all(step["ms"]["median"] > 0 and step["peak_gb"] > 0 for step in found["steps"].values())
