"""One HDF5 file per `Trajectory`: positions float32, forces float16, written atomically, read back checked.

Positions as float32 cost under 1e-6 Å at 10 Å. Forces as float16 cost 0.16 to 0.19 meV/Å rms and about 2 meV/Å at most
for the three shipped materials at 1000 and 1200 K (rms force 0.70 to 0.86 eV/Å, components up to 8 eV/Å), far below the
force error of any model; files with any component of 1000 eV/Å or more keep float32. Energy and time are float64,
temperature float32. Needs NumPy and h5py only.

Motion that is kept only to be analysed is stored compactly (version 2 of the format, `grannfield.data.compact`): a fifth
of the size, positions rounded to 2^-10 Å. On the shipped references and 24 runs of three models that moves g(r) by 4e-4 to 7e-4
(mean over bins), its distance from the reference's by at most 4e-4 (threshold 0.02), log10 D by at most 1.5e-5 (margin 0.15),
the drift of NVE by at most 1.1e-5 meV/atom/ps, and no time of a failure. References stay as they are: their positions and forces
are labels.
"""

from __future__ import annotations

import json
import lzma
import os
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from grannfield.data import compact
from grannfield.data.checksum import sha256_of_arrays
from grannfield.trajectory import Trajectory, TrajectoryError

FORMAT = "grannfield trajectory"
VERSION = 2
"""The highest that is read; plain files are of version 1."""
COMPACT = "packed"
"""The one dataset of a compact file."""
FLOAT16_LIMIT = 1000.0
"""eV/Å: from here on forces are stored as float32 (float16 overflows at 65,504; its steps there are 0.5 and more)."""


class StoreError(ValueError):
    """The file cannot be read as a stored trajectory."""


def write_trajectory(
    path: str | Path, trajectory: Trajectory, attributes: dict[str, Any] | None = None, *, compactly: bool = False
) -> Path:
    """Store a trajectory as one HDF5 file; the old file stays whole until the new one is complete.

    `attributes` is anything JSON can hold (maker, temperature, seed, ...). Datasets: z, pos, cell ([3,3] when
    constant), time, labelled, and where present temperature, energy and forces (all frames; NaN where unlabelled costs
    nothing after gzip). `compactly`: rounded to 2^-10 Å, 2^-20 eV and 2^-12 K, in a fifth of the size, where the frames
    follow each other in time and their positions can be rounded so. Raises StoreError when the attributes are not JSON.
    Returns the path.
    """
    path = Path(path)
    arrays = _packed(trajectory)
    header: dict[str, Any] = {"kind": trajectory.kind, "source": trajectory.source}
    packed = _compact(trajectory, arrays) if compactly and trajectory.kind == "time" else None
    if packed is not None:
        content, header["layout"] = compact.to_bytes(packed)
        arrays = {COMPACT: np.frombuffer(content, dtype=np.uint8)}
    try:
        text = json.dumps({"attributes": attributes or {}, **header}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise StoreError(f"{path}: the attributes are not JSON ({problem}); use strings and finite numbers") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        with h5py.File(temporary, "w", libver="latest" if packed else None) as file:
            file.attrs["format"] = FORMAT
            file.attrs["version"] = 1 if packed is None else VERSION
            file.attrs["header"] = text
            file.attrs["sha256"] = sha256_of_arrays(arrays, text)
            for name, array in arrays.items():
                options = {"compression": "gzip", "compression_opts": 6, "shuffle": True}
                options = options if array.nbytes > 4096 and packed is None else {}
                file.create_dataset(name, data=array, chunks=_chunks(array) if options else None, **options)
        _replace(Path(temporary), path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def read_trajectory(path: str | Path) -> Trajectory:
    """The trajectory of a stored file: float64 arrays, in the units of the package.

    Raises FileNotFoundError when there is no such file, and StoreError when it is not HDF5, is cut short or damaged
    (its own SHA-256 does not match), is an HDF5 file of another kind, or was written by a later version.
    """
    arrays, header, _ = _read(Path(path))
    try:
        return Trajectory(
            z=arrays["z"],
            cell=arrays["cell"],
            time=arrays["time"],
            labelled=arrays["labelled"],
            kind=header["kind"],
            source=header["source"] or str(path),
            pos=arrays["pos"].astype(np.float64),
            temperature=_widened(arrays, "temperature"),
            energy=_widened(arrays, "energy"),
            forces=_widened(arrays, "forces"),
        )
    except (KeyError, TrajectoryError) as problem:
        raise StoreError(f"{path}: its contents do not make a trajectory: {problem}") from None


def read_attributes(path: str | Path) -> dict[str, Any]:
    """What `write_trajectory` was given as attributes; the same errors as `read_trajectory`."""
    return _read(Path(path))[2]


def _widened(arrays: dict[str, np.ndarray], name: str) -> np.ndarray | None:
    return arrays[name].astype(np.float64) if name in arrays else None


def _packed(trajectory: Trajectory) -> dict[str, np.ndarray]:
    constant = bool((trajectory.cell == trajectory.cell[0]).all())
    arrays: dict[str, np.ndarray] = {
        "z": trajectory.z.astype(np.uint8),
        "pos": trajectory.pos.astype(np.float32),
        "cell": np.asarray(trajectory.cell[0] if constant else trajectory.cell),
        "time": trajectory.time,
        "labelled": np.asarray(trajectory.labelled),
    }
    if trajectory.temperature is not None:
        arrays["temperature"] = trajectory.temperature.astype(np.float32)
    if trajectory.energy is not None:
        arrays["energy"] = trajectory.energy.astype(np.float64)
    if trajectory.forces is not None:
        small = bool((np.nan_to_num(np.abs(trajectory.forces), nan=0.0) < FLOAT16_LIMIT).all())
        arrays["forces"] = trajectory.forces.astype(np.float16 if small else np.float32)
    return arrays


def _compact(trajectory: Trajectory, plain: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The arrays of a compact file; None where the positions are too far out to be rounded."""
    units = compact.fixed_point(trajectory.pos, compact.POSITION_BITS)
    if units is None:
        return None
    arrays = {name: array for name, array in plain.items() if name not in ("pos", "time", "labelled")}
    for name, bits in (("energy", compact.ENERGY_BITS), ("temperature", compact.TEMPERATURE_BITS)):
        series = compact.packed_series(arrays[name], bits) if name in arrays else None
        if series is not None:
            del arrays[name]
            arrays[f"{name}-steps"] = series
    clock = np.array([trajectory.time[0], trajectory.timestep])
    arrays["clock" if np.array_equal(_times(clock, trajectory.n_frames), trajectory.time) else "time"] = clock
    if "time" in arrays:
        arrays["time"] = trajectory.time
    if trajectory.labelled is not None and np.any(trajectory.labelled):
        arrays["labelled"] = np.asarray(trajectory.labelled)
    return arrays | compact.packed_positions(units, trajectory.z)


def _times(clock: np.ndarray, n_frames: int) -> np.ndarray:
    return np.asarray(clock[0] + clock[1] * np.arange(n_frames))


def _unpacked(packed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a plain file from those of a compact one."""
    z = packed["z"].astype(np.int64)
    kept = ("z", "cell", "energy", "temperature", "forces")
    arrays: dict[str, np.ndarray] = {name: packed[name] for name in kept if name in packed}
    arrays["pos"] = compact.floating(compact.unpacked_positions(packed, z), compact.POSITION_BITS)
    n_frames = len(arrays["pos"])
    arrays["time"] = packed["time"] if "time" in packed else _times(packed["clock"], n_frames)
    arrays["labelled"] = packed["labelled"] if "labelled" in packed else np.zeros(n_frames, dtype=bool)
    for name, bits in (("energy", compact.ENERGY_BITS), ("temperature", compact.TEMPERATURE_BITS)):
        if f"{name}-steps" in packed:
            arrays[name] = compact.unpacked_series(packed[f"{name}-steps"], bits)
    return arrays


def _chunks(array: np.ndarray) -> tuple[int, ...]:
    per_frame = max(1, array.nbytes // len(array))
    return (int(min(len(array), max(1, 131_072 // per_frame))), *array.shape[1:])


def _replace(temporary: Path, path: Path) -> None:
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)  # mkstemp makes it private
    os.replace(temporary, path)


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    if not h5py.is_hdf5(path):
        raise StoreError(f"{path} is not an HDF5 file (or its first bytes are damaged); trajectories end in .h5")
    try:
        with h5py.File(path, "r") as file:
            _check_format(path, file)
            text, digest = str(file.attrs["header"]), str(file.attrs["sha256"])
            arrays = {name: dataset[()] for name, dataset in file.items()}
    except StoreError:
        raise
    except Exception as problem:  # h5py raises OSError, RuntimeError, KeyError or ValueError, by which byte is damaged
        raise StoreError(f"{path} is cut short or damaged ({problem}); copy or make it again") from None
    if sha256_of_arrays(arrays, text) != digest:
        raise StoreError(f"{path} is damaged: its contents no longer match the SHA-256 stored with them; make it again")
    header = json.loads(text)
    if COMPACT in arrays:
        try:
            arrays = _unpacked(compact.from_bytes(arrays[COMPACT].tobytes(), header["layout"]))
        except (lzma.LZMAError, KeyError, ValueError) as problem:
            raise StoreError(f"{path} cannot be unpacked ({problem!r}); copy or make it again") from None
    return arrays, header, header["attributes"]


def _check_format(path: Path, file: h5py.File) -> None:
    found = file.attrs.get("format")
    if found != FORMAT:
        raise StoreError(
            f"{path} is an HDF5 file of another kind (format {found!r}, not {FORMAT!r}); "
            "read it with its own reader and write it with write_trajectory"
        )
    version = int(file.attrs.get("version", 0))
    if version > VERSION:
        raise StoreError(
            f"{path} has format version {version}, this GraNNField reads up to {VERSION}; upgrade the package "
            "(pip install --upgrade grannfield)"
        )
