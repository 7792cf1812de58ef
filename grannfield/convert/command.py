"""`grannfield convert`: published weights of the paper's package as a checkpoint of this one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grannfield import units
from grannfield.call import assignment

HELP = "turn a .pth.tar of the paper's package into a checkpoint, with an account of every weight"
DESCRIPTION = """Read a state dict of the paper's package (best_model.pth.tar, or checkpoint-N.pth.tar of training) as numbers
alone, put every weight into the same network of this package, in the published arithmetic, and write a checkpoint that all
other commands take. A file that holds code beside numbers is refused. A weight without a place, or a place without a
weight, is an error that names all of them. The exit code is 0 for a whole model, 2 for anything else."""
EPILOG = """The state dict does not say everything. Sizes are read from the shapes; cut-offs are the paper's 6 A unless --set says
otherwise. Energies and forces were trained divided by standard deviations that are kept elsewhere: give that file
(--normalizers) or the numbers (--energy, --forces); without, forces are in units of the network.

examples:
  grannfield convert best_model.pth.tar --model escn -o escn.safetensors --normalizers normalizers.pth.tar
  grannfield convert best_model.pth.tar --model schnet -o schnet.safetensors --energy -210.5 1.2 --forces 0 0.65
  grannfield convert checkpoint-5000.pth.tar --model cgcnn -o cgcnn.safetensors --set num_fc_layers=3 --partial
  grannfield check cgcnn.safetensors; pytest benchmarks/ --model cgcnn.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("file", type=Path, metavar="FILE", help="state dict of the paper's package")
    parser.add_argument("--model", required=True, metavar="NAME", help="which of the eleven it is, see `grannfield models`")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="checkpoint to write, *.safetensors")
    parser.add_argument(
        "--normalizers", type=Path, metavar="FILE", help="means and standard deviations, as the package saved them"
    )
    parser.add_argument(
        "--energy", nargs=2, type=float, metavar=("MEAN", "STD"), help="of the energies of training, eV per structure"
    )
    parser.add_argument(
        "--forces", nargs=2, type=float, metavar=("MEAN", "STD"), help="of the force components of training, eV/A"
    )
    parser.add_argument("--atoms", type=int, default=50, help="in a structure of training, to share the mean energy (default 50)")
    parser.add_argument("--elements", default="Li,P,S,Ge", help="trained on; `all` for no check (default those of LGPS)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting that shapes do not tell")
    parser.add_argument("--licence", default="", metavar="TEXT", help="of the weights, to stand in the checkpoint")
    parser.add_argument("--partial", action="store_true", help="convert what fits; the rest stays random, and tables say so")
    parser.add_argument("--verbose", action="store_true", help="list where every weight went")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")


def run(options: argparse.Namespace) -> int:
    """Convert one file, print the account of it, write the checkpoint."""
    from grannfield.convert.mapping import convert, in_units
    from grannfield.convert.state import read_published
    from grannfield.forcefield import save, split_name

    if options.out.exists() and not options.force:
        raise ValueError(f"{options.out} exists; --force overwrites it")
    if options.atoms < 1:
        raise ValueError(f"--atoms must be at least 1; it is {options.atoms}")
    published = read_published(options.file)
    model, _ = split_name(options.model)  # NAME@published says what is done anyway
    conversion = convert(published, model, dict(map(assignment, options.set)), partial=options.partial)
    normal = _normalizers(options, published.normalizers)
    if "forces" in normal:
        conversion = in_units(conversion, normal.get("energy", (0.0, normal["forces"][1])), normal["forces"], options.atoms)
    else:
        conversion.notes.append("no normalisers: forces are in units of the network, not eV/Å (--normalizers, --forces)")
    made = conversion.field
    made.elements = _elements(options.elements)
    made.provenance = {
        "source": "the paper's package, github.com/Voznyy-Clean-Energy-Lab-UToronto/GraNNField (Digital Discovery 3, 2177, 2024)",
        "converted_from": {"file": published.path.name, "sha256": published.sha256, "step": published.step},
        "normalizers": {key: {"mean": mean, "std": std} for key, (mean, std) in normal.items()} or None,
        "partial": conversion.missing or None,
        "licence": options.licence or "not stated by the file",
        "notes": conversion.notes,
    }
    save(made, options.out)
    print(account(conversion, options.verbose))
    print(f"{options.out}: {made.name}, {made.n_parameters:,} parameters, {made.precision}")
    return 0


def account(conversion: Any, verbose: bool = False) -> str:
    """What became of every weight, in lines."""
    places = sum(map(len, conversion.mapped.values()))
    lines = [f"mapped {len(conversion.mapped)} weights of the file onto {places} of ours"]
    if verbose:
        lines += [f"  {name} -> {', '.join(ours)}" for name, ours in conversion.mapped.items()]
    told = [("unused", conversion.unused), ("missing, random", conversion.missing)]
    if conversion.constants:
        lines.append(f"{len(conversion.constants)} constants of the file are made anew here")
        lines += [f"  {name}" for name in conversion.constants if verbose]
    for title, names in told:
        lines += [f"{title}: {len(names)}", *(f"  {name}" for name in names)] if names else []
    return "\n".join([*lines, *(f"note: {note}" for note in conversion.notes)])


def _normalizers(options: argparse.Namespace, in_file: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Means and standard deviations: from the command line, else from a file of their own, else from the weights' file."""
    from grannfield.convert.state import ConversionError, load_numbers, normalizers_of

    told = dict(in_file)
    if options.normalizers is not None:
        told = normalizers_of(load_numbers(options.normalizers), options.normalizers)
        if "forces" not in told:
            raise ConversionError(f"{options.normalizers} holds no mean and standard deviation of forces")
    for name in ("energy", "forces"):
        if (given := getattr(options, name)) is not None:
            told[name] = _pair(name, *given)
    if "energy" in told and "forces" not in told:
        raise ConversionError("--energy alone gives no scale of the forces; add --forces MEAN STD")
    return told


def _pair(name: str, mean: float, std: float) -> tuple[float, float]:
    if not (std > 0 and abs(mean) < float("inf") and std < float("inf")):
        raise ValueError(f"--{name} {mean:g} {std:g}: the standard deviation must be positive, both finite")
    return mean, std


def _elements(text: str) -> tuple[int, ...] | None:
    """Atomic numbers of symbols.

    >>> _elements("Li,P,S,Ge"), _elements("all")
    ((3, 15, 16, 32), None)
    """
    if text.strip() == "all":
        return None
    return tuple(sorted({units.number(part.strip()) for part in text.split(",")}))
