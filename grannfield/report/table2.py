"""The paper's Table 2, ours beside the published: -log10 of the conductivity at 300 K."""

from __future__ import annotations

from typing import Any

import pandas as pd

from grannfield.report import paper
from grannfield.report.board import cell, row_name
from grannfield.report.results import Results


def table2(results: list[Results]) -> pd.DataFrame:
    """The paper's Table 2, ours beside the published, the reference labelled by what made it."""
    published = paper.table2()
    materials = [key for key in next(iter(published.values())) if key != "model"]
    rows: list[dict[str, Any]] = []
    for label in sorted({s.model for one in results for s in one.reference.values()}):
        row = {"model": f"reference ({label})"}
        for material in materials:
            found = [one.reference.get(("neg_log_sigma", material)) for one in results]
            row[material] = next((s.text for s in found if s is not None and s.model == label), "")
            row[f"{material} published"] = ""
        rows.append(row)
    rows.append(
        {"model": "AIMD (paper)"} | {m: "" for m in materials} | {f"{m} published": published["AIMD"][m] for m in materials}
    )
    for one in results:
        theirs = published.get(str(one.model.get("name", "")).partition("@")[0], {})
        row = {"model": row_name(one)}
        for material in materials:
            score = one.scores.get(("neg_log_sigma", material))
            row[material] = "" if score is None else cell(one, score)
            row[f"{material} published"] = (theirs.get(material) or "N/A") if theirs else ""
        rows.append(row)
    order = ["model", *(name for m in materials for name in (m, f"{m} published"))]
    return pd.DataFrame(rows)[order]
