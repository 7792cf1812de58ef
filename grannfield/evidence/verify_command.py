"""`grannfield verify`: every stored number made again from what stands behind it, and compared."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grannfield.evidence.compare import Cell
    from grannfield.report.results import Results

HELP = "recompute stored scores from the kept trajectories, predictions and samples, and compare"
DESCRIPTION = """Recompute every cell of the board from its evidence, with today's analysis code, and compare value, interval,
n, verdict, reason and parts with what is stored; the reference's own numbers too. Hashes alone would pass a forger who rewrites
them: here the number itself is made again from the trajectory, the predictions or the raw samples. Where the weights are shipped
they are hashed, and forces and energies of a few random frames are evaluated again. No MD is run; packages of calculators need
not be installed. The exit code is 0 when nothing differs, 1 when something does or nothing at all could be recomputed, 2 for a
mistake on the command line."""
EPILOG = """a cell is
  same       the stored number follows from its evidence (to 1e-9, what another processor's order of summation may change)
  different  it does not, or a file is not the one that was recorded: the stored value, then the recomputed one
  cannot     its evidence is not here (not kept, made elsewhere, another reference): nothing is said of it

examples:
  grannfield verify
  grannfield verify schnet Li3PS4 rdf_mae
  grannfield verify --strict --frames 20
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("model", nargs="?", default="", metavar="MODEL", help="as the board calls it (default: all)")
    parser.add_argument("material", nargs="?", default="", metavar="MATERIAL", help="formula or short name (default: all)")
    parser.add_argument("metric", nargs="?", default="", metavar="METRIC", help="a column, such as rdf_mae (default: all)")
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="folder of results (default: reports)"
    )
    parser.add_argument(
        "--frames", type=int, default=3, metavar="N", help="random frames to evaluate again, 0: none (default: 3)"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 also for a cell that cannot be recomputed")
    parser.add_argument("--all", action="store_true", help="list every cell, not only those that are not the same")


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line; ValueError or LookupError for one that makes no sense."""
    from grannfield.evidence.chosen import chosen_material, chosen_metric, chosen_results

    if options.frames < 0:
        raise ValueError(f"--frames {options.frames}: give a number of frames, or 0 for none")
    outcomes: Counter[str] = Counter()
    beside: Counter[str] = Counter()
    for one in chosen_results(options.reports, options.model):
        formula = chosen_material(one, options.material) if options.material else ""
        metric = chosen_metric(one, options.metric, formula) if options.metric else ""
        wanted = {key for key in one.scores if (not metric or key[0] == metric) and (not formula or key[1] == formula)}
        cells = verified(one, options.reports, wanted, options.frames)
        outcomes.update(cell.outcome for cell in cells if not cell.beside)
        beside.update(cell.outcome for cell in cells if cell.beside)
        print(table(cells, options.all or len(wanted) <= 3), flush=True)
    print(
        f"{sum(outcomes.values())} cells: {outcomes['same']} same, {outcomes['different']} different, {outcomes['cannot']} "
        f"cannot be recomputed; weights and frames evaluated again: {beside['same']} as kept, {beside['different']} different, "
        f"{beside['cannot']} not here"
    )
    wrong = outcomes["different"] or beside["different"] or not outcomes["same"]
    return int(bool(wrong or (options.strict and outcomes["cannot"])))


def verified(one: Results, reports: Path, wanted: set[tuple[str, str]], frames: int = 0) -> list[Cell]:
    """The wanted cells of one model's results against what is made again; one cell for all where nothing can be."""
    from grannfield.evidence.again import made_again
    from grannfield.evidence.compare import Cell, compared
    from grannfield.evidence.files import NotKept
    from grannfield.evidence.kept import evidence_of
    from grannfield.evidence.weights import evaluated_again

    evidence = evidence_of(one, reports)
    if one.model.get("kind") == "control":
        return [Cell(one.label, "", "all", "cannot", f"a control is made again, not kept: grannfield bench --model {one.label}")]
    try:
        again = made_again(evidence, wanted)
    except NotKept as problem:
        return [Cell(one.label, "", "all", "cannot", str(problem))]
    return compared(one, again, wanted) + evaluated_again(evidence, sorted({formula for _, formula in wanted}), frames)


def table(cells: list[Cell], everything: bool = False) -> str:
    """A line for each material of a model, and one for each cell that is not the same, or for each."""
    lines = []
    for material in dict.fromkeys(cell.material for cell in cells):
        here = [cell for cell in cells if cell.material == material]
        counts = Counter(cell.outcome for cell in here)
        said = ", ".join(f"{counts[name]} {name}" for name in ("same", "different", "cannot") if counts[name])
        lines.append(f"{here[0].model}{f' on {material}' if material else ', its weights'}: {said}")
        for cell in here:
            if everything or cell.outcome != "same":
                own = " (the reference's own)" if cell.own else ""
                lines.append(f"  {cell.outcome:<9}  {cell.metric}{own}{f'  {cell.detail}' if cell.detail else ''}")
    return "\n".join(lines)
