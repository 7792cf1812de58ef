"""ASE calculators as force fields: the same numbers, an identity that follows what they are made of, and clear refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from grannfield.call import Call
from grannfield.forcefield import UnsupportedElement
from grannfield.foreign import CalculatorField, CalculatorNotMade, calculator_field, fingerprint
from grannfield.graph import collate
from grannfield.md.simulate import Protocol, simulate
from grannfield.neighbors import neighbor_graph
from grannfield.plugin import find_calculator, identity, open_model, with_kin
from grannfield.report.results import read_results

LJ = "ase.calculators.lj:LennardJones(sigma=2.2, epsilon=0.05, rc=4.0, smooth=True)"
MODULE = '''
import pathlib
import torch
from ase.calculators.calculator import Calculator, all_changes

class Springs(Calculator):
    """Atoms tied to the origin by a network of one weight."""
    implemented_properties = ["energy", "forces"]
    def __init__(self, weights="", device="cpu", dtype="float32", bad="", type_map=None):
        super().__init__()
        self.models = [torch.nn.Linear(1, 1, bias=False).to(getattr(torch, dtype))]
        torch.nn.init.constant_(self.models[0].weight, 0.5 if not weights else float(pathlib.Path(weights).read_text()))
        self.bad, self.calls = bad, 0
        if type_map:
            self.type_map = type_map
        if bad == "default":
            torch.set_default_dtype(torch.float64)
    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.bad == "default":
            assert torch.zeros(1).dtype == torch.float64
        if self.bad == "raises":
            raise RuntimeError("out of luck")
        k, x = self.models[0].weight.item(), self.atoms.positions
        forces = -k * x
        if self.bad == "nan" and self.calls > 20:
            forces = forces * float("nan")
        self.results = {"energy": 0.5 * k * (x**2).sum(), "forces": forces[:1] if self.bad == "short" else forces}
'''


@pytest.fixture
def springs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one module that makes calculators."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "springs_", raising=False)
    path = tmp_path / "springs_.py"
    path.write_text(MODULE)
    return path


def crystal(seed: int = 0, n: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    cell = np.array([[5.0, 0.2, 0.0], [0.4, 5.5, 0.1], [0.0, 0.3, 6.0]])
    grid = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.25, 0.25, 0.25]])[:n]
    return np.full(n, 18), (grid + 0.03 * random.standard_normal((n, 3))) @ cell, cell


def of(field: CalculatorField) -> str:
    """Identity as the suite takes it."""
    return identity(open_model(find_calculator(field.spec)), find_calculator(field.spec))


def test_the_numbers_are_the_calculators_own() -> None:
    """A batch of two crystals, positions outside the cell included, against ASE asked directly."""
    from ase import Atoms
    from ase.calculators.lj import LennardJones

    field = calculator_field(LJ)
    structures = [crystal(0), crystal(1, n=4)]
    structures[1][1][0] += 3 * structures[1][2][0]
    prediction = field.predict(collate([neighbor_graph(*s, field.cutoff) for s in structures]), stress=True)
    start = 0
    for b, (z, pos, cell) in enumerate(structures):
        atoms = Atoms(z, pos, cell=cell, pbc=True, calculator=LennardJones(sigma=2.2, epsilon=0.05, rc=4.0, smooth=True))
        assert float(prediction.energy[b]) == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(prediction.forces[start : start + len(z)], atoms.get_forces(), atol=1e-12)
        assert prediction.stress is not None
        np.testing.assert_allclose(prediction.stress[b], atoms.get_stress(voigt=False), atol=1e-12)
        start += len(z)
    assert prediction.forces.abs().max() > 1e-3 and field.precision == "float64" and field.n_parameters == 0
    with pytest.raises(ValueError, match="cannot be trained"):
        field.predict(neighbor_graph(*structures[0], field.cutoff), create_graph=True)


def test_motion_is_that_of_the_same_potential_and_replicas_go_one_after_the_other() -> None:
    z, pos, cell = crystal()
    protocol = Protocol(100.0, length=20.0, ramp=0.0, interval=10.0)
    together = simulate(calculator_field(LJ), z, pos, cell, protocol, [1, 2])
    alone = simulate(calculator_field(LJ), z, pos, cell, protocol, [2])[0]
    assert alone.trajectory is not None and together[1].trajectory is not None
    np.testing.assert_array_equal(alone.trajectory.pos, together[1].trajectory.pos)


def test_nan_is_a_failure_of_the_run_and_an_exception_comes_through(springs: Path, tmp_path: Path) -> None:
    protocol = Protocol(100.0, length=100.0, ramp=0.0, interval=10.0)
    (tmp_path / "weak").write_text("1e-4")
    run = simulate(calculator_field(f"springs_:Springs({str(tmp_path / 'weak')!r}, bad='nan')"), *crystal(), protocol, [0])[0]
    assert run.failure is not None and run.failure.cause == "non-finite" and 30 <= run.failure.time <= 50
    with pytest.raises(RuntimeError, match="out of luck"):
        simulate(calculator_field("springs_:Springs(bad='raises')"), *crystal(), protocol, [0])
    with pytest.raises(ValueError, match=r"gives forces \(1, 3\) for 5 atoms"):
        simulate(calculator_field("springs_:Springs(bad='short')"), *crystal(), protocol, [0])


def test_an_unknown_element_is_named() -> None:
    field = calculator_field("ase.calculators.emt:EMT()")
    _, pos, cell = crystal()
    with pytest.raises(UnsupportedElement, match=r"EMT does not know Li, Ge \(No EMT-potential for Li\)"):
        field.predict(neighbor_graph(np.array([3, 29, 32, 29, 29]), pos, cell, field.cutoff))
    assert torch.isfinite(field.predict(neighbor_graph(np.full(5, 29), pos, cell, field.cutoff)).forces).all()


def test_a_table_of_elements_is_read(springs: Path) -> None:
    field = calculator_field("springs_:Springs(type_map={3: 0, 16: 1})")
    assert field.elements == (3, 16)
    field.require_elements([3, 16])
    with pytest.raises(UnsupportedElement, match="Springs does not know Ge; it knows Li, S"):
        field.require_elements([3, 32])


def test_identity_follows_weights_arguments_and_code(springs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = of(calculator_field("springs_:Springs()"))
    assert of(calculator_field("springs_:Springs( )")) == of(calculator_field("springs_:Springs(device='cpu')")) == first
    assert of(calculator_field("springs_:Springs(dtype='float64')")) != first
    file = tmp_path / "weights.txt"
    file.write_text("0.25")
    heavy = of(calculator_field(f"springs_:Springs({str(file)!r})"))
    file.write_text("0.26")
    assert len({first, heavy, of(calculator_field(f"springs_:Springs({str(file)!r})"))}) == 3
    springs.write_text(MODULE.replace("forces = -k * x", "forces = -1.0 * k * x"))
    monkeypatch.delitem(sys.modules, "springs_")
    assert of(calculator_field("springs_:Springs()")) != first
    field = calculator_field("springs_:Springs()")
    assert field.n_parameters == 1 and field.precision == "float32" and field.computes_on == "cpu"
    assert fingerprint(field.networks[0]) == fingerprint(torch.nn.Linear(1, 1, bias=False).requires_grad_(False).apply(_half))


def _half(network: torch.nn.Module) -> None:
    torch.nn.init.constant_(network.get_parameter("weight"), 0.5)


def test_another_packages_default_type_does_not_leak(springs: Path) -> None:
    field = calculator_field("springs_:Springs(bad='default')")
    assert torch.get_default_dtype() == torch.float32
    field.predict(neighbor_graph(*crystal(), field.cutoff))
    assert torch.get_default_dtype() == torch.float32


def test_low_precision_is_refused_with_the_cure(springs: Path) -> None:
    with pytest.raises(ValueError, match=r"computes in torch\.bfloat16; ask its factory for float32 or float64"):
        _ = calculator_field("springs_:Springs(dtype='bfloat16')").precision


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("springs_:Springs(weights='gone.txt')", r"FileNotFoundError: .*gone\.txt"),
        ("math:floor(2.5)", "made a int, which is not an ASE calculator"),
        ("tests.contract.calculators:EnergyOnly()", "has no forces; it offers energy"),
    ],
)
def test_what_makes_no_calculator_says_why(springs: Path, spec: str, message: str) -> None:
    with pytest.raises(CalculatorNotMade, match=message) as caught:
        calculator_field(spec)
    assert repr(spec) in str(caught.value)


def test_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CalculatorNotMade, match="no package called nowhere is installed"):
        find_calculator("nowhere.at.all:Thing()")
    monkeypatch.setattr(Call, "require_installed", lambda self: None)
    for text, label in {
        'sevenn.calculator:SevenNetCalculator("7net-l3i5", device="cpu")': "SevenNet-l3i5",
        "sevenn.calculator:SevenNetCalculator()": "SevenNet-0",
        "chgnet.model.dynamics:CHGNetCalculator(use_device='cpu')": "CHGNet-0.3.0",
        LJ: "LennardJones-2.2-0.05-4.0-True",
        f"my lj = {LJ}": "my lj",
    }.items():
        named = find_calculator(text)
        assert (named.label, named.kind, named.path) == (label, "calculator", None)


def test_declared_kin_goes_to_its_model() -> None:
    models = [find_calculator(f"a={LJ}"), find_calculator(f"b={LJ}")]
    assert [m.kin for m in with_kin(models, ["b=MPtrj, OMat24"])] == [(), ("MPtrj", "OMat24")]
    for wrong, message in {
        "c=MPtrj": "no model is called 'c'; there are a, b",
        "b": "write LABEL=SETS",
        "b=": "write LABEL",
    }.items():
        with pytest.raises(LookupError, match=message):
            with_kin(models, [wrong])


@pytest.mark.filterwarnings("default")  # of another package
def test_sevennet_on_dft_frames_as_ase_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported frames, scored by the suite, against a loop over the files as they were downloaded: equal to 1 meV/Å."""
    repository = Path(__file__).parents[1]
    source = repository.parent / "shared" / "dft" / "LiGePS-init.system"
    made = pytest.importorskip("sevenn.calculator")
    if not source.is_dir():
        pytest.skip(f"there is no {source}")
    from ase import Atoms

    from grannfield.cli import main
    from grannfield.data.dataset import spread_indices

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    species = ["--species", "Li,Ge,P,S", "--kind", "aimd", "--maker", "PBE"]
    assert main(["data", "import", str(source), "--material", "LGPS", "--name", "dft", *species]) == 0
    spec = "sevenn.calculator:SevenNetCalculator('7net-0', device='cpu')"
    command = [sys.executable, "-m", "pytest", "benchmarks/test_forces.py", "-q", "-p", "no:cacheprovider", "-k", "force_mae"]
    options = ["--reports", str(tmp_path), "--reference", "dft", "--material", "LGPS", "--calculator", spec]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=600, check=False, cwd=repository)
    assert done.returncode == 0, done.stdout
    (cell,) = (score.to_dict() for score in read_results(tmp_path / "results" / "SevenNet-0.json").scores.values())

    z = np.array([3, 32, 15, 16])[np.loadtxt(source / "type.raw", dtype=int)]
    pos, cells, forces = (np.load(source / "set.000" / f"{name}.npy") for name in ("coord", "box", "force"))
    errors, calculator = [], made.SevenNetCalculator("7net-0", device="cpu")
    for frame in spread_indices(len(pos), cell["n"], 0):
        atoms = Atoms(z, pos[frame].reshape(-1, 3), cell=cells[frame].reshape(3, 3), pbc=True, calculator=calculator)
        errors.append(np.abs(atoms.get_forces() - forces[frame].reshape(-1, 3)).mean())
    assert cell["value"] == pytest.approx(1e3 * np.mean(errors), abs=0.1) and 20 < cell["value"] < 60
    assert cell["parts"]["frames"].startswith("unordered frames") and cell["provenance"]["kinship"] == ""


def test_md_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from grannfield.cli import main
    from grannfield.data.store import read_attributes, read_trajectory

    out = tmp_path / "run.h5"
    short = ["--material", "Li3PS4", "--ps", "0.02", "--ramp-ps", "0", "--interval", "10", "--out", str(out)]
    assert main(["md", "--calculator", LJ, *short]) == 0
    assert read_trajectory(out).n_frames >= 1 and read_attributes(out)["calculator"] == LJ
    assert main(["md", "--calculator", LJ, "--precision", "float64", *short]) == 2
    assert "a calculator takes its precision and device in its own arguments" in capsys.readouterr().err
    assert main(["md", "--calculator", "nowhere:Thing()", *short]) == 2
    assert "no package called nowhere is installed" in capsys.readouterr().err
