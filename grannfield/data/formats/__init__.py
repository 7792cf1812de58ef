"""Readers of other programs' files, each to one `Trajectory`: `read(path)` recognises the format by content."""

from __future__ import annotations

from grannfield.data.formats.front import FORMATS, IncompleteFile, Reading, read, recognise, studied
from grannfield.data.formats.plausible import ImplausibleUnits
from grannfield.data.formats.units import UNITS

__all__ = ["FORMATS", "UNITS", "ImplausibleUnits", "IncompleteFile", "Reading", "read", "recognise", "studied"]
