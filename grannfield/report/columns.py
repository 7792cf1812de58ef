"""The columns of the leaderboard: what each is called, its unit, which way is better, and what it means in a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """One observable of the suite."""

    metric: str
    title: str
    unit: str
    better: Literal["higher", "lower", "closer", ""]
    about: str


COLUMNS: dict[str, Column] = {
    column.metric: column
    for column in (
        Column("force_r2", "force R² (windows)", "", "higher", "R² of forces on frames from time windows held out with gaps; on a material not trained on, frames spread over the reference"),
        Column("force_r2_random", "force R² (random)", "", "higher", "the paper's split: test frames lie femtoseconds from training frames, so this flatters the model"),
        Column("force_mae", "force MAE", "meV/Å", "lower", "mean absolute error of force components on the windows frames"),
        Column("energy_rank", "energy rank", "", "higher", "Spearman correlation of predicted and reference energies of the test frames"),
        Column("energy_r2", "energy R²", "", "higher", "R² of total energies; only on the material trained on, elsewhere the zero of energy is not determined"),
        Column("rdf_mae", "RDF MAE", "", "lower", "mean |g(r) - g_ref(r)| of all atoms, 0-6 Å in 0.1 Å bins, mean over temperatures; stable below max(0.02, 1.5 x the reference's own floor)"),
        Column("failed_share", "failed runs", "", "lower", "share of MD runs with a failure event: fusion, broken tetrahedron, runaway, melt, NaN"),
        Column("ns_per_day", "speed, 1 replica", "ns/day", "higher", "NVT at 2 fs on LGPS, neighbours included, no output; median and quartiles"),
        Column("ns_per_day_batched", "speed, batched", "ns/day", "higher", "the same, summed over replicas that move in one batch"),
        Column("diffusivity", "D", "cm²/s", "closer", "tracer diffusivity of the mobile ion at the highest temperature run, all time origins, lags 5-50% of production"),
        Column("activation_energy", "Ea", "eV", "closer", "slope of ln D against 1/T, at least three temperatures"),
        Column("neg_log_sigma", "-log10 sigma(300 K)", "mS/cm", "closer", "Nernst-Einstein at 300 K from the Arrhenius line of D"),
        Column("density_overlap", "Li density overlap", "", "higher", "sum of min(p, q) over a 0.3 Å grid, symmetrised, against the reference's density"),
        Column("framework_drift", "framework drift", "", "lower", "share of the mobile ions' squared displacement that is the whole framework moving"),
    )
}  # fmt: skip
