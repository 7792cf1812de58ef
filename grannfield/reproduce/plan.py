"""The plan: every piece of work by name, in the order of its value for the leaderboard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grannfield.data.material import load_material
from grannfield.forcefield import split_name
from grannfield.reproduce.scales import BEHIND, Scale

KINDS = ("train", "md", "score", "speed")


@dataclass(frozen=True)
class Piece:
    """One piece of work."""

    kind: str
    model: str
    """With its behaviour, as in `schnet@published`; speed is measured in the default one."""
    material: str = ""
    """Short name."""
    temperature: float | None = None
    """K."""
    needs: tuple[str, ...] = ()
    """Names of the pieces that must be done before."""

    @property
    def name(self) -> str:
        """As in `md:schnet:LGPS:1000K`."""
        where = () if self.temperature is None else (self.material, f"{self.temperature:g}K")
        return ":".join((self.kind, self.model, *where))


def named(name: str) -> Piece:
    """The piece of a name, without what it needs.

    >>> named("md:schnet@published:LGPS:1000K")
    Piece(kind='md', model='schnet@published', material='LGPS', temperature=1000.0, needs=())
    """
    kind, model, *where = name.split(":")
    return Piece(kind, model, where[0], float(where[1].rstrip("K"))) if where else Piece(kind, model)


def plan_of(scale: Scale, models: Iterable[str] | None = None) -> list[Piece]:
    """All pieces of a scale, a piece after those it needs: row after row of the board, then what makes none.

    A row is a model in one behaviour; its pieces stand together. First come the default behaviours, each a new architecture on
    the board, in the scale's order (light and good ones first), then the published ones; then speed at Table 1's size, which
    adds to a row that is there. ValueError for a model that the scale does not have.
    """
    wanted = list(models or scale.models)
    if unknown := [name for name in wanted if split_name(name)[0] not in scale.train_minutes]:
        raise ValueError(f"no model is called {', '.join(unknown)}; there are {', '.join(scale.train_minutes)}")
    rows = [name + behind for behind in BEHIND.values() for name in scale.train_minutes if name + behind in wanted]
    names = dict.fromkeys(split_name(model)[0] for model in rows)
    return [piece for model in rows for piece in _row(scale, model)] + [Piece("speed", name) for name in names]


def _row(scale: Scale, model: str) -> list[Piece]:
    train = Piece("train", model)
    motions = []
    for name in scale.materials:
        material = load_material(name)
        for temperature in scale.suite.temperatures or material.temperatures:
            motions.append(Piece("md", model, material.short, temperature, (train.name,)))
    return [train, *motions, Piece("score", model, needs=(train.name, *(piece.name for piece in motions)))]


def chosen(pieces: Sequence[Piece], patterns: Sequence[str]) -> list[Piece]:
    """The pieces named by kinds or by the beginnings of names, whole words between colons; all when there are no patterns.

    ValueError says what there is instead of a name that fits none.

    >>> plan = [Piece("train", "dimenet"), Piece("train", "dimenet_pp"), Piece("md", "dimenet", "LGPS", 1000.0)]
    >>> [piece.name for piece in chosen(plan, ["train:dimenet", "md"])]
    ['train:dimenet', 'md:dimenet:LGPS:1000K']
    """
    words = [_words(pattern) for pattern in patterns]
    for pattern, parts in zip(patterns, words, strict=True):
        if not any(_fits(piece, parts) for piece in pieces):
            raise ValueError(_nothing_called(pattern, parts, pieces))
    return [piece for piece in pieces if not words or any(_fits(piece, parts) for parts in words)]


def _words(name: str) -> list[str]:
    return name.lower().split(":")


def _fits(piece: Piece, parts: list[str]) -> bool:
    return _words(piece.name)[: len(parts)] == parts


def _nothing_called(pattern: str, parts: list[str], pieces: Sequence[Piece]) -> str:
    """What there is at the first word that fits nothing."""
    depth = next(n for n in range(len(parts)) if not any(_fits(piece, parts[: n + 1]) for piece in pieces))
    beside = [piece.name.split(":") for piece in pieces if _fits(piece, parts[:depth])]
    there = list(dict.fromkeys(":".join(words[: depth + 1]) for words in beside if len(words) > depth))
    if not there:
        return f"no piece is called {pattern!r}; {':'.join(parts[:depth])} has no parts"
    return f"no piece is called {pattern!r}; there are {', '.join(there)}"
