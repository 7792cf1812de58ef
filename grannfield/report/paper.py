"""The paper's own numbers (Digital Discovery 2024, 3, 2177-2182), to print beside ours."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

TITLES = {
    "cgcnn": "CGCNN",
    "schnet": "SchNet",
    "dimenet": "DimeNet",
    "dimenet_pp": "DimeNet++",
    "gns_tat": "GNS-TAT",
    "deeper_gatgnn": "DeeperGATGNN",
    "scn": "SCN",
    "escn": "eSCN",
    "forcenet": "ForceNet",
    "equiformer": "Equiformer",
    "leftnet": "LEFTNet",
}
"""The paper's name of each registered model."""


@cache
def _rows(file: str) -> dict[str, dict[str, str]]:
    text = resources.files("grannfield.report").joinpath(file).read_text(encoding="utf-8")
    ours = {title: name for name, title in TITLES.items()}
    return {ours.get(row["model"], row["model"]): row for row in csv.DictReader(text.splitlines())}


def table1() -> dict[str, dict[str, str]]:
    """Published Table 1 by registered name (and "AIMD"): symmetry, parameters_million, epochs_in_10h, md_ns_per_day."""
    return _rows("published_table1.csv")


def table2() -> dict[str, dict[str, str]]:
    """Published Table 2 by registered name (and "AIMD"): -log10(sigma/(mS/cm)) at 300 K by formula."""
    return _rows("published_table2.csv")
