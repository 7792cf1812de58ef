"""A figure as a plan: what it is called, what it says, and how it is drawn; and how it becomes the same bytes every time."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grannfield.figures.colours import QUIET
from grannfield.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ONE_COLUMN = 3.5
"""Inches."""
TWO_COLUMNS = 7.2
FONT = 8.0
"""Points, of everything but what stands inside small panels."""
SMALL = 6.5
DPI = 200
FORMATS = ("svg", "pdf", "png")
CLIP = re.compile(rb"(?<=#|\")p[0-9a-f]{10}(?=\)|\")")
STYLE = {
    "font.size": FONT,
    "font.family": ["DejaVu Sans"],
    "axes.titlesize": FONT,
    "axes.titley": 1.0,  # stays: to look for room above every axis is a quarter of the time
    "axes.labelsize": FONT,
    "xtick.labelsize": FONT - 1,
    "ytick.labelsize": FONT - 1,
    "legend.fontsize": FONT - 1,
    "figure.titlesize": FONT + 1,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.0,
    "errorbar.capsize": 1.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",  # letters, not their outlines: a third of the size, and searchable
    "svg.hashsalt": "grannfield",
    "pdf.fonttype": 3,  # a third of the time of 42: nothing is subset by fontTools
    "axes.unicode_minus": True,
    "mathtext.default": "regular",
    "path.simplify": True,
    "image.composite_image": True,
}
"""Of matplotlib, the same on every machine whatever its own settings."""
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


@dataclass(frozen=True, eq=False)
class Sheet:
    """One figure that can be drawn."""

    name: str
    """Which of the figures this is: "rdf", "survival", ..."""
    stem: str
    """Name of its files."""
    title: str
    caption: str
    """n, conditions and what the bars and bands are."""
    alt: str
    """What a reader who does not see it should know."""
    draw: Callable[[Figure], None]
    """Draws into an empty figure and sets its size."""
    model: str = ""
    """The one model it is about, empty for several."""
    material: str = ""
    reference: str = ""
    """Labels of the references behind it."""

    def described(self, formats: Sequence[str]) -> dict[str, Any]:
        """What figures.json says of it."""
        return {
            "name": self.name, "stem": self.stem, "title": self.title, "caption": self.full_caption, "alt": self.alt,
            "model": self.model, "material": self.material, "reference": self.reference,
            "files": [f"{self.stem}.{ending}" for ending in formats],
        }  # fmt: skip

    @property
    def full_caption(self) -> str:
        """With the label of the reference, which is never left out."""
        return f"{self.caption} Reference: {self.reference}{'' if self.reference.startswith('AIMD') else ' (not AIMD)'}."


def stem(*words: str) -> str:
    """A file name from words.

    >>> stem("rdf", "file.py:Soft Model")
    'rdf-file.py_Soft_Model'
    """
    return "-".join(re.sub(r"[^\w.@+-]", "_", word) for word in words if word)


@contextmanager
def styled() -> Iterator[None]:
    """Our settings of matplotlib, and nobody else's."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def write(sheet: Sheet, folder: Path, formats: Sequence[str]) -> list[Path]:
    """The files of a sheet: drawn once, laid out once, written in each format."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    written = []
    with styled():
        figure = Figure()
        FigureCanvasAgg(figure)
        sheet.draw(figure)
        signed(figure, sheet.reference)
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()  # what is laid out once stays
            figure.set_layout_engine("none")
        for ending in formats:
            content = io.BytesIO()
            more: dict[str, Any] = {"pil_kwargs": {"compress_level": 4}} if ending == "png" else {}
            figure.savefig(content, format=ending, dpi=DPI, metadata=METADATA[ending], **more)
            path = folder / f"{sheet.stem}.{ending}"
            write_atomically(path, renumbered(content.getvalue()) if ending == "svg" else content.getvalue())
            written.append(path)
    return written


def renumbered(svg: bytes) -> bytes:
    """The same SVG with its clip paths numbered in order.

    Matplotlib names them by all digits of a transform, whose last one may differ from run to run.

    >>> renumbered(b'<g clip-path="url(#p0123456789)"/><clipPath id="p0123456789"/>')
    b'<g clip-path="url(#clip0)"/><clipPath id="clip0"/>'
    """
    number = {name: b"clip%d" % n for n, name in enumerate(dict.fromkeys(CLIP.findall(svg)))}
    return CLIP.sub(lambda found: number[found[0]], svg)


def signed(figure: Figure, reference: str) -> None:
    """The label of the reference in the lower right corner."""
    text = f"reference: {reference}"
    width = int(figure.get_figwidth() * 72 / (0.62 * SMALL))
    figure.text(
        1 - 0.04 / figure.get_figwidth(), 0.03 / figure.get_figheight(), textwrap.shorten(text, width, placeholder="..."),
        ha="right", va="bottom", fontsize=SMALL, color=QUIET,
    )  # fmt: skip


FOOT = 0.2
"""Inches below every figure, for the label of the reference."""
HEAD = 0.08
"""Inches above, so that the first line of a title is whole."""


def constrained(figure: Figure, width: float, height: float) -> None:
    """A size, and a layout that leaves room for the label of the reference."""
    figure.set_size_inches(width, height)
    figure.set_layout_engine("constrained", rect=(0, FOOT / height, 1, 1 - (FOOT + HEAD) / height), w_pad=0.04, h_pad=0.04)


def grid(
    figure: Figure,
    rows: int,
    columns: int,
    *,
    width: float = TWO_COLUMNS,
    panel_height: float = 1.0,
    left: float = 0.5,
    right: float = 0.08,
    top: float = 0.3,
    bottom: float = 0.42,
    gap: tuple[float, float] = (0.12, 0.12),
    sharex: Any = False,
    sharey: Any = False,
) -> Any:
    """Axes [rows, columns] at places fixed in inches, which is a fifth of the time of a computed layout."""
    height = top + rows * panel_height + (rows - 1) * gap[1] + bottom + FOOT
    figure.set_size_inches(width, height)
    inner = (width - left - right - (columns - 1) * gap[0]) / columns
    return figure.subplots(
        rows, columns, squeeze=False, sharex=sharex, sharey=sharey,
        gridspec_kw={
            "left": left / width, "right": 1 - right / width, "bottom": (bottom + FOOT) / height, "top": 1 - top / height,
            "wspace": gap[0] / inner, "hspace": gap[1] / panel_height,
        },
    )  # fmt: skip


def not_available(axes: Axes, reason: str, characters: int = 30) -> None:
    """A panel without data, which says why."""
    axes.set_facecolor("#f5f5f5")
    text = textwrap.fill(textwrap.shorten(f"n/a: {reason}", 4 * characters, placeholder=" ..."), characters)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=SMALL, color=QUIET)


def cut(label: str, most: int = 26) -> str:
    """A name that fits: its end is left out where it is too long.

    >>> cut("schnet"), cut("MACE-a-very-long-name", 12)
    ('schnet', 'MACE-a-very…')
    """
    return label if len(label) <= most else label[: most - 1].rstrip() + "…"


def stacked(label: str, most: int = 15) -> str:
    """A name in at most two lines beside a row of panels.

    >>> stacked("schnet"), stacked("SevenNet-l3i5@published")
    ('schnet', 'SevenNet-l3i5@\\npublished')
    """
    if len(label) <= most:
        return label
    breaks = [k + 1 for k, letter in enumerate(label[:most]) if not letter.isalnum()]
    first = breaks[-1] if breaks and breaks[-1] > most // 2 else most
    return f"{label[:first].rstrip()}\n{cut(label[first:].lstrip(), most)}"


def plain_log(axis: Any) -> None:
    """Ticks of a logarithmic axis as plain numbers, with 2 and 5 where it spans less than two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def pages(items: Sequence[Any], most: int) -> list[list[Any]]:
    """Items on as few pages as possible, about equally many on each.

    >>> [len(page) for page in pages(range(13), 6)]
    [5, 4, 4]
    """
    count = -(-len(items) // most)
    sizes = [len(items) // count + (k < len(items) % count) for k in range(count)]
    starts = [sum(sizes[:k]) for k in range(count)]
    return [list(items[start : start + size]) for start, size in zip(starts, sizes, strict=True)]
