"""A raw run of MD (NumPy archive, every step) as a thinned file of the store, with the TOML block that describes it.

The archive has pos [F,N,3] Å unwrapped, forces [F,N,3] eV/Å, energy [F] eV, temperature [F] K, cell [3,3] Å, z [N] and
timestep_fs. One command makes one shipped file again (see datasets/README.md):

    python -m grannfield.data.convert run.npz datasets/Li3PS4/surrogate-sevennet-0_1000K.h5 --temperature 1000
        --seed 1000 --kind surrogate --maker "SevenNet-0 (11Jul2024)" --ramp 1 --interval 10
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.checksum import sha256_of_file
from grannfield.data.entries import kept_as
from grannfield.data.reference import KINDS
from grannfield.data.store import write_trajectory
from grannfield.trajectory import Trajectory, TrajectoryError
from grannfield.units import formula

KEYS = ("pos", "forces", "energy", "temperature", "cell", "z", "timestep_fs")


def read_npz(path: str | Path, source: str = "") -> Trajectory:
    """The trajectory of a NumPy archive; TrajectoryError names what is missing or damaged."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            values = {key: archive[key] for key in KEYS}
    except KeyError as problem:
        raise TrajectoryError(f"{path}: {problem.args[0]}; an archive of a run holds {', '.join(KEYS)}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
        raise TrajectoryError(f"{path} is not a readable NumPy archive ({problem}); copy it again") from None
    time = np.arange(len(values["pos"])) * float(values.pop("timestep_fs"))
    return Trajectory(time=time, source=source or str(path), **values)


def thin(trajectory: Trajectory, interval: float) -> Trajectory:
    """Every frame at a multiple of `interval` fs, the first one included; ValueError when the step does not divide it.

    >>> run = Trajectory(z=[3], pos=np.zeros((5, 1, 3)), cell=4 * np.eye(3), time=2.0 * np.arange(5))
    >>> thin(run, 4.0).time.tolist()
    [0.0, 4.0, 8.0]
    """
    ratio = interval / trajectory.timestep
    stride = round(ratio)
    if stride < 1 or abs(ratio - stride) > 1e-6:
        raise ValueError(
            f"frames {trajectory.timestep:g} fs apart cannot be thinned to {interval:g} fs; choose a multiple of that"
        )
    return trajectory[::stride]


def convert(source: str | Path, target: str | Path, description: dict[str, Any], interval: float = 10.0) -> str:
    """Write the thinned run to `target` and return its [[reference.run]] block.

    `description` needs kind, maker, temperature (K), ramp_ps and seed; it is stored with the file.
    """
    label = f"{KINDS[description['kind']]}: {description['maker']}"
    raw = read_npz(source)
    run = thin(raw, interval)
    where = f"{formula(run.z)} at {description['temperature']:g} K, {label}"
    stored = Trajectory(
        z=run.z, pos=run.pos, cell=run.cell, time=run.time, temperature=run.temperature, energy=run.energy,
        forces=run.forces, source=where,
    )  # fmt: skip
    attributes = {**description, "timestep_fs": raw.timestep, "interval_fs": interval}
    write_trajectory(target, stored, attributes, compactly=kept_as(description["kind"]))
    return run_block(Path(target), stored, description)


def run_block(path: Path, run: Trajectory, description: dict[str, Any]) -> str:
    """The [[reference.run]] block of a stored run, for material.toml."""
    lines = [
        "[[reference.run]]",
        f'file = "{path.name}"',
        f"temperature = {description['temperature']:g}",
        f"ramp_ps = {description['ramp_ps']:g}",
        f"length_ps = {run.n_frames * run.timestep / 1000:g}",
        f"interval_fs = {run.timestep:g}",
        f"seed = {description['seed']}",
        f'sha256 = "{sha256_of_file(path)}"',
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    about = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m grannfield.data.convert", description=about)
    parser.add_argument("source", help="NumPy archive of a run")
    parser.add_argument("target", help="the .h5 file to write")
    parser.add_argument("--kind", choices=list(KINDS), required=True)
    parser.add_argument("--maker", required=True, help='potential or functional, "SevenNet-0 (11Jul2024)"')
    parser.add_argument("--temperature", type=float, required=True, help="target temperature in K")
    parser.add_argument("--ramp", type=float, default=0.0, help="ps of heating before the first frame, not stored")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--interval", type=float, default=10.0, help="fs between stored frames")
    given = parser.parse_args(arguments)
    description = {
        "kind": given.kind,
        "maker": given.maker,
        "temperature": given.temperature,
        "ramp_ps": given.ramp,
        "seed": given.seed,
    }
    print(convert(given.source, given.target, description, given.interval))


if __name__ == "__main__":
    main()
