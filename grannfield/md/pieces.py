"""The files of an unfinished run: a kill loses at most the steps since the last of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch

from grannfield.files import write_atomically
from grannfield.md.state import MDState
from grannfield.md.watch import Watch


class Pieces:
    """The files of an unfinished run: frames since the last one, and the state at its end."""

    def __init__(self, folder: Path | None, identity: str) -> None:
        self.folder, self.written, self.step = folder, 0, -1
        self.frames: list[dict[str, np.ndarray]] = []
        self.last: dict[str, np.ndarray] | None = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / "run.json"
        if note.exists() and json.loads(note.read_text())["identity"] != identity:
            raise ValueError(f"{folder} holds a run with other settings or weights; delete it or choose another place")
        write_atomically(note, json.dumps({"identity": identity}))
        for path in sorted(folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as file:
                piece = {key: file[key] for key in file.files}
            for f in range(len(piece.get("frame.time", ()))):
                self.frames.append({key[6:]: value[f] for key, value in piece.items() if key.startswith("frame.")})
            self.last, self.step = piece, int(piece["step"])
        self.written = len(self.frames)

    def write(self, state: MDState, watch: Watch, step: int, spent: float) -> None:
        if self.folder is None or step == self.step:
            return
        new = self.frames[self.written :]
        arrays = {f"frame.{key}": np.stack([f[key] for f in new]) for key in (new[0] if new else {})}
        arrays |= {f"state.{key}": value.cpu().numpy() for key, value in vars(state).items()}
        arrays |= {f"watch.{key}": value.cpu().numpy() for key, value in vars(watch).items()}
        buffer = io.BytesIO()
        arrays |= {"step": np.array(step), "spent": np.array(spent)}
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomically(self.folder / f"{step:09d}.npz", buffer.getvalue())
        self.written, self.step = len(self.frames), step

    def restore(self, state: MDState, watch: Watch) -> tuple[MDState, Watch, int, float]:
        assert self.last is not None
        load = lambda prefix, like: {  # noqa: E731
            key: torch.from_numpy(np.array(self.last.get(f"{prefix}.{key}", value.cpu()))).to(value.device)
            for key, value in vars(like).items()  # files may be older than a part of the state
        }
        return MDState(**load("state", state)), Watch(**load("watch", watch)), int(self.last["step"]), float(self.last["spent"])
