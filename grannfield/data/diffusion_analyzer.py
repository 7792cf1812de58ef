"""pymatgen's diffusivity of a trajectory, to stand beside ours: the paper's own tool."""

from __future__ import annotations

import numpy as np

from grannfield.trajectory import Trajectory
from grannfield.units import symbol


def pymatgen_diffusivity(production: Trajectory, mobile: str, temperature: float) -> float:
    """Diffusivity in cm²/s of the mobile species by pymatgen's DiffusionAnalyzer(smoothed=False), as the paper computed it.

    production: frames after equilibration. Single time origin, drift of the other atoms removed, least squares over the
    whole run. Its own error estimate is not passed on: measured on synthetic diffusion, its 95% interval covers the truth
    0-2% of the time (pymatgen-analysis-diffusion issue 449).
    """
    from pymatgen.analysis.diffusion.analyzer import DiffusionAnalyzer
    from pymatgen.core import Lattice, Structure

    production.require_time()
    cell = np.asarray(production.cell[0])
    structure = Structure(
        Lattice(cell), [symbol(int(a)) for a in production.z], production.pos[0], coords_are_cartesian=True, to_unit_cell=False
    )
    displacements = np.asarray(production.pos[1:] - production.pos[0], dtype=float).transpose(1, 0, 2)
    analyzer = DiffusionAnalyzer(
        structure,
        displacements,
        mobile,
        temperature,
        time_step=production.timestep,  # type: ignore[arg-type]  # annotated as int, used as a number
        step_skip=1,
        smoothed=False,
    )
    return float(analyzer.diffusivity)
