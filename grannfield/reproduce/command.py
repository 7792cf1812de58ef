"""`grannfield reproduce`: what it takes and what it prints."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

from grannfield.presets import items, usable_device

HELP = "the paper's experiment in small pieces, resumable: training, MD, scores and speed of each model"
DESCRIPTION = """Train, move, score and time the models, piece by piece. A call does what is not done yet until its minutes are
up, and leaves everything in the state folder, from which the next call goes on: after a Ctrl-C, after a kill, and on another
machine that the folder was copied to. Several calls may work on one state side by side (two GPUs; two cores, one thread each):
each takes pieces that no other has in hand. Speed, training and MD need torch, NumPy, h5py and safetensors only; scoring needs
the whole installation and waits where there is none. The exit code is 0 when the time is up or all is done, 1 when a piece
failed, 2 for a mistake on the command line, 130 after Ctrl-C."""
EPILOG = """Pieces are called train:MODEL, md:MODEL:MATERIAL:TEMPERATURE, score:MODEL and speed:MODEL; --list shows them all.
MD needs the trained model, a score needs the MD. MODEL is a name, or NAME@published for the paper's arithmetic.

Scales: tiny (two cores, a working day; large models at a reduced size), small (one large GPU, about two hours; Table 1's
size, both behaviours), paper (the full protocol, hundreds of GPU-hours).
Budgets of training, the same for all models: time (the paper's rule), samples (as many frames for each), epochs (those of
Table 1). A state belongs to one scale, seed and budget; results of other budgets are called NAME@samples, NAME@epochs.

examples:
  grannfield reproduce --list
  grannfield reproduce --scale small --device cuda --forecast
  grannfield reproduce --minutes 30 --models schnet,schnet@published
  grannfield reproduce --only train:schnet,md:schnet --only score
  grannfield reproduce --budget samples --state reports/equal-samples
  grannfield reproduce --scale small --device cuda:0 & grannfield reproduce --scale small --device cuda:1
  grannfield reproduce --compare reports/reproduce reports/equal-samples --out budgets.md
"""
DEFAULT_STATE = Path("reports/reproduce")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--models", default="all", metavar="A,B", help="names, or NAME@published (default: all of the scale)")
    parser.add_argument("--scale", default="tiny", metavar="SCALE", help="how much is done: tiny, small or paper (default tiny)")
    parser.add_argument("--budget", default="time", metavar="B", help="of training: time, samples or epochs (default time)")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after so many; a piece is cut off (default: no limit)")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR", help=f"default {DEFAULT_STATE}")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN",
        help="only pieces of these kinds, or whose names begin so; several with commas or by repeating",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default cpu)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and velocities (default 0)")
    parser.add_argument("--retry", action="store_true", help="try again what has failed")
    parser.add_argument("--list", action="store_true", help="show the pieces, what has become of them, and what they need")
    parser.add_argument("--forecast", action="store_true", help="show pieces, time and disk of what is left, and do nothing")
    parser.add_argument(
        "--compare", nargs="+", type=Path, metavar="STATE", help="set the budgets of these states side by side, as Markdown"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="with --compare: write there instead of printing")


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line; ValueError for one that makes no sense, FolderBusy when the state is not to be had."""
    begin = time.monotonic()
    if options.compare:
        return _compare(options)
    from grannfield.reproduce.hands import present
    from grannfield.reproduce.plan import chosen, plan_of
    from grannfield.reproduce.run import run as work_on
    from grannfield.reproduce.scales import SCALES
    from grannfield.reproduce.shown import forecast, listed, summary
    from grannfield.reproduce.state import State
    from grannfield.reproduce.work import Work

    if options.scale not in SCALES:
        raise ValueError(f"no scale is called {options.scale!r}; there is {', '.join(SCALES)}")
    if options.minutes is not None and not options.minutes > 0:
        raise ValueError(f"--minutes must be positive; it is {options.minutes:g}")
    if options.out is not None:
        raise ValueError("--out is for --compare")
    scale = SCALES[options.scale].under(options.budget)
    if not options.forecast:  # of what a GPU would take something can be said without one
        usable_device(options.device)
    named = items([options.models])
    plan = plan_of(scale, None if named == ["all"] else named)
    wanted = chosen(plan, items(options.only))
    settings = {"scale": options.scale, "seed": options.seed, **scale.as_plan()}

    def opened() -> Work:
        return Work(State(options.state, settings, scale.before()), scale, options.seed, options.device)

    if options.list or options.forecast:
        print((forecast if options.forecast else listed)(opened(), plan, wanted))
        return 0
    opened()  # a state that is another's is left as it is
    with present(options.state):
        work = opened()
        work.state.claim()
        outcome = work_on(work, plan, wanted, begin, options.minutes, options.retry)
        print(summary(work, plan, wanted, outcome, command_line(options)))
    return 130 if outcome.interrupted else int(bool(outcome.failed))


def _compare(options: argparse.Namespace) -> int:
    """States side by side, on standard output or in a file."""
    from grannfield.files import write_atomically
    from grannfield.report.formats import markdown
    from grannfield.reproduce.compare import compared

    text = markdown(compared(options.compare))
    if options.out is None:
        print(text, end="")
    else:
        write_atomically(options.out, text)
        print(options.out)
    return 0


def command_line(options: argparse.Namespace) -> str:
    """The command as it was typed, but for --retry."""
    words = ["grannfield", "reproduce"]
    defaults = {"models": "all", "scale": "tiny", "budget": "time", "minutes": None, "state": DEFAULT_STATE}
    for name, default in (defaults | {"device": "cpu", "seed": 0}).items():
        value = getattr(options, name)
        if value != default:
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    if patterns := items(options.only):
        words += ["--only", ",".join(patterns)]
    return shlex.join(words)
