"""One HDF5 file per `Trajectory`: positions float32, forces float16, written atomically, read back checked.

Positions as float32 cost under 1e-6 Å at 10 Å. Forces as float16 cost 0.16 to 0.19 meV/Å rms and about 2 meV/Å at most
for the three shipped materials at 1000 and 1200 K (rms force 0.70 to 0.86 eV/Å, components up to 8 eV/Å), far below the
force error of any model; plain files with any component of 1000 eV/Å or more keep float32. Energy and time are float64,
temperature float32. Needs NumPy and h5py only.

Motion that is kept only to be analysed is stored compactly (`grannfield.data.compact`), positions rounded to 2^-7 Å (0.0023 Å
rms) in an eighth of the size. On seven shipped references and 12 runs of four models that moves g(r) by 1.4e-3 to 4.9e-3 (mean
over bins), its distance from the reference's by at most 1.2e-3 (threshold 0.02), log10 D by at most 3.1e-4 (margin 0.15), and
neither the number of jumps nor the time of a failure. NVE runs, of which energies alone become a number, have 2^-6 Å.

A potential's runs, which models learn from, are stored in 0.4 of the size of plain files (`grannfield.data.newton`): positions
rounded to 2^-15 Å (0.9e-5 Å rms), forces to 2^-11 eV/Å (0.14 meV/Å rms and 0.24 at most, finer than float16 for all but the
smallest). On the seven that moves g(r) by at most 1.2e-4, log10 D by at most 7e-7, and no jump. What users import is not
rounded so, unless a potential has made it.
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

from grannfield.data import compact, newton
from grannfield.data.checksum import sha256_of_arrays
from grannfield.trajectory import Trajectory, TrajectoryError

FORMAT = "grannfield trajectory"
VERSION = 3
"""The highest that is read; plain files are of version 1, compact ones of 2 before they said how finely they are rounded."""
SMALL: dict[str, Any] = {"libver": "latest", "meta_block_size": 64}
"""How HDF5 writes compact files: without room for what will never be added, which is 5 kB of each."""
COMPACT = "packed"
"""The one dataset of a compact file."""
FORCE = "force-"
"""What the names of forces begin with in a compact file."""
FLOAT16_LIMIT = 1000.0
"""eV/Å: from here on forces are stored as float32 (float16 overflows at 65,504; its steps there are 0.5 and more)."""


class StoreError(ValueError):
    """The file cannot be read as a stored trajectory."""


def write_trajectory(
    path: str | Path,
    trajectory: Trajectory,
    attributes: dict[str, Any] | None = None,
    *,
    compactly: compact.Rounding | None = None,
) -> Path:
    """Store a trajectory as one HDF5 file; the old file stays whole until the new one is complete.

    `attributes` is anything JSON can hold (maker, temperature, seed, ...). Datasets: z, pos, cell ([3,3] when
    constant), time, labelled, and where present temperature, energy and forces (all frames; NaN where unlabelled costs
    nothing after gzip). `compactly`: positions, and forces where it says so, rounded to that, energies to 2^-20 eV and
    temperatures to 2^-12 K, in a fraction of the size, where the frames follow each other in time, can be rounded so, and all
    have the forces that are to be rounded; else plainly. What was rounded once is not rounded further by storing it again.
    Raises StoreError when the attributes are not JSON. Returns the path.
    """
    path = Path(path)
    arrays = _packed(trajectory)
    header: dict[str, Any] = {"kind": trajectory.kind, "source": trajectory.source}
    packed = _compact(trajectory, arrays, compactly) if compactly is not None and trajectory.kind == "time" else None
    if packed is not None and compactly is not None:
        header["bits"] = {"position": compactly.position_bits, "force": compactly.force_bits}
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
        with h5py.File(temporary, "w", **(SMALL if packed else {})) as file:
            # Text of fixed length stands in the file's own header, of variable length in a heap of 4 kB.
            fixed = np.bytes_ if packed else str
            file.attrs["format"] = fixed(FORMAT)
            file.attrs["version"] = 1 if packed is None else VERSION
            file.attrs["header"] = fixed(text)
            file.attrs["sha256"] = fixed(sha256_of_arrays(arrays, text))
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


def read_rounding(path: str | Path) -> compact.Rounding | None:
    """How finely positions and forces are kept; None for a plain file. The same errors as `read_trajectory`."""
    bits = _read(Path(path))[1].get("bits")
    return None if bits is None else compact.Rounding(bits["position"], bits["force"])


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


def _compact(trajectory: Trajectory, plain: dict[str, np.ndarray], rounding: compact.Rounding) -> dict[str, np.ndarray] | None:
    """The arrays of a compact file; None where positions or forces cannot be rounded so."""
    moved = _motion(trajectory, rounding)
    if moved is None:
        return None
    replaced = ("pos", "time", "labelled") if rounding.force_bits is None else ("pos", "time", "labelled", "forces")
    arrays = {name: array for name, array in plain.items() if name not in replaced}
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
    return arrays | moved


def _motion(trajectory: Trajectory, rounding: compact.Rounding) -> dict[str, np.ndarray] | None:
    """The arrays behind positions, and behind forces where they are rounded too."""
    units = compact.fixed_point(trajectory.pos, rounding.position_bits)
    if units is None:
        return None
    if rounding.force_bits is None:
        return compact.packed_positions(units, trajectory.z)
    forces = None if trajectory.forces is None else compact.fixed_point(trajectory.forces, rounding.force_bits)
    moved = None if forces is None else newton.packed_motion(units, forces, trajectory.z)
    return None if moved is None or forces is None else moved | compact.packed_positions(forces, trajectory.z, FORCE)


def _times(clock: np.ndarray, n_frames: int) -> np.ndarray:
    return np.asarray(clock[0] + clock[1] * np.arange(n_frames))


def _unpacked(packed: dict[str, np.ndarray], bits: dict[str, int | None]) -> dict[str, np.ndarray]:
    """The arrays of a plain file from those of a compact one, which keeps positions and forces so finely."""
    z = packed["z"].astype(np.int64)
    kept = ("z", "cell", "energy", "temperature", "forces")
    arrays: dict[str, np.ndarray] = {name: packed[name] for name in kept if name in packed}
    if bits["force"] is None:
        units = compact.unpacked_positions(packed, z)
    else:
        forces = compact.unpacked_positions(packed, z, FORCE)
        arrays["forces"] = compact.floating(forces, bits["force"])
        units = newton.unpacked_motion(packed, forces, z)
    arrays["pos"] = compact.floating(units, bits["position"] or 0)
    n_frames = len(arrays["pos"])
    arrays["time"] = packed["time"] if "time" in packed else _times(packed["clock"], n_frames)
    arrays["labelled"] = packed["labelled"] if "labelled" in packed else np.zeros(n_frames, dtype=bool)
    for name, fine in (("energy", compact.ENERGY_BITS), ("temperature", compact.TEMPERATURE_BITS)):
        if f"{name}-steps" in packed:
            arrays[name] = compact.unpacked_series(packed[f"{name}-steps"], fine)
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
            text, digest = _text(file.attrs["header"]), _text(file.attrs["sha256"])
            arrays = {name: dataset[()] for name, dataset in file.items()}
    except StoreError:
        raise
    except Exception as problem:  # h5py raises OSError, RuntimeError, KeyError or ValueError, by which byte is damaged
        raise StoreError(f"{path} is cut short or damaged ({problem}); copy or make it again") from None
    if sha256_of_arrays(arrays, text) != digest:
        raise StoreError(f"{path} is damaged: its contents no longer match the SHA-256 stored with them; make it again")
    header = json.loads(text)
    if COMPACT in arrays:
        header.setdefault("bits", {"position": compact.POSITION_BITS, "force": None})
        try:
            arrays = _unpacked(compact.from_bytes(arrays[COMPACT].tobytes(), header["layout"]), header["bits"])
        except (lzma.LZMAError, KeyError, ValueError) as problem:
            raise StoreError(f"{path} cannot be unpacked ({problem!r}); copy or make it again") from None
    return arrays, header, header["attributes"]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _check_format(path: Path, file: h5py.File) -> None:
    found = _text(file.attrs.get("format"))
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
