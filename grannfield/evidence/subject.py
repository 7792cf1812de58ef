"""A scored model as its results describe it, for analyses that never ask it for a force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grannfield.forcefield import ForceField
from grannfield.motion import Subject
from grannfield.plugin import Named
from grannfield.report.results import Results


class DescribedField(ForceField):
    """What results tell of a force field; it has no weights, and asking it for forces is an error."""

    def __init__(self, model: dict[str, Any]) -> None:
        super().__init__(cutoff=float((model.get("settings") or {}).get("cutoff") or 1.0))
        self.name = str(model.get("name") or "")
        self.settings = dict(model.get("settings") or {})
        self.provenance = dict(model.get("provenance") or {})
        self.conservative = bool(model.get("conservative", True))  # type: ignore[misc]
        self.known_as = str(model.get("potential") or "")
        self.described = str(model.get("precision") or "float32")
        known = model.get("elements")
        self.elements = None if known is None else tuple(int(z) for z in known)

    @property
    def precision(self) -> str:
        """That of the weights, without what says where it was computed.

        >>> DescribedField({"name": "schnet", "precision": "tf32 (emulated)"}).precision
        'tf32'
        """
        return self.described.split(" ")[0]


@dataclass(frozen=True, eq=False)
class DescribedSubject(Subject):
    """A model under test of which there are only results: its identity is as they say, nothing is hashed again."""

    said: str = ""

    @property
    def identity(self) -> str:  # type: ignore[override]
        return self.said


def described_subject(one: Results) -> DescribedSubject:
    """The model behind results; without a force field where they are of motion alone."""
    model = one.model
    named = Named(
        str(model.get("spec") or one.label), one.label, None,
        kind=model.get("kind", "model"), kin=tuple(model.get("kin") or ()),
        engine="lammps" if "engine" in one.protocol else "grannfield",
    )  # fmt: skip
    field = None if named.motion_only else DescribedField(model)
    return DescribedSubject(named, field, None, str(model.get("identity") or ""))
