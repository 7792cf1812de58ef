"""`grannfield study`: the questions, and what each takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from grannfield.presets import items, usable_device

if TYPE_CHECKING:
    from grannfield.studies.pieces import Outcome, Study

HELP = "what the paper could not say: transfer both ways, seeds, cheap proxies of the dynamics, real DFT"
DESCRIPTION = """One question each. Work is cut into pieces (a training, forces on test frames, a set of MD runs) and kept in the
state folder: a call that was stopped or killed loses at most a minute, and the same command goes on. At the end of a call
REPORTS/studies/<name>.json is written, with hashes of weights and data, budgets, hardware, versions and date; it says whether it
is complete. The exit code is 0 when all is done or the time is up, 1 when a piece failed, 2 for a mistake on the command line,
130 after Ctrl-C."""
EPILOG = """examples:
  grannfield study transfer --train-minutes 5
  grannfield study seeds --models schnet --training-seeds 3 --md-seeds 3 --minutes 30
  grannfield study proxies
  grannfield study dft --data path/to/deepmd-sets
"""
ABOUT = {
    "transfer": (
        "train on each material, test on all: force R2 and MAE on the same held-out frames",
        "A model that has not seen an element of a material has no number there.",
    ),
    "seeds": (
        "k training seeds x m MD seeds: where the scatter of force R2, g(r), D and failures comes from",
        "Variance components by a one-way random-effects analysis, with exact intervals. D needs 5 ps of production: --ps 8.",
    ),
    "proxies": (
        "which cheap metric ranks the models as their dynamics does; needs no runs",
        "Kendall's tau-b over all models of REPORTS/results with intervals by bootstrap over models.",
    ),
    "dft": (
        "train on DFT labels in DeePMD folders, test on a folder held out and on other materials",
        "Sets are split by folder. Neither data nor weights leave the state folder, which git is told to ignore.",
    ),
}
"""What each study is, and what is to be known of it."""
STATE = Path("reports/store/studies")
REPORTS = Path("reports")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The studies, each with its options."""
    studies = parser.add_subparsers(title="studies", required=True, metavar="STUDY", dest="study")
    for name, (help_, more) in ABOUT.items():
        one = studies.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}. {more}")
        one.add_argument("--reports", type=Path, default=REPORTS, metavar="DIR", help=f"default {REPORTS}")
        if name != "proxies":
            _add_common(one, name)
    by = {name: studies.choices[name].add_argument for name in ABOUT}
    by["transfer"]("--material", action="append", default=[], metavar="A,B", help="formulas or short names (default: all)")
    by["transfer"]("--test-frames", type=int, default=200, metavar="N", help="of each material, at most (default 200)")
    by["seeds"]("--material", default="LGPS", metavar="X", help="trained on and moved (default LGPS)")
    by["seeds"]("--training-seeds", type=int, default=3, metavar="K", help="trainings of each model (default 3)")
    by["seeds"]("--md-seeds", type=int, default=3, metavar="M", help="runs of MD with each training (default 3)")
    by["seeds"]("--ps", type=float, metavar="PS", help="length of each run at 1000 K (default: preset tiny's)")
    by["dft"]("--data", type=Path, required=True, metavar="DIR", help="folder of DeePMD sets (type.raw, set.000/coord.npy, ...)")
    by["dft"](
        "--species", default="Li,Ge,P,S", metavar="A,B", help="types 0, 1, ... of sets without type_map.raw (default Li,Ge,P,S)"
    )
    by["dft"]("--test", default="", metavar="SET", help="the folder tested on (default: the last of the largest composition)")
    by["dft"]("--validation", default="", metavar="SET", help="the folder that chooses the checkpoint (default: the one before)")


def _add_common(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--models", default="schnet,cgcnn", metavar="A,B", help="registered models (default schnet,cgcnn)")
    parser.add_argument(
        "--train-minutes", type=float, default=5.0, metavar="M",
        help="of each training, equal for all: time of the GPU, or of the processor divided by torch's threads (default 5)",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after so many; the piece is cut off (default: no limit)")
    parser.add_argument("--state", type=Path, default=STATE / name, metavar="DIR", help=f"default {STATE / name}")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and velocities (default 0)")
    parser.add_argument("--list", action="store_true", help="show the pieces and which of them are done, and do nothing")


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line; ValueError or LookupError for one that makes no sense."""
    if options.study == "proxies":
        return _proxies(options)
    from grannfield.progress import duration
    from grannfield.studies.pieces import study_in

    study = _study(options)
    if options.list:
        pieces = study.pieces()
        for piece in pieces:
            print(f"{piece.name}  {'done' if piece.done() else f'about {duration(piece.seconds)}'}")
        left = sum(piece.seconds for piece in pieces if not piece.done())
        print(f"{sum(piece.done() for piece in pieces)} of {len(pieces)} pieces done; about {duration(left)} left")
        return 0
    outcome, path = study_in(study, options.state, options.reports, options.device, options.minutes)
    _tell(study.name, outcome, path)
    return 130 if outcome.interrupted else int(bool(outcome.failed))


def _tell(name: str, outcome: Outcome, path: Path) -> None:
    from grannfield.studies.told import markdown

    print(markdown(path))
    kept = f"; {outcome.cut} was cut off, kept" if outcome.cut else ""
    rest = "" if outcome.complete else f"; the same command goes on with `study {name}`"
    print(f"{len(outcome.done)} of {outcome.total} pieces done{kept}{rest}; {path}")


def _proxies(options: argparse.Namespace) -> int:
    from grannfield.studies.pieces import Outcome, write_report
    from grannfield.studies.proxies import Proxies
    from grannfield.studies.told import markdown

    path = write_report(Proxies(options.reports), options.reports, "cpu", Outcome(0))
    print(f"{markdown(path)}\n{path}")
    return 0


def _study(options: argparse.Namespace) -> Study:
    """The study that a command line describes."""
    models = _checked(options)
    common = {"minutes": options.train_minutes, "seed": options.seed, "device": options.device, "state": options.state}
    if options.study == "transfer":
        from grannfield.data.material import load_material, materials
        from grannfield.studies.transfer import Transfer

        named = items(options.material) or materials()
        formulas = tuple(dict.fromkeys(load_material(name).formula for name in named))
        return Transfer(models, formulas, **common, test_frames=options.test_frames)
    if options.study == "seeds":
        from grannfield.presets import PRESETS
        from grannfield.studies.seeds import Seeds

        length = PRESETS["tiny"].length_ps if options.ps is None else options.ps
        each = {"trainings_each": options.training_seeds, "runs_each": options.md_seeds, "length_ps": length}
        return Seeds(models, options.material, **common, **each)
    from grannfield.studies.dft import Dft

    split = {"test": options.test, "validation": options.validation}
    return Dft(models, options.data, tuple(items([options.species])), **common, **split)


def _checked(options: argparse.Namespace) -> tuple[str, ...]:
    """The models of a command line whose numbers make sense; ValueError says what would."""

    from grannfield.forcefield import registered, split_name

    models = tuple(items([options.models]))
    known = registered()
    if unknown := [name for name in models if split_name(name)[0] not in known] or ([] if models else ["none"]):
        raise ValueError(f"--models: no model is called {', '.join(unknown)}; there are {', '.join(known)}")
    for name in ("train_minutes", "minutes", "training_seeds", "md_seeds", "ps", "test_frames"):
        value = getattr(options, name, None)
        if value is not None and not value > 0:
            raise ValueError(f"--{name.replace('_', '-')} must be positive; it is {value:g}")
    usable_device(options.device)
    return models
