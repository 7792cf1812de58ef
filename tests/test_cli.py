"""The command `grannfield`, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from grannfield.cli import main
from grannfield.data.store import read_attributes, read_trajectory
from grannfield.forcefield import is_reduced, load

TINY = [
    "--set",
    "hidden_channels=8",
    "--set",
    "num_filters=8",
    "--set",
    "num_interactions=1",
    "--set",
    "num_gaussians=8",
    "--set",
    "cutoff=4.0",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    assert (
        main(
            [
                "train",
                "schnet",
                *TINY,
                "--minutes",
                "0.05",
                "--validation-frames",
                "4",
                "--material",
                "Li4GeS4",
                "--out",
                str(folder),
            ]
        )
        == 0
    )
    return folder


def test_train_leaves_checkpoint_curve_and_story(trained: Path) -> None:
    assert {"best.safetensors", "last.safetensors", "curve.csv", "train.json"} <= {path.name for path in trained.iterdir()}
    assert len((trained / "curve.csv").read_text().splitlines()) > 2


def test_a_reduced_model_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "forcenet", "--reduced", "--set", "num_interactions=1", "--minutes", "0.02", "--validation-frames", "2"]
    assert main([*arguments, "--material", "Li4GeS4", "--out", str(tmp_path / "f")]) == 0
    assert "forcenet (reduced): " in capsys.readouterr().out
    field = load(tmp_path / "f" / "best.safetensors")
    assert field.settings["hidden_channels"] == 64 and field.settings["num_interactions"] == 1 and is_reduced(field)


def test_md_writes_one_file_for_each_replica(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run.h5"
    arguments = [
        "md",
        "--model",
        str(trained),
        "--material",
        "Li4GeS4",
        "--temperature",
        "300",
        "--ps",
        "0.1",
        "--ramp-ps",
        "0.02",
    ]
    assert main([*arguments, "--interval", "10", "--replicas", "2", "--seed", "5", "--out", str(out)]) == 0
    for path, seed in ((out, 5), (tmp_path / "run-1.h5", 6)):
        assert str(path) in capsys.readouterr().out or seed == 6
        run = read_trajectory(path)
        assert run.n_frames == 10 and run.timestep == 10.0 and read_attributes(path)["seed"] == seed
    assert not list(tmp_path.glob("*.partial"))


def test_models_and_materials_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["schnet"].count("494,209") == 2 and rows["cgcnn"].count("245,990 (inferred)") == 2
    assert "216,591" in rows["deeper_gatgnn"] and "222,351" in rows["deeper_gatgnn"] and "0.22" in rows["deeper_gatgnn"]
    assert main(["materials"]) == 0
    shown = capsys.readouterr().out
    assert "surrogate: SevenNet-0 (11Jul2024)" in shown and "beta-Li3PS4" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "shnet"], "no model is called 'shnet'; there are cgcnn, deeper_gatgnn, "),
        (["train", "schnet", "--set", "width=3"], "schnet has no setting width; it has hidden_channels"),
        (["train", "schnet", "--set", "width"], "should be KEY=VALUE"),
        (["train", "schnet@old"], "only `published` is known"),
        (["train", "schnet", "--material", "Li10GeP2S"], "did you mean"),
        (["md", "--model", "nowhere.safetensors"], "neither a model"),
        (["report", "--reports", "nowhere"], "run `pytest benchmarks/` first"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_ctrl_c_says_that_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trained: Path
) -> None:
    from grannfield.md import block as module

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "advance_trusting", interrupted)
    monkeypatch.chdir(trained)
    assert main(["md", "--model", str(trained), "--material", "Li4GeS4"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_help_teaches_the_options_of_bench(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--preset" in shown and "file.py:Class" in shown and "30% equilibration" in shown
