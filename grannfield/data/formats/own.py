"""This package's own files, so that whatever takes a trajectory takes them too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.formats.contents import Contents
from grannfield.trajectory import Trajectory


def contents(path: Path, format: str, **_: Any) -> Contents:
    """What a stored trajectory (h5) or an archive of a run (npz) holds; StoreError or TrajectoryError when damaged."""
    from grannfield.data.convert import read_npz
    from grannfield.data.store import read_trajectory

    found: Trajectory = read_npz(path) if format == "npz" else read_trajectory(path)
    writable = lambda value: None if value is None else np.array(value, float)  # noqa: E731
    both = found.energy is not None and found.forces is not None
    return Contents(
        z=found.z, pos=np.array(found.pos), cell=np.array(found.cell), energy=writable(found.energy),
        forces=writable(found.forces), temperature=writable(found.temperature),
        time=found.time if found.kind == "time" else None, continuous=True,
        unordered="" if found.kind == "time" else "it was stored as a set of frames",
        unlabelled={int(f): "stored without labels" for f in np.flatnonzero(~np.asarray(found.labelled))} if both else {},
    )  # fmt: skip
