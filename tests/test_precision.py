"""Precision: TF32 by hand to the bit, float32 whatever the process allows, geometry never below it."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from grannfield import precision, provenance
from grannfield.cli import main
from grannfield.data.store import read_attributes
from grannfield.forcefield import ForceField, Prediction, create, load, save, to_precision, weights_hash
from grannfield.graph import AtomGraph
from grannfield.neighbors import neighbor_graph
from grannfield.precision import geometric_product, labelled, matrix_products, rounded
from grannfield.report.results import read_results
from grannfield.testing import LennardJones

MATMUL = torch.backends.cuda.matmul
REPOSITORY = Path(__file__).parents[1]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SIZES = {"hidden_channels": 16, "num_filters": 16, "num_interactions": 2, "num_gaussians": 8, "cutoff": 4.0}


class Geometric(LennardJones):
    """A network of one weight, which meets no matrix product: all of it is geometry."""

    def __init__(self) -> None:
        super().__init__(epsilon=0.05, sigma=2.0, cutoff=5.0, switch=4.0)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) * self.weight


class Fails(Geometric):
    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        raise KeyError("in the middle")


def network(seed: int = 0) -> ForceField:
    torch.manual_seed(seed)
    return create("schnet", **SIZES).eval()


def graph(cutoff: float = 4.0) -> AtomGraph:
    rng = np.random.default_rng(0)
    cell = np.array([[6.0, 0.3, 0.1], [0.2, 6.5, 0.0], [0.7, 0.1, 7.0]])
    return neighbor_graph(rng.choice([3, 16], 8), rng.uniform(0, 6, (8, 3)), cell, cutoff)


def same(a: Prediction, b: Prediction) -> bool:
    names = ("energy", "forces", "stress", "atomic_energies")
    return all(getattr(a, key) is None or torch.equal(getattr(a, key), getattr(b, key)) for key in names)


@pytest.fixture
def switches() -> Iterator[None]:
    """Torch's switches put back after a test that turns them."""
    yield
    torch.set_float32_matmul_precision("highest")
    for switch in (MATMUL, torch.backends.mkldnn.matmul):
        switch.fp32_precision = "none"


def by_definition(x: float) -> float:
    """The nearest number with 11 significant bits, the even one of two; exponents as far as float32 has them."""
    if not math.isfinite(x) or x == 0:
        return x
    mantissa, exponent = math.frexp(x)
    bits = min(11, 11 + exponent + 125)  # fewer below the smallest normal number
    nearest = math.ldexp(round(math.ldexp(mantissa, bits)), exponent - bits)
    return math.copysign(math.inf, x) if abs(nearest) >= 2.0**128 else nearest


def test_rounding_is_tf32_to_the_bit() -> None:
    patterns = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32)
    ties = (patterns[:2000] & np.uint32(0xFFFFE000)) | np.uint32(0x1000)
    edges = np.array([0, 0x80000000, 1, 0x807FFFFF, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x00800000], np.uint32)
    x = torch.from_numpy(np.concatenate([patterns, ties, edges]).view(np.float32))
    found = rounded(x)
    for value, nearest in zip(x.tolist(), found.tolist(), strict=True):
        assert nearest == by_definition(value) or (math.isnan(value) and math.isnan(nearest)), value
    assert torch.equal(torch.signbit(found), torch.signbit(x))
    number = ~x.isnan()
    assert torch.equal(rounded(found)[number], found[number])
    gaps = x.view(-1, 1)[::3].t()
    assert torch.equal(rounded(gaps)[~gaps.isnan()], found[::3][number[::3]])
    assert torch.equal(rounded(torch.tensor([1.3]), bits=3), torch.tensor([1.25]))


def test_products_of_all_passes_are_rounded_and_add_up_in_float32() -> None:
    """linear, its derivative, and the derivative of that, against the same steps with operands rounded by hand."""
    torch.manual_seed(0)
    r = rounded
    x, w, b = torch.randn(7, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True), torch.randn(3, requires_grad=True)
    g, h = torch.randn(7, 3, requires_grad=True), torch.randn(7, 5)
    with matrix_products("tf32", "cpu"):
        y = nn.functional.linear(x, w, b)
        by_x, by_w = torch.autograd.grad(y, (x, w), g, create_graph=True)
        by_x_and_w, by_x_and_g = torch.autograd.grad(by_x, (w, g), h)
    assert torch.equal(y, torch.addmm(b, r(x), r(w).t())) and not torch.equal(y, nn.functional.linear(x, w, b))
    assert torch.equal(by_x, torch.mm(r(g), r(w)))
    torch.testing.assert_close(by_w, torch.mm(r(g).t(), r(x)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(by_x_and_w, torch.mm(r(g).t(), r(h)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(by_x_and_g, torch.mm(r(h), r(w).t()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("inference", [False, True])
def test_every_kind_of_float32_product_is_rounded_and_nothing_else(inference: bool) -> None:
    torch.manual_seed(0)
    a, b, c = torch.randn(4, 6, 5), torch.randn(4, 5, 3), torch.randn(4, 6, 3)
    products = [
        lambda a, b, c: a @ b,
        lambda a, b, c: torch.bmm(a, b),
        lambda a, b, c: torch.baddbmm(c, a, b),
        lambda a, b, c: torch.einsum("nij,njk->nik", a, b),
        lambda a, b, c: torch.addmm(c[0], a[0], b[0]),
        lambda a, b, c: c[0].clone().addmm_(a[0], b[0]),
        lambda a, b, c: nn.functional.linear(a, b[0].t()),
        lambda a, b, c: torch.matmul(a, b[0]),
        lambda a, b, c: torch.einsum("nij,jk->nik", a, b[0]),
    ]
    with torch.inference_mode(inference):
        for number, product in enumerate(products):
            with matrix_products("tf32", "cpu"):
                found, double, split = product(a, b, c), product(a.double(), b.double(), c.double()), a * c[..., :1]
            assert torch.equal(found, product(rounded(a), rounded(b), c)), number
            assert not torch.equal(found, product(a, b, c)), number
            assert torch.equal(double, product(a.double(), b.double(), c.double())), number
            assert torch.equal(split, a * c[..., :1])


def test_what_is_said_once_is_said(caplog: pytest.LogCaptureFixture) -> None:
    precision._require_tf32.cache_clear()
    for _ in range(3):
        to_precision(network(), "tf32").predict(graph())
    assert [record.getMessage() for record in caplog.records] == [
        "TF32 on a processor is emulated: products are rounded, at no gain in speed"
    ]


def test_a_prediction_in_tf32_is_near_and_not_the_same() -> None:
    exact, single, coarse = (to_precision(network(), name).predict(graph()) for name in ("float64", "float32", "tf32"))
    size = exact.forces.abs().max()
    single_error, coarse_error = ((p.forces.double() - exact.forces).abs().max() / size for p in (single, coarse))
    assert single_error < 1e-5 and 2e-5 < coarse_error < 1e-2
    again = to_precision(network(), "tf32").predict(graph())
    assert same(coarse, again)  # bit for bit


def test_float64_is_double_all_the_way_and_energies_always_add_up_in_double() -> None:
    for name, dtype in precision.NETWORK.items():
        field = to_precision(network(), name)
        field.scale.shift.fill_(1e7)
        found = field.predict(graph(), stress=True)
        assert field.precision == name and field.dtype == found.forces.dtype == dtype, name
        assert found.energy.dtype == torch.float64 and found.atomic_energies is not None
        assert float(found.energy[0]) == float(found.atomic_energies.double().sum()), name
        field.scale.shift.fill_(0.0)
        without = float(field.predict(graph()).energy[0])  # float32 could not tell: one unit of 8e7 is 8
        assert float(found.energy[0]) - 8e7 == pytest.approx(without, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_geometry_and_stress_in_tf32_are_those_of_float32(dtype: torch.dtype) -> None:
    """Also where positions came in single precision, so that lattice vectors are added by a float32 product."""
    g = graph(5.0)
    g = AtomGraph(**{**vars(g), "pos": g.pos.to(dtype), "cell": g.cell.to(dtype), "shift": g.shift.to(dtype)})
    one, two = (to_precision(Geometric(), name).predict(g, stress=True) for name in ("float32", "tf32"))
    assert one.forces.dtype == torch.float32 and one.forces.abs().max() > 0.1 and same(one, two)
    with matrix_products("tf32", "cpu"):  # nor does a scope around a prediction lower one that was asked for in float32
        assert same(to_precision(Geometric(), "float32").predict(g, stress=True), one)
        assert same(to_precision(network(), "float32").predict(graph()), network().predict(graph()))


def test_products_of_geometry_are_never_below_float32() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4, 6, 3, requires_grad=True), torch.randn(4, 3, 5)
    plain = a @ b
    assert torch.equal(geometric_product(a, b), plain)
    with matrix_products("tf32", "cpu"):
        found, lowered = geometric_product(a, b), a @ b
        (slope,) = torch.autograd.grad(found.sum(), a)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(slope, torch.autograd.grad(plain.sum(), a)[0], rtol=1e-6, atol=1e-6)
    assert (lowered - plain).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["float32", "float64", "tf32"])
def test_what_a_process_allows_changes_no_prediction_and_stays_allowed(name: str, switches: None) -> None:
    field = to_precision(network(), name)
    before = field.predict(graph())
    torch.set_float32_matmul_precision("medium")  # TF32 on GPUs, bfloat16 on processors
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert same(field.predict(graph()), before)
        assert torch.is_autocast_enabled("cpu")
    assert same(field.predict(graph()), before)
    assert torch.get_float32_matmul_precision() == "medium" and torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    with pytest.raises(KeyError, match="in the middle"):
        to_precision(Fails(), name).predict(graph(5.0))
    assert torch.get_float32_matmul_precision() == "medium" and torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    ones = torch.full((2, 2), 1 + 2.0**-12)
    assert torch.equal(ones @ torch.eye(2), ones)  # nothing rounds any more


@pytest.mark.parametrize("allow", ["allow_tf32", "fp32_precision", ""])
def test_the_switches_of_a_gpu_are_held_for_a_while(allow: str, switches: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """They can be turned without one. By either of torch's two ways, and back to where they were."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    precision._require_tf32.cache_clear()
    if allow:
        setattr(MATMUL, allow, True if allow == "allow_tf32" else "tf32")
    others = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    found = [switch.fp32_precision for switch in (MATMUL, *others)]
    assert (found[0] == "tf32") == bool(allow)
    with matrix_products("float32", "cuda"):
        assert all(switch.fp32_precision in ("ieee", "none") for switch in (MATMUL, *others))
        with matrix_products("tf32", "cuda:0"):
            assert all(switch.fp32_precision == "tf32" for switch in (MATMUL, *others))
            with matrix_products("float64", "cuda"):
                assert all(switch.fp32_precision in ("ieee", "none") for switch in (MATMUL, *others))
            assert all(switch.fp32_precision == "tf32" for switch in (MATMUL, *others))
        assert all(switch.fp32_precision in ("ieee", "none") for switch in (MATMUL, *others))
    assert [switch.fp32_precision for switch in (MATMUL, *others)] == found
    if allow == "allow_tf32":
        assert MATMUL.allow_tf32 is True
    precision._require_tf32.cache_clear()


def test_where_there_is_no_tf32_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    precision._require_tf32.cache_clear()
    with pytest.raises(ValueError, match="a card has no TF32"), matrix_products("tf32", "cuda"):
        pass
    with pytest.raises(ValueError, match="no TF32 on a device of the kind meta"), matrix_products("tf32", "meta"):
        pass
    assert MATMUL.fp32_precision == "none" and not precision._now.tf32
    precision._require_tf32.cache_clear()


def test_a_precision_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no precision is called 'fp16'; there are float32, tf32, float64"):
        to_precision(network(), "fp16")
    with pytest.raises(ValueError, match="geometry is never below float32"):
        to_precision(network(), torch.bfloat16)
    with pytest.raises(ValueError, match=r"a network in torch.float16: geometry is never below float32"):
        network().half().predict(graph())
    with pytest.raises(ValueError, match="no precision is called 'TF32'"), matrix_products("TF32", "cpu"):
        pass
    with pytest.raises(ValueError, match="LennardJones has no weights: it computes in float64, not in tf32"):
        to_precision(LennardJones(), "tf32")
    assert to_precision(LennardJones(), torch.float32).precision == to_precision(LennardJones(), "float64").precision == "float64"


def test_a_field_carries_its_precision_and_a_checkpoint_does_not(tmp_path: Path) -> None:
    field = to_precision(network(), "tf32")
    assert copy.deepcopy(field).precision == "tf32" and weights_hash(field) != weights_hash(network())
    save(field, tmp_path / "field.safetensors")
    again = load(tmp_path / "field.safetensors")
    assert again.precision == "float32" and weights_hash(again) == weights_hash(network())
    assert same(again.predict(graph()), network().predict(graph()))
    assert to_precision(field, "float64").precision == "float64" and to_precision(field, "float32").precision == "float32"
    assert to_precision(to_precision(field, "tf32"), None).precision == "tf32"


def test_results_say_in_which_precision_they_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert labelled("tf32", "cpu") == "tf32 (emulated)" and labelled("tf32", "cuda:1") == "tf32"
    assert provenance.stamp("cpu", "float64")["precision"] == "float64" and "precision" not in provenance.stamp("cpu")
    monkeypatch.chdir(tmp_path)
    save(network(), tmp_path / "field.safetensors")
    run = ["md", "--model", "field.safetensors", "--material", "Li3PS4", "--ps", "0.004", "--ramp-ps", "0", "--interval", "2"]
    for name, label in (("tf32", "tf32 (emulated)"), ("float64", "float64"), ("", "float32")):
        out = tmp_path / f"{name}.h5"
        assert main([*run, "--out", str(out), *(["--precision", name] if name else [])]) == 0
        assert read_attributes(out)["precision"] == label


@pytest.mark.parametrize(
    "command",
    [["md", "--model", "schnet", "--precision", "half"], ["train", "schnet", "--precision", "half"],
     ["check", "schnet", "--precision", "half"]],
)  # fmt: skip
def test_a_wrong_precision_on_the_command_line_is_one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    assert capsys.readouterr().err == "grannfield: no precision is called 'half'; there are float32, tf32, float64\n"


TOY = """
import torch
from grannfield.forcefield import ForceField

class Toy(ForceField):
    def __init__(self):
        super().__init__(cutoff=3.0)
        self.weight = torch.nn.Parameter(torch.ones(1, 1))

    def forward(self, z, graph, edge_vec):
        d = torch.linalg.vector_norm(edge_vec, dim=-1, keepdim=True)
        return (((3.0 - d).clamp(min=0).square() @ self.weight).squeeze(-1) * graph.mask).sum(1)
"""


def suite(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    """The benchmark of forces for a toy model in a precision, in a process of its own."""
    (folder / "toys.py").write_text(TOY)
    chosen = ["--model", f"{folder / 'toys.py'}:Toy", "--material", "Li3PS4", "-k", "force_r2", "--precision", name]
    command = [sys.executable, "-m", "pytest", str(REPOSITORY / "benchmarks"), "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "--reports", str(folder), *chosen], capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY
    )


def test_the_suite_keeps_results_of_a_precision_apart(tmp_path: Path) -> None:
    done = suite(tmp_path, "tf32")
    assert done.returncode == 0, done.stdout
    (path,) = (tmp_path / "results").glob("*.json")
    found = read_results(path)
    assert found.label == "Toy tf32 (emulated)" and found.model["precision"] == "tf32 (emulated)"
    assert found.scores and all(score.provenance["precision"] == "tf32 (emulated)" for score in found.scores.values())
    wrong = suite(tmp_path, "half")
    assert wrong.returncode != 0 and "no precision is called 'half'" in wrong.stdout + wrong.stderr


@GPU
@pytest.mark.parametrize("name", ["float32", "tf32"])
def test_a_captured_prediction_keeps_its_precision(name: str, switches: None) -> None:
    field, g = to_precision(network(), name).to("cuda"), graph().to("cuda")
    eager = field.predict(g)
    torch.cuda.synchronize()
    recorder = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorder):
        captured = field.predict(g)
    recorder.replay()
    assert same(captured, eager)


@GPU
def test_a_gpu_obeys(switches: None) -> None:
    g = graph().to("cuda")
    exact, single, coarse = (to_precision(network(), name).to("cuda").predict(g) for name in ("float64", "float32", "tf32"))
    MATMUL.allow_tf32 = True
    assert same(to_precision(network(), "float32").to("cuda").predict(g), single)
    size = exact.forces.abs().max()
    assert (single.forces - exact.forces).abs().max() < 1e-5 * size < (coarse.forces - exact.forces).abs().max()
