"""What is timed: fields of Table 1's size with random weights, on crystals that need no chemistry package to read."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec

import torch

from grannfield.contract.samples import gamma
from grannfield.data.material import load_material
from grannfield.data.structure import Structure
from grannfield.forcefield import ForceField, create, to_precision

SMALL_CELL = "gamma-Li3PS4"
"""16 atoms, every coordinate displaced by 0.1 Å: where what is not the model weighs most."""
PACKAGES = {
    "PyTorch Geometric": ("torch_geometric", "vesin"),
    "ASE": ("ase",),
    "torch-sim": ("torch_sim", "vesin_torch"),
}
"""What each contender needs; `pip install grannfield[speed]` brings torch-sim."""
RELEASES = {"torch_sim": ("torch-sim-atomistic", "0.3.")}
"""Distribution and releases of a package whose functions are called otherwise in later ones."""


def crystal(name: str) -> Structure:
    """A material's structure by its name, or the 16-atom cell.

    >>> len(crystal("LGPS").z), len(crystal(SMALL_CELL).z)
    (50, 16)
    """
    if name != SMALL_CELL:
        return load_material(name).structure
    sample = gamma(0)
    return Structure(z=sample.z, pos=sample.pos, cell=sample.cell)


GENTLE = 0.02
"""Strength of a field with random weights that moves a crystal at 300 K without heating it: a replica that has failed is timed
otherwise than one that moves."""


def awake(name: str, seed: int = 0, device: str = "cpu", precision: str = "float32", strength: float = 1.0) -> ForceField:
    """A field of Table 1's size whose last layers are not zero; a bias that PyTorch Geometric has no place for is.

    `strength` multiplies its energies and forces.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        field = create(name).eval()
        with torch.no_grad():
            for key, p in field.named_parameters():
                if p.requires_grad and p.dim() > 1 and not p.any():
                    p.normal_(std=0.1)
                if key.endswith("up.bias"):
                    p.zero_()
        field.scale.scale.fill_(strength)
    return to_precision(field, precision).to(device)


def missing(contender: str) -> list[str]:
    """The packages a contender needs that are not installed, or not in a release that can be driven from here."""
    absent = [package for package in PACKAGES[contender] if find_spec(package) is None]
    for package, (distribution, release) in RELEASES.items():
        if package in PACKAGES[contender] and package not in absent and not metadata.version(distribution).startswith(release):
            absent.append(f"{distribution} {release}*")
    return absent
