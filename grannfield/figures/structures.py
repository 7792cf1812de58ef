"""The materials: ideal structures with the channels in which the reference's ions move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from grannfield.curves.space import best_of_reference
from grannfield.data.material import load_material
from grannfield.figures.projection import View, atoms, frame, isolines, scale_bar
from grannfield.figures.sheet import SMALL, TWO_COLUMNS, Sheet, constrained, not_available
from grannfield.figures.shown import Shown, formula_text
from grannfield.score import NotAvailable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "structures of the materials with the reference's Li channels"


def sheets(shown: Shown) -> Iterator[Sheet]:
    """One figure with a panel for each material."""
    if not shown.formulas:
        return
    found, missing, notes = {}, {}, []
    for formula in shown.formulas:
        try:
            curves = shown.reference_curves(formula)
            temperature = best_of_reference(curves)
            found[formula] = curves.density[temperature]
            notes.append(f"{formula_text(formula)}: {temperature:g} K, n = {curves.frames[temperature]} frames")
        except (NotAvailable, LookupError, ValueError, OSError) as problem:
            missing[formula] = str(problem)

    def draw(figure: Figure) -> None:
        columns = min(3, len(shown.formulas))
        rows = -(-len(shown.formulas) // columns)
        constrained(figure, TWO_COLUMNS, 0.4 + 2.05 * rows)
        axes = figure.subplots(rows, columns, squeeze=False)
        for panel in axes.ravel()[len(shown.formulas) :]:
            panel.set_axis_off()
        for panel, formula in zip(axes.ravel(), shown.formulas, strict=False):
            panel.set_title(formula_text(formula))
            if formula in missing:
                panel.set(xticks=[], yticks=[])
                not_available(panel, missing[formula])
                continue
            material = load_material(formula)
            view = View.of(material.structure.cell)
            projected = view.summed(found[formula])
            isolines(panel, view, projected, float(projected.max()), filled="Greens", colour="#00694d", width=0.4)
            atoms(panel, view, material)
            frame(panel, view, 1.5, below=1.6)
            scale_bar(panel, view, SMALL)
        handles = {h.get_label(): h for panel in axes.ravel() for h in panel.collections if str(h.get_label())[:1] != "_"}
        if handles:
            figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), handletextpad=0.1)

    yield Sheet(
        "structures", "structures", "The materials and their Li channels",
        "Ideal structures with framework tetrahedra (blue), mobile ions on their ideal sites (open circles), and the density of "
        "the mobile ions in the reference's MD (green, steps at 20, 40, 60 and 80% of its projected maximum), symmetrised over "
        f"the space group, smoothed by 0.3 Å, projected along the shortest lattice vector. {'; '.join(notes) or 'No density'}.",
        f"Projections of {', '.join(formula_text(f) for f in shown.formulas)} with green contours where lithium moves.",
        draw, reference=shown.reference,
    )  # fmt: skip
