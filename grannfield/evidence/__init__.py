"""What stands behind the numbers of a model: runs, predictions and raw samples, found, read and recomputed from.

A results file points to each of them by a path below the store and a SHA-256; the files lie in `reports/evidence/<label>`,
which is tracked, or in `reports/store`, which is not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grannfield.evidence.files import Altered, NotKept
    from grannfield.evidence.kept import Evidence, KeptRun, evidence_of

__all__ = ["Altered", "Evidence", "KeptRun", "NotKept", "evidence_of"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: the command line names the commands of this package without loading torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'files' if name in ('Altered', 'NotKept') else 'kept'}"), name)
