"""What there is to show under a reports folder: results, their order and colours, and the curves behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from grannfield.curves import FOLDER, Curves, ReferenceCurves, curves_of, reference_curves_of
from grannfield.evidence import Evidence, evidence_of
from grannfield.figures.colours import Style, styles
from grannfield.report.board import ranked
from grannfield.report.origins import CONTROL, reference_of
from grannfield.report.results import Results, all_results
from grannfield.score import NotAvailable, Score

NOTHING = "no results"


@dataclass(frozen=True, eq=False)
class Shown:
    """The models of a reports folder, best first."""

    reports: Path
    results: list[Results]
    memory: dict[tuple[str, str], Curves] = field(default_factory=dict, repr=False)
    evidence: dict[str, Evidence] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, reports: Path) -> Shown:
        """All models with results but controls, whose numbers test the suite and not a model; controls where nothing else is."""
        found = all_results(reports)
        models = [one for one in found if one.model.get("kind") != CONTROL]
        return cls(reports, ranked(models or found))

    @property
    def labels(self) -> list[str]:
        return [one.label for one in self.results]

    @cached_property
    def styles(self) -> dict[str, Style]:
        return styles(self.labels)

    @cached_property
    def formulas(self) -> list[str]:
        """All materials that a model was scored on; that of the training first, as in the paper."""
        found = sorted({formula for one in self.results for formula in one.materials})
        trained = {str((one.model.get("provenance") or {}).get("material", "")) for one in self.results}
        return sorted(found, key=lambda formula: (formula not in trained, formula))

    @cached_property
    def reference(self) -> str:
        """Labels of all references that models were scored against."""
        found = {reference_of(one, formula) for one in self.results for formula in one.materials} - {""}
        return "; ".join(sorted(found)) or "reference not stated"

    def curves(self, label: str, formula: str) -> Curves:
        """Curves of a model in a material, each read or made once."""
        if (label, formula) not in self.memory:
            self.memory[label, formula] = curves_of(self.evidence_of(label), formula)
        return self.memory[label, formula]

    def evidence_of(self, label: str) -> Evidence:
        if label not in self.evidence:
            self.evidence[label] = evidence_of(self.one(label), self.reports)
        return self.evidence[label]

    def one(self, label: str) -> Results:
        return next(one for one in self.results if one.label == label)

    def score(self, label: str, metric: str, formula: str) -> Score | None:
        """A number of the board; None where it was not run."""
        return self.one(label).scores.get((metric, formula))

    def reference_curves(self, formula: str) -> ReferenceCurves:
        """Of the reference that the first model was scored against; LookupError or NotAvailable where there is none here."""
        labels = [one.label for one in self.results if formula in one.materials]
        if not labels:
            raise NotAvailable(NOTHING, f"no model was scored on {formula}")
        return reference_curves_of(self.evidence_of(labels[0]).reference(formula), self.reports / FOLDER)

    def conditions(self, labels: list[str] | None = None) -> str:
        """Presets behind the numbers, each once, with who was scored by it."""
        found: dict[str, list[str]] = {}
        for one in self.results:
            if labels is None or one.label in labels:
                preset = str(one.protocol.get("preset", "?"))
                found.setdefault(f"{preset} ({one.protocol.get('described', '')})", []).append(one.label)
        if len(found) == 1:
            return f"Preset {next(iter(found))}."
        return "Presets: " + "; ".join(f"{', '.join(who)}: {preset}" for preset, who in found.items()) + "."


def formula_text(formula: str) -> str:
    """A formula with its numbers as subscripts.

    >>> formula_text("Li3PS4")
    'Li₃PS₄'
    """
    return formula.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
