"""Extended XYZ files in and out of the one `Trajectory`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from grannfield.data.formats.contents import continuous
from grannfield.trajectory import Trajectory
from grannfield.units import symbol

__all__ = ["continuous", "read_extxyz", "write_extxyz"]


def read_extxyz(
    path: str | Path,
    timestep: float | None = None,
    wrapped: bool | None = None,
    labels: tuple[str, str] | None = None,
) -> Trajectory:
    """The trajectory of an extended XYZ file (Å, eV, eV/Å), unwrapped.

    `timestep` in fs between frames; without it the frames' own `timestep_fs` or `time` (fs) is used, and without those
    the frames count as unordered (kind "frames", left as they are). `wrapped=None` looks: when no atom changes its
    nearest image between successive frames the positions are already continuous and stay bit for bit; otherwise they
    are unwrapped, which refuses steps beyond a quarter of the smallest cell height. `wrapped=False` trusts the file.
    `labels` are the names of energy and forces (for instance "REF_energy", "REF_forces"); frames without them, or with
    NaN in them, are unlabelled. Raises FileNotFoundError, or TrajectoryError naming the file, the frame and the cure.
    `grannfield.data.formats.read` reads this format too, and checks its units.
    """
    from grannfield.data.formats.atoms import contents

    path = Path(path)
    return contents(path, "extxyz", labels).trajectory(str(path), timestep, wrapped)


def write_extxyz(path: str | Path, trajectory: Trajectory) -> Path:
    """Write a trajectory as extended XYZ, 10 decimals; the old file stays whole until the new one is complete.

    Frames of kind "time" carry `time` in fs; energy and forces appear on the frames that have them.
    """
    path = Path(path)
    symbols = [symbol(int(number)) for number in trajectory.z]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            for index in range(trajectory.n_frames):
                file.write(_frame_text(trajectory, index, symbols))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _frame_text(trajectory: Trajectory, index: int, symbols: Sequence[str]) -> str:
    columns, properties = trajectory.pos[index], "species:S:1:pos:R:3"
    if trajectory.forces is not None and np.isfinite(trajectory.forces[index]).all():
        columns = np.concatenate([columns, trajectory.forces[index]], axis=1)
        properties += ":forces:R:3"
    lattice = " ".join(f"{x:.10f}" for x in trajectory.cell[index].ravel())
    header = [f'Lattice="{lattice}"', f"Properties={properties}", 'pbc="T T T"']
    if trajectory.kind == "time":
        header.append(f"time={float(trajectory.time[index])!r}")
    for key in ("energy", "temperature"):
        values = getattr(trajectory, key)
        if values is not None and np.isfinite(values[index]):
            header.append(f"{key}={float(values[index])!r}")
    rows = (f"{name} " + " ".join(f"{x:.10f}" for x in row) for name, row in zip(symbols, columns, strict=True))
    return "\n".join([str(len(symbols)), " ".join(header), *rows]) + "\n"
