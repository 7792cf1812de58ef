"""Results of made-up models, in the shape that the benchmarks store."""

from __future__ import annotations

import random
from typing import Any

from grannfield.report.results import Results
from grannfield.score import Score

SURROGATE = "surrogate: SevenNet-0 (11Jul2024)"
MATERIALS = ("Li10GeP2S12", "Li3PS4", "Li4GeS4")
NASTY = "a|b & c_d% $x$ <script>alert(1)</script> `y` \\emph{z} [l](u) #1 ~^\nnext"
"""A name that means something in Markdown, LaTeX, HTML and CSV."""


def number(value: float, half: float = 0.0, n: int = 50, reason: str = "") -> dict[str, Any]:
    """A number as the parts of a score keep it."""
    interval = [value - half, value + half] if half else None
    return {"value": None if reason else value, "interval": interval, "n": n, "reason": reason}


def made(label: str = "schnet", preset: str = "quick", seed: int = 0, failed: bool = False, name: str = "schnet") -> Results:
    """A model scored on three materials at 800, 1000 and 1200 K, two runs each; perhaps one run at 1200 K fused."""
    protocol = {"preset": preset, "described": "500 test frames, MD 10 ps at 800/1000/1200 K, 2 runs each, NVE 10 ps"}
    story = {"budget_s": 600.0, "training_frames": 900, "epochs": 50.0, "samples_per_s": 12.5, "hardware": "a processor"}
    model = {
        "name": name,
        "identity": f"{seed:02x}" * 32,
        "n_parameters": 494_209,
        "symmetry": "E(3)-invariant",
        "provenance": story,
    }
    one = Results(label, model, protocol | {"hardware": "a processor", "seed": 0})
    wobble = random.Random(seed)
    for material in MATERIALS:
        for score in _scores(label, material, wobble.random(), failed):
            one.add(score)
        for metric, value, parts in (("diffusivity", 8e-5, {"temperature_K": 1200.0}), ("neg_log_sigma", 0.5, {})):
            interval = (value / 2, value * 2)
            one.add_reference(Score(metric, SURROGATE, material, value, n=3, interval=interval, parts=parts))
    return one


def _scores(label: str, material: str, shift: float, failed: bool) -> list[Score]:
    def score(metric: str, value: float, half: float, **more: Any) -> Score:
        interval = (value - half, value + half)
        known: dict[str, Any] = {"n": 50, "interval": interval, "provenance": {"reference": SURROGATE}} | more
        return Score(metric, label, material, value, **known)

    def without(metric: str, **more: Any) -> Score:
        return Score(
            metric, label, material, reason="fused", detail="S1-S2 at 1.28 Å", provenance={"reference": SURROGATE}, **more
        )

    r2 = 0.95 - 0.02 * shift
    runs = [{"temperature_K": t, "replica": r} for t in (800.0, 1000.0, 1200.0) for r in (0, 1)]
    ends = [run | {"value": 0.0, "cause": "", "reason": "", "interval": None} for run in runs]
    if failed:
        ends[-1] |= {"cause": "fusion", "value": 1.0}
    rdf = [run | number(0.02 + 0.001 * run["replica"], 0.003, 70) | {"verdict": "stable"} for run in runs]
    elements = {e: number(r2, 0.004) for e in ("Li", "S")}
    parts = {"r2_by_element": elements, "r2_by_component": {"x": number(r2, 0.004)}}
    found = [
        score("force_r2", r2, 0.003, parts=parts | {"r2_by_element_and_component": {"Li": {"x": number(r2, 0.004)}}}),
        score(
            "force_mae", 100.0, 3.0, unit="meV/Å", parts={"rmse": number(131.0, 4.0), "mae_by_element": {"Li": number(60.0, 2.0)}}
        ),
        score("energy_rank", 0.97, 0.01, parts={"mae_after_one_offset_meV_per_atom": number(3.5, 0.4)}),
        score("failed_share", sum(run["value"] for run in ends) / 6, 0.2, n=6, parts={"by_run": ends}),
    ]
    if material == "Li10GeP2S12":
        found.append(score("ns_per_day", 3.0, 0.1, n=5, parts={"hardware": "a processor"}))
    if failed:
        return [
            *found,
            *(without(m, parts={"by_run": rdf} if m == "rdf_mae" else {}) for m in ("rdf_mae", "diffusivity", "neg_log_sigma")),
        ]
    floor = number(0.025, 0.004, 4)
    by_temperature = {f"{t:g} K": number(1e-5 * t / 400, 5e-6, 20) for t in (800.0, 1000.0, 1200.0)}
    return [
        *found,
        score(
            "rdf_mae",
            0.0205,
            0.002,
            verdict="stable (worst 0.021, limit 0.04)",
            parts={"by_run": rdf, "floor": floor, "by_pair": {"Li-S": 0.03}},
        ),
        score("diffusivity", 3e-5, 5e-6, unit="cm²/s", n=20, parts={"temperature_K": 1200.0, "pymatgen": 2.9e-5, "by_run": []}),
        score("neg_log_sigma", 0.4 + shift, 0.3, n=3, parts={"by_temperature": by_temperature}),
        score("activation_energy", 0.3, 0.05, unit="eV", n=3),
    ]
