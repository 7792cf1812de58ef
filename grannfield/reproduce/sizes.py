"""What takes the space of a state: by what it is, and by model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grannfield.reproduce.plan import Piece
    from grannfield.reproduce.work import Work

PARTS = {
    "checkpoints": ("reports/checkpoints/*/best.safetensors",),
    "curves": ("reports/checkpoints/*/curve.csv",),
    "MD runs": ("reports/store/md/*/run-*.h5", "reports/store/md/*/done.json"),
    "unfinished work": (
        "reports/checkpoints/*/last.safetensors", "reports/store/md/*/partial/*", "reports/store/predictions/*/partial.npz"
    ),
    "predictions": ("reports/store/predictions/*.npz", "reports/store/curl/*.npz"),
    "results": ("reports/results/*.json",),
    "tables": ("reports/*.*", "reports/supplement/*", "reports/figures/*", "reports/curves/*", "reports/store/curves/*"),
}  # fmt: skip
"""Of a state folder; what none of them matches is called other."""
AGAIN = {
    "tables": "`grannfield report` writes them again",
    "predictions": "made again when a model is scored again; `grannfield publish` wants them",
    "unfinished work": "last.safetensors of a finished training is of no more use; what was cut off would begin anew",
}
"""What can be deleted, and what becomes of it."""
DERIVED = ("*-long.csv", "*.html", "*.tex", "supplement/*")
"""Tables, below a reports folder, that no state keeps: `grannfield report --reports STATE/reports` writes them."""


def trim(reports: Path) -> None:
    """Remove the forms of tables that repeat what others say, so that a state stays small enough to be committed."""
    for pattern in DERIVED:
        for path in reports.glob(pattern):
            path.unlink(missing_ok=True)


def sizes(folder: Path) -> dict[str, int]:
    """Bytes by part."""
    found = {part: _bytes(path for pattern in patterns for path in folder.glob(pattern)) for part, patterns in PARTS.items()}
    return found | {"other": _bytes(folder.rglob("*")) - sum(found.values())}


def of_model(work: Work, model: str, pieces: Iterable[Piece]) -> dict[str, int]:
    """Bytes that a model takes: weights and curve, MD runs of the pieces that are done, results."""
    folder = work.checkpoint(model).parent
    known = work.weights_at_hand(model) or work.removed(model)
    keys = [key for piece in pieces if known and piece.kind == "md" and piece.model == model for key in work.keys_of(piece)]
    return {
        "weights": _bytes([folder / "best.safetensors"]),
        "curve": _bytes([folder / "curve.csv"]),
        "MD runs": _bytes(path for key in keys for path in (work.store / "md" / key).rglob("*")),
        "results": _bytes([work.results(model)]),
        "unfinished": _bytes([folder / "last.safetensors"]),
    }


def described(work: Work) -> str:
    """How large the state is and what of it counts, with what could go where that is more than the scale allows."""
    parts = sizes(work.state.folder)
    said = ", ".join(f"{part} {size * 1e-6:.2f}" for part, size in parts.items() if size >= 1e4)
    total, limit = sum(parts.values()) * 1e-6, work.scale.state_mb
    text = f"state: {total:.1f} MB" + (f" ({said})" if said else "")
    if limit is None or total <= limit:
        return text
    could = [f"{part} ({parts[part] * 1e-6:.1f} MB: {what})" for part, what in AGAIN.items() if parts[part] >= 1e5]
    return f"{text}\nmore than {limit:g} MB: delete {' or '.join(could) or 'the runs of models that are not wanted'}"


def _bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())
