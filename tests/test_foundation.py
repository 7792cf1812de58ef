"""Published potentials by one option: CHGNet and SevenNet for real where they are installed, the others as far as can be told."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ase.calculators.lj import LennardJones

from grannfield.call import CalculatorNotMade, parsed
from grannfield.data.material import load_material
from grannfield.foreign import calculator_field
from grannfield.neighbors import neighbor_graph
from grannfield.plugin import find_calculator, open_model
from grannfield.presets import OPTIONS

PAGE = Path(__file__).parents[1] / "docs" / "foundation.md"
SPECS = [
    words[words.index("--calculator") + 1]
    for line in PAGE.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    if line.startswith("grannfield bench") and "--calculator" in (words := shlex.split(line))
]
PACKAGES = ("chgnet", "sevenn", "mace", "orb_models", "mattersim", "matgl", "fairchem", "upet")


def test_the_page_names_every_potential() -> None:
    assert "calculator" in OPTIONS and len(SPECS) == 9
    page = PAGE.read_text(encoding="utf-8")
    assert all(name in page for name in ("CHGNet", "SevenNet", "MACE", "ORB", "MatterSim", "MatGL", "UMA", "UPET"))
    tested, untested = page.split("## Untested")
    assert "untested" in tested and "mace.calculators" in untested and "chgnet.model" not in untested


@pytest.mark.parametrize("spec", SPECS)
def test_the_one_liners_parse(spec: str) -> None:
    """The grammar of --calculator: a label, a function by its name, literal arguments; the label stands in tables."""
    label, equals, text = spec.partition("=")
    call = parsed(text if equals and ":" not in label else spec)
    assert call.package in (*PACKAGES, "grannfield") and call.factory
    assert all(isinstance(x, (str, int, float, bool)) for x in (*call.positional, *call.keywords.values()))
    if call.package == "grannfield":
        import grannfield.foundation

        assert callable(getattr(grannfield.foundation, call.factory))
        assert find_calculator(spec).label == label


@pytest.mark.parametrize(
    ("package", "spec", "label"),
    [
        ("chgnet", "chgnet.model.dynamics:CHGNetCalculator()", "CHGNet-0.3.0"),
        ("sevenn", 'sevenn.calculator:SevenNetCalculator("7net-l3i5")', "SevenNet-l3i5"),
        ("sevenn", 'sevenn.calculator:SevenNetCalculator("7net-0")', "SevenNet-0"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_chgnet_and_sevennet_are_scored(package: str, spec: str, label: str) -> None:
    """The one-liner, to forces on Li3PS4: those of the calculator asked by ASE, of the size of a solid's, known by name."""
    pytest.importorskip(package, reason=f"{package} is not installed: pip install grannfield[foundation]", exc_type=ImportError)
    from ase import Atoms

    assert any(spec in written for written in SPECS)
    named = find_calculator(spec)
    assert named.label == label
    field: Any = open_model(named)
    s = load_material("Li3PS4").structure
    pos = s.pos + np.random.default_rng(0).normal(0, 0.05, s.pos.shape)
    prediction = field.predict(neighbor_graph(s.z, pos, s.cell, field.cutoff))
    alone = Atoms(s.z, pos, cell=s.cell, pbc=True, calculator=field.calculator)
    assert np.abs(prediction.forces.numpy() - alone.get_forces()).max() < 1e-5
    assert 0.1 < float(prediction.forces.abs().max()) < 20 and -6 < float(prediction.energy[0]) / len(s.z) < -2
    assert label.split("-")[0] in field.known_as and field.n_parameters > 1e5 and field.settings["weights"]


class Recorder(ModuleType):
    """A stand-in of a package, whose functions note what they were called with."""

    def __init__(self, name: str, **functions: Any) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__dict__.update(functions)


def calculator(noted: list[Any]) -> Any:
    def make(*arguments: Any, **keywords: Any) -> Any:
        noted.append((arguments, keywords))
        return LennardJones(sigma=2.2, rc=5.0)

    return make


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Packages as documented, in sys.modules; and a file and a folder that stand for weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.ckpt").write_bytes(b"w")
    (tmp_path / "potential").mkdir()

    def install(**modules: dict[str, Any]) -> None:
        for name, functions in modules.items():
            parts = name.split("__")
            for n in range(1, len(parts) + 1):
                full = ".".join(parts[:n])
                if n == len(parts) or full not in sys.modules:
                    monkeypatch.setitem(sys.modules, full, Recorder(full, **(functions if n == len(parts) else {})))

    return install


@pytest.mark.parametrize("adapter", [True, False], ids=["0.6", "0.5"])
def test_orb(stand_ins: Any, adapter: bool) -> None:
    noted: list[Any] = []
    made: list[Any] = []
    model = lambda **keywords: made.append(keywords) or (("network", "adapter") if adapter else "network")  # noqa: E731
    stand_ins(
        orb_models__forcefield__pretrained={"orb_v3_direct_20_omat": model},
        orb_models__forcefield__inference__calculator={"ORBCalculator": calculator(noted)},
        orb_models__forcefield__calculator={"ORBCalculator": calculator(noted)},
    )
    calculator_field('grannfield.foundation:orb("weights.ckpt", model="orb_v3_direct_20_omat")')
    assert made == [{"weights_path": "weights.ckpt", "device": "cpu", "precision": "float32-highest"}]
    assert noted == [(("network",), {"atoms_adapter": "adapter", "device": "cpu"} if adapter else {"device": "cpu"})]
    with pytest.raises(CalculatorNotMade, match="has no orb_v9; it names its models"):
        calculator_field('grannfield.foundation:orb("weights.ckpt", model="orb_v9")')


def test_matgl_and_uma(stand_ins: Any) -> None:
    noted: list[Any] = []
    stand_ins(
        matgl={"load_model": lambda path: f"potential of {path}"},
        matgl__ext__ase={"PESCalculator": calculator(noted)},
        fairchem__core={"FAIRChemCalculator": calculator(noted)},
        fairchem__core__calculate__pretrained_mlip={"load_predict_unit": lambda path, device: f"unit of {path} on {device}"},
    )
    calculator_field('grannfield.foundation:matgl("potential")')
    calculator_field('grannfield.foundation:uma("weights.ckpt", task="omat")')
    assert noted == [(("potential of potential",), {}), (("unit of weights.ckpt on cpu",), {"task_name": "omat"})]


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: Any) -> None:
    for package in ("orb_models", "matgl", "fairchem"):
        monkeypatch.setitem(sys.modules, package, None)
    for spec, package in (
        ('orb("weights.ckpt")', "orb-models"),
        ('matgl("potential")', "matgl"),
        ('uma("weights.ckpt")', "fairchem"),
    ):
        with pytest.raises(CalculatorNotMade, match=rf"cannot be imported .*; pip install '{re.escape(package)}"):
            calculator_field(f"grannfield.foundation:{spec}")
    stand_ins(fairchem__core={}, fairchem__core__calculate__pretrained_mlip={})
    with pytest.raises(CalculatorNotMade, match=r"there is no file uma\.pt with weights; nothing is downloaded"):
        calculator_field('grannfield.foundation:uma("uma.pt")')
