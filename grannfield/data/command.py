"""`grannfield data`: data from elsewhere."""

from __future__ import annotations

import argparse
import importlib

ACTIONS = {
    "import": "grannfield.data.import_command",
    "fetch": "grannfield.data.fetch.command",
}
"""Each action and the module that says what it is, what it takes and what it does."""

HELP = "import trajectories made elsewhere as references; fetch the paper's public data"
DESCRIPTION = """Data from elsewhere. `import` reads AIMD or any other trajectory (VASP, LAMMPS, DeePMD, ASE, extended XYZ) and
makes it a reference that models are scored against; `fetch` downloads public data. Each teaches itself: `grannfield data
import --help`."""
EPILOG = """examples:
  grannfield data import run/vasprun.xml --material LGPS --name my-aimd
  grannfield data fetch --list
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, module in ACTIONS.items():
        action = importlib.import_module(module)
        one = actions.add_parser(
            name, help=action.HELP, description=action.DESCRIPTION, epilog=action.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        action.add_arguments(one)
        one.set_defaults(action=action.run)


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line."""
    return int(options.action(options) or 0)
