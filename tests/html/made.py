"""Results and plots of models that nobody ran: as many as a test asks for, with every kind of cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.curves.kinds import Curves, Density, Msd, Paths, Rdf, RunNote
from grannfield.html.drawn import FORMAT, Shared, drawn
from grannfield.html.kept import FOLDER, OF_REFERENCE, _write, code_hash, path_of, state_of
from grannfield.report.columns import COLUMNS
from grannfield.report.results import Results
from grannfield.score import Score

SURROGATE = "surrogate: SevenNet-0 (11Jul2024)"
HOSTILE = "<img src=x onerror=alert(1)>"
CELLS = {"Li10GeP2S12": (8.81, 8.81, 12.69), "Li3PS4": (12.95, 8.25, 6.2), "Li4GeS4": (14.19, 7.88, 6.17)}
SHAPES = {"Li10GeP2S12": (28, 28, 42), "Li3PS4": (42, 28, 20), "Li4GeS4": (46, 26, 20)}


def value_of(metric: str, number: int) -> float:
    """Grows with the model's number, of the size that a column has."""
    return {"diffusivity": 1e-5, "ns_per_day": 2.0, "force_mae": 60.0}.get(metric, 0.5) * (1 + 0.01 * number)


def made(number: int, label: str = "", preset: str = "quick", materials: tuple[str, ...] = tuple(CELLS)) -> Results:
    """Results of one model: numbers in most columns, every fifth model fused, every seventh reduced."""
    label = label or f"model {number:02d}"
    settings = {"identity": f"{number:064x}", "n_parameters": 1000 * (number + 1), "reduced": number % 7 == 3, "kind": "model"}
    one = Results(label, {"name": "schnet", "symmetry": "E(3)-invariant", **settings}, {"preset": preset, "seed": 0})
    stamp = {"reference": SURROGATE, "weights": f"{number:064x}", "kinship": "trained on it", "hardware": "a computer"}
    stamp |= {"date": "2026-01-01 00:00 UTC", "versions": {"grannfield": "0.1.0", "code": "0123456789ab"}}
    for metric, column in COLUMNS.items():
        for material in materials:
            if column.measured_on in ("", material):
                one.add(_score(metric, label, material, number, stamp))
                if column.better == "closer":
                    one.add_reference(Score(metric, SURROGATE, material, value_of(metric, 5), column.unit, n=9, provenance=stamp))
    return one


def _score(metric: str, label: str, material: str, number: int, stamp: dict[str, Any]) -> Score:
    column = COLUMNS[metric]
    if number % 5 == 4 and column.group in ("Motion of the ions", "Path of the ions", "Structure and survival"):
        return Score(metric, label, material, reason="fused", detail="S35-S41 at 1.28 Å", provenance=stamp)
    value = value_of(metric, number)
    rows = [
        {"temperature_K": 1000.0, "replica": r, "value": value * (1 + 0.001 * ((7 * number + 3 * r) % 5)), "interval": None}
        for r in range(4)
    ]
    parts: dict[str, Any] = {"by_run": rows} | ({"floor": 0.45} if column.floor else {})
    verdict = "stable (worst 0.03)" if metric == "rdf_mae" else ""
    interval = (0.98 * value, 1.02 * value)
    return Score(metric, label, material, value, column.unit, column.better, 40, interval, verdict=verdict, note="frames",
                 parts=parts, provenance=stamp)  # fmt: skip


def density(material: str, seed: int) -> np.ndarray:
    """A smooth density with noise, so that it packs as badly as a real one."""
    shape, generator = SHAPES[material], np.random.default_rng(seed)
    axes = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    waves = sum(np.cos(2 * np.pi * (k + 1) * axes[k]) for k in range(3))
    found: np.ndarray = np.exp(waves) * generator.gamma(20.0, 1 / 20.0, shape)
    return found / found.sum()


def curves(label: str, material: str, seed: int = 0) -> Curves:
    """Curves of one run, and no more than a page asks for."""
    generator, cell = np.random.default_rng(seed), np.diag(CELLS[material])
    r, lag = np.arange(0.05, 6, 0.1), np.linspace(0.05, 2, 40)
    g = np.where(r > 2, 1 + np.sin(6 * r) / r, 0.0)
    rdf = [Rdf(1000.0, 0, pair, r, g + 0.02 * generator.normal(size=60), g, "stable") for pair in ("all", "Li-S", "P-S")]
    ways = np.cumsum(generator.normal(0, 0.3, (10, 60, 3)), axis=1) + cell.sum(0) / 2
    sites, jumps = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]), np.array([[0, 1, 0, 0, 0, 4], [1, 0, 1, 0, 0, 1]])
    own, other, time = density(material, seed), density(material, 10_000), np.linspace(0, 6, 60)
    told = {"temperature": 1000.0, "frames": 300, "production_ps": 6.0, "ending": "no failure"}
    note = RunNote(**{name: told.get(name, 0) for name in RunNote._fields})  # type: ignore[arg-type]
    return Curves(
        label, material, SURROGATE, [note], rdf,
        [Msd(1000.0, 0, lag, 3 * lag, 2.8 * lag, 0.5 * lag, 0.3 * lag)],
        density=Density(own, other, SHAPES[material], cell, 1000.0, 300, 350, 0.8),
        paths=Paths(ways, ways, time, time, 1000.0, cell, sites, ["2a", "2b"], jumps, jumps, 10),
        missing={"parity": "predictions were not kept", "arrhenius": "fewer than 3 usable temperatures"},
    )  # fmt: skip


def keep_plots(reports: Path, results: list[Results]) -> None:
    """Plots as a run of `grannfield board` would have kept them."""
    for material in CELLS:
        shared: Shared = {}
        for number, one in enumerate(results):
            content = {"format": FORMAT, "state": state_of(one, material), "code": code_hash()}
            _write(path_of(reports, one, material), content | {"drawn": drawn(curves(one.label, material, number), shared)})
        _write(reports / FOLDER / OF_REFERENCE / f"{material}.json.gz", {"format": FORMAT, "shared": shared})


def board_of(reports: Path, n: int = 3, hostile: bool = False) -> list[Results]:
    """A reports folder with n models, all their plots kept; the last may have a name that is markup."""
    found = [made(k, HOSTILE if hostile and k == n - 1 else "", "tiny" if k % 4 == 0 else "quick") for k in range(n)]
    for one in found:
        one.write(reports)
    keep_plots(reports, found)
    return found


def packs_in(text: str) -> dict[str, str]:
    """Packs of a page by name, as they stand in it."""
    pieces = text.split('<script type="text/plain" data-pack="')[1:]
    return {name: rest.split("</script>")[0] for name, _, rest in (piece.partition('">') for piece in pieces)}


def data_in(text: str) -> Any:
    """What the page's script reads at once."""
    return json.loads(text.split('id="data">')[1].split("</script>")[0])
