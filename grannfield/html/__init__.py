"""The board as one HTML file that works without a network."""

from __future__ import annotations

from grannfield.html.site import write_site

__all__ = ["write_site"]
