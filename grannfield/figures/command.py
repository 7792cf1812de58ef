"""`grannfield figures`: what it takes, what it writes."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "draw the figures of a reports folder: structures, g(r), errors, parity, diffusion, survival, paths, speed"
DESCRIPTION = """Draw every figure of a reports folder from its results and the runs and predictions kept behind them, as SVG, PDF
and PNG with captions (figures.json), into REPORTS/figures. Nothing is run or trained: curves are computed once from the kept
runs and stored, frames after a failure enter none but survival. What is not on this machine, and what the physics gave no
number of, gives a panel that says so. The same results give the same bytes. Exit code 0; 2 for a mistake on the command line or
a folder without results."""
EPILOG = """the figures:
{figures}

examples:
  grannfield figures                                         all of ./reports
  grannfield figures --only errors --only survival           two of them (or --only errors,survival)
  grannfield figures --model schnet                          the figures about one model: its g(r), its parity
  grannfield figures --reports /tmp/mine --format png        another folder, for a quick look
"""


def _epilog() -> str:
    about = {
        "structures": "the materials, framework tetrahedra and the reference's Li channels",
        "verdicts": "g(r) of all atoms of every model's worst run, with its verdict (the paper's Fig. 3)",
        "errors": "force MAE and RDF MAE with intervals (Fig. 4)",
        "learning": "validation errors during training, where they were kept (S1-S11 a, b)",
        "parity": "energies, and forces per element and component, one figure a model (S1-S11 c-n)",
        "rdf": "g(r) of every pair of species, one figure a model (S12-S22)",
        "msd": "mean squared displacements beside the reference's",
        "arrhenius": "D against temperature, with intervals and the reference's band",
        "survival": "Kaplan-Meier curves with bands, and the causes of failure",
        "density": "slices of the ions' density with the reference's isolines",
        "paths": "ways of the ions, models beside the reference (S23-S25)",
        "accuracy-speed": "force and RDF MAE against ns/day",
        "speed-published": "ns/day of Table 1 beside ours",
    }
    return EPILOG.format(figures="\n".join(f"  {name:16} {text}" for name, text in about.items()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    from grannfield.figures import FORMATS

    parser.epilog = _epilog()
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="folder of results (default: reports)"
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only these figures, commas or repeated")
    parser.add_argument("--model", default="", metavar="M", help="only figures about this model, as the board calls it")
    parser.add_argument(
        "--format", default=",".join(FORMATS), metavar="F", help=f"endings with commas (default: {','.join(FORMATS)})"
    )


def run(options: argparse.Namespace) -> int:
    """Draw and list what was written; ValueError or LookupError for what makes no sense, ImportError without matplotlib."""
    from grannfield.figures import described, write_figures

    only = [name.strip() for text in options.only for name in text.split(",") if name.strip()]
    formats = [ending.strip().lower() for ending in options.format.split(",") if ending.strip()]
    try:
        written = write_figures(options.reports, formats, only if options.only else None, options.model)
    except ModuleNotFoundError as problem:
        if problem.name != "matplotlib":
            raise
        raise LookupError("figures need matplotlib: pip install grannfield[report]") from problem
    drawn = {path.stem for path in written[:-1]}
    for one in described(options.reports):
        if one["stem"] in drawn:
            print(f"{one['stem']}: {one['title']}{' (' + one['model'] + ')' if one['model'] else ''}")
    print(f"{len(drawn)} figures as {', '.join(formats)}, with {written[-1]}")
    return 0
