"""The board as one HTML file that works without a network."""

from __future__ import annotations

from pathlib import Path


def write_site(reports: Path) -> list[Path]:
    """Write REPORTS/index.html from REPORTS/results; see `grannfield.html.site.write_site`."""
    from grannfield.html.site import write_site as write  # which needs SciPy and more: the command line is to start without

    return write(reports)
