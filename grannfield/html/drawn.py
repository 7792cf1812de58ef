"""Curves thinned to what a screen shows, as JSON: what the plots of a page are drawn from."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from grannfield.curves.kinds import ArrheniusCurve, Curves, Density, Line, Parity, Paths, Point, Rdf, SurvivalBand
from grannfield.html.packs import rounded

FORMAT = 1
MOST_LAGS = 120
MOST_STEPS = 150
"""Points of one ion's way."""
MOST_ENERGIES = 240
PARITY_BINS = 32
LEVELS = 255
"""Steps of a density: of the cube root, so that channels keep their shape beside the sites."""
Shared = dict[str, dict[str, Any]]
"""What several models have in common, by a key that a drawing names: the reference's density and ways."""


def drawn(curves: Curves, shared: Shared) -> dict[str, Any]:
    """All curves of a model in a material; what belongs to the reference alone goes into `shared`."""
    made: dict[str, Any] = {
        "reference": curves.reference,
        "runs": [[r.temperature, r.replica, r.frames, round(r.production_ps, 3), r.ending] for r in curves.runs],
        "rdf": _rdf(curves.rdf) if curves.rdf else None,
        "msd": [_msd(one) for one in curves.msd] if curves.msd else None,
        "survival": _survival(curves.survival) if curves.survival else None,
        "parity": _parity(curves.parity) if curves.parity else None,
        "arrhenius": _arrhenius(curves.arrhenius) if curves.arrhenius else None,
        "density": _density(curves.density, curves, shared) if curves.density else None,
        "paths": _paths(curves.paths, curves, shared) if curves.paths else None,
        "missing": dict(sorted(curves.missing.items())),
    }
    return {key: value for key, value in made.items() if value is not None}


def every(n: int, most: int) -> np.ndarray:
    """Indices of at most `most` of n points, evenly spread, first and last among them.

    >>> every(10, 4).tolist(), every(3, 4).tolist()
    ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)) if n else np.empty(0, int)


def _rdf(rdf: list[Rdf]) -> dict[str, Any]:
    runs: dict[tuple[float, int], dict[str, Any]] = {}
    reference: dict[str, dict[str, Any]] = {}
    for one in rdf:
        run = runs.setdefault((one.temperature, one.replica), {"t": one.temperature, "replica": one.replica, "g": {}})
        run["verdict"] = one.verdict
        run["g"][one.pair] = rounded(one.g, 3)
        reference.setdefault(f"{one.temperature:g}", {})[one.pair] = rounded(one.g_reference, 3)
    return {"r": rounded(rdf[0].r, 3), "runs": list(runs.values()), "reference": reference}


def _msd(one: Any) -> dict[str, Any]:
    kept = every(len(one.lag_ps), MOST_LAGS)
    made = {"t": one.temperature, "replica": one.replica, "lag": rounded(one.lag_ps[kept], 4), "msd": rounded(one.msd[kept], 3)}
    return made | ({} if one.reference_msd is None else {"reference": rounded(one.reference_msd[kept], 3)})


def _survival(one: SurvivalBand) -> dict[str, Any]:
    bands = {name: rounded(getattr(one, name), 4) for name in ("time_ps", "survival", "low", "high", "censored_ps")}
    counts = {"causes": one.causes, "n": one.n, "cold": one.cold}
    return bands | counts | {"horizon": one.horizon_ps, "mean": rounded(list(one.mean_ps))}


def _parity(one: Parity) -> dict[str, Any]:
    forces = []
    for (element, axis), hist in one.forces.items():
        fold = max(1, hist.counts.shape[0] // PARITY_BINS)
        size = hist.counts.shape[0] // fold
        counts = hist.counts[: size * fold, : size * fold].reshape(size, fold, size, fold).sum(axis=(1, 3))
        places = np.argwhere(counts > 0)
        flat = (places[:, 0] * size + places[:, 1]).tolist()
        forces.append({
            "element": element, "axis": axis, "reach": rounded(float(hist.edges[-1])), "size": size, "at": flat,
            "counts": counts[counts > 0].tolist(), "n": hist.n, "beyond": hist.beyond, "r2": rounded(list(hist.r2)),
        })  # fmt: skip
    energy = one.energy
    kept = every(len(energy.predicted), MOST_ENERGIES)
    scatter = [rounded(1e3 * values[kept], 4) for values in (energy.reference, energy.predicted)]
    kelvin = rounded(energy.temperature[kept], 4)
    more = {"rank": rounded(list(energy.rank)), "mae": rounded(list(energy.mae_meV_per_atom))}
    shown = {"reference": scatter[0], "predicted": scatter[1], "t": kelvin, "n": len(energy.predicted)}
    return {"forces": forces, "energy": shown | more, "held_out": one.held_out, "n": one.n}


def _point(one: Point) -> list[Any]:
    return rounded([one.temperature, one.value, one.low, one.high, one.n, one.reason], 3)  # type: ignore[no-any-return]


def _line(one: Line | None) -> dict[str, Any] | None:
    if one is None:
        return None
    kept = every(len(one.temperature), 40)
    made = {"t": one.temperature[kept], "d": one.diffusivity[kept], "low": one.low[kept], "high": one.high[kept]}
    return rounded(made) | {"ea": rounded(list(one.activation_energy), 3), "sigma": rounded(list(one.neg_log_sigma), 3)}


def _arrhenius(one: ArrheniusCurve) -> dict[str, Any]:
    return {
        "points": [_point(p) for p in one.points],
        "reference_points": [_point(p) for p in one.reference_points],
        "line": _line(one.line),
        "reference_line": _line(one.reference_line),
        "no_line": one.no_line,
        "no_reference_line": one.no_reference_line,
    }


def stepped(grid: np.ndarray) -> dict[str, Any]:
    """A density as one byte a voxel: the cube root of its share of the maximum, base64 with the maximum beside it."""
    top = float(grid.max()) or 1.0
    bytes_ = np.rint(LEVELS * np.cbrt(np.maximum(grid, 0.0) / top)).astype(np.uint8)
    return {"top": rounded(top, 6), "bytes": base64.b64encode(bytes_.tobytes()).decode()}


def _key(curves: Curves, temperature: float) -> str:
    return f"{curves.material}|{curves.reference}|{temperature:g}"


def _density(one: Density, curves: Curves, shared: Shared) -> dict[str, Any]:
    key = _key(curves, one.temperature)
    shared.setdefault(key, {})["density"] = {"shape": list(one.shape), "frames": one.reference_frames} | stepped(one.reference)
    made = {"shape": list(one.shape), "t": one.temperature, "frames": one.frames, "overlap": rounded(one.overlap, 3)}
    return made | stepped(one.model) | {"cell": rounded(one.cell, 6), "shared": key}


def _ways(ways: np.ndarray, time: np.ndarray) -> dict[str, Any]:
    """Ways in hundredths of Å, each as a flat list x, y, z, x, ..."""
    kept = every(ways.shape[1], MOST_STEPS)
    hundredths = np.rint(100 * ways[:, kept]).astype(int)
    return {"time": rounded(time[kept], 4), "ways": [one.ravel().tolist() for one in hundredths]}


def _paths(one: Paths, curves: Curves, shared: Shared) -> dict[str, Any]:
    key = _key(curves, one.temperature)
    own = {"sites": rounded(one.sites, 4), "names": list(one.site_names), "jumps": np.asarray(one.reference_jumps).tolist()}
    shared.setdefault(key, {})["paths"] = _ways(one.reference, one.reference_time_ps) | own
    return _ways(one.model, one.time_ps) | {"t": one.temperature, "jumps": np.asarray(one.jumps).tolist(), "shared": key}
