"""Recorded and compiled functions against the functions themselves, and every way in which a record could go stale."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield import compiled as module
from grannfield.compiled import Recorded, changed, chosen, compiled, loss_gradients
from grannfield.forcefield import ForceField, registered, to_precision
from grannfield.graph import AtomGraph
from grannfield.graphset import GraphSet
from grannfield.precision import matrix_products
from grannfield.recording import Untraceable, recorded_operations
from grannfield.testing import LennardJones
from tests.models.small import small

CUTOFF = 4.0
CELL = np.diag([6.0, 5.5, 5.0])


def frames(n: int = 6, m: int = 4, seed: int = 0) -> GraphSet:
    """m frames of n atoms of three elements, random labels."""
    rng = np.random.default_rng(seed)
    ideal = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)[:n] / 3
    pos = (ideal + rng.uniform(-0.05, 0.05, (m, n, 3))) @ CELL
    z = np.array([3, 15, 16])[np.arange(n) % 3]
    return GraphSet.build(z, pos, np.broadcast_to(CELL, (m, 3, 3)), CUTOFF, rng.normal(size=m), rng.normal(size=(m, n, 3)))


FRAMES = frames()
ONE, OTHER = FRAMES.batch(slice(0, 2)), FRAMES.batch(slice(2, 4))


def field_of(name: str = "schnet", dtype: torch.dtype = torch.float64, **settings: Any) -> ForceField:
    return small(name, dtype=dtype, cutoff=CUTOFF, **settings)


def assert_same(predict: Callable[[AtomGraph], Any], field: ForceField, graph: AtomGraph, rtol: float = 0.0) -> None:
    """The callable gives what the field says of a graph, whose forces are not all zero."""
    found, wanted = predict(graph), field.predict(graph)
    assert wanted.forces.abs().max() > 1e-6
    for name in ("energy", "forces", "atomic_energies"):
        x, y = getattr(found, name), getattr(wanted, name)
        assert x.dtype == y.dtype and not x.requires_grad
        torch.testing.assert_close(x, y, rtol=rtol, atol=rtol * float(y.abs().max()))


def gradients(field: ForceField, mode: Any = "trace", backend: str = "inductor") -> Recorded:
    return Recorded(field, loss_gradients, "training", mode, backend)


@pytest.fixture(autouse=True)
def _own_folder_of_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What the package says."""
    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("grannfield")
    logger.addHandler(listener)
    yield said
    logger.removeHandler(listener)


@pytest.mark.parametrize("name", list(registered()))
def test_every_model_recorded_is_the_model_to_the_bit(name: str, log: list[str]) -> None:
    """Recorded on two frames, asked of two others: energies, forces, gradients of the loss, and statistics of batches."""
    field = field_of(name, torch.float32)
    assert_same(compiled(field, ONE, mode="trace"), field, OTHER)
    field.train(name != "equiformer")  # its dropout cannot be recorded
    record, start = gradients(field), {key: x.clone() for key, x in field.state_dict().items()}
    record(ONE)
    results = []
    for call in (record, lambda graph: loss_gradients(field, graph)):
        field.load_state_dict(start)
        results.append([*call(OTHER), *field.state_dict().values()])
    assert any(x is not None and x.abs().max() > 0 for x in results[1][1:])
    for x, y in zip(*results, strict=True):
        assert (x is None) == (y is None)
        assert x is None or torch.equal(x.nan_to_num(), y.nan_to_num())
    assert log == []


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_functions_follow_their_inputs(backend: str, log: list[str]) -> None:
    field = field_of(num_interactions=1).train()
    predict, record = compiled(field, ONE, mode="on", backend=backend), gradients(field, "on", backend)
    record(ONE)
    for graph in (ONE, OTHER, changed(OTHER), replace(ONE, z=ONE.z.roll(1)), replace(ONE, cell=ONE.cell * 1.01)):
        assert_same(predict, field, graph, rtol=1e-12)
        for x, y in zip(record(graph), loss_gradients(field, graph), strict=True):
            assert x is not None and y is not None
            torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10 * float(y.abs().max()))
    assert len(record.runners) == 1 and log == []


def test_nothing_is_left_to_differentiate() -> None:
    """Compilers that trace autograd themselves, and give away buffers of a backward pass, find none of either."""
    field = field_of("schnet", num_interactions=1)
    with torch._dynamo.config.patch(trace_autograd_ops=True), torch._functorch.config.patch(donated_buffer=True):
        record = gradients(field, "on", "aot_eager")
        first, again = record(OTHER), record(OTHER)
    assert not record.given_up and all(torch.equal(x, y) for x, y in zip(first, again, strict=True))  # type: ignore[arg-type]
    assert not any(x is not None and x.requires_grad for x in first)


def test_batches_whose_size_is_that_of_a_layer_stay_general() -> None:
    """16 atoms in a layer 16 wide, one structure and three: no size is taken for another (duck shapes, batches of one)."""
    field = field_of("schnet", hidden_channels=16, num_filters=16)
    sixteen = frames(16, 3)
    predict = compiled(field, sixteen.batch(slice(0, 1)), mode="on", backend="eager")
    for graph in (sixteen.batch(slice(1, 2)), sixteen.batch(slice(0, 3)), frames(8, 2).batch(slice(0, 2)), OTHER):
        assert_same(predict, field, graph, rtol=1e-12)


def test_the_number_of_records_is_bounded(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    monkeypatch.setattr(module, "LIMIT", 2)
    field = field_of()
    predict = compiled(field, ONE, mode="trace")
    for n in (1, 2, 3, 4):
        assert_same(predict, field, FRAMES.batch(slice(0, n)))
    assert len(log) == 1 and "more than 2 kinds of graph" in log[0]


def test_new_weights_take_effect() -> None:
    """In place, from a file, as another parameter, and in buffers; in another precision and another mode."""
    field = field_of("cgcnn")
    predict = compiled(field, ONE, mode="trace")
    with torch.no_grad():
        for p in field.parameters():
            p.mul_(1.1)
    assert_same(predict, field, ONE)
    field.load_state_dict(field_of("cgcnn", num_gaussians=8).state_dict())
    field.scale.scale.fill_(3.0)
    assert_same(predict, field, ONE)
    holder, key = next((m, k) for m in field.modules() for k, p in m._parameters.items() if p is not None and p.dim() == 2)
    setattr(holder, key, torch.nn.Parameter(getattr(holder, key).detach() * 0.7))
    assert_same(predict, field, ONE)
    assert_same(predict, to_precision(field, torch.float32), ONE)
    assert_same(predict, field.train(), ONE)
    assert_same(predict, field.eval(), OTHER)


@pytest.mark.parametrize("name", ["cgcnn", "deeper_gatgnn", "forcenet"])
def test_recording_leaves_statistics_of_batches_alone(name: str) -> None:
    field = field_of(name).train()
    before = {key: x.clone() for key, x in field.state_dict().items()}
    record = gradients(field)
    kind = record._kind(ONE)
    record.runners[kind] = record._recorded(kind, ONE)
    assert all(torch.equal(x.nan_to_num(), before[key].nan_to_num()) for key, x in field.state_dict().items())
    record(ONE)
    assert any(not torch.equal(x.nan_to_num(), before[key].nan_to_num()) for key, x in field.state_dict().items())


class Remembering(LennardJones):
    """Works something out again only when the elements are others."""

    kept: Any = None

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        if self.kept is None or not torch.equal(self.kept, z):
            self.kept = z.clone()
        return super().forward(z, graph, edge_vec) * self.kept


class Counting(LennardJones):
    """Another force field at every call."""

    calls = 0

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(z, graph, edge_vec) * self.calls


class Reading(LennardJones):
    """Asks the host what to do."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) * (2.0 if bool((z == 3).any()) else 1.0)


class Choosing(LennardJones):
    """As many numbers as there are neighbours."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) * len(graph.mask.nonzero())


class Drawing(LennardJones):
    """Rolls NumPy's dice, which no tensor operation shows."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) * np.random.default_rng().uniform(1, 2)


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Remembering, "values decide shapes, aten.equal|data-dependent|something else for other inputs"),
        (Counting, "something else for other inputs"),
        (Drawing, "something else for other inputs"),
        (Reading, "_local_scalar_dense|value out of a tracing tensor|data-dependent"),
        (Choosing, "values decide shapes, aten.nonzero"),
    ],
)
def test_what_cannot_be_recorded_runs_as_written(cls: type[LennardJones], reason: str, log: list[str]) -> None:
    """One line in the log says which model, what failed and that results are the same."""
    field = cls(sigma=2.0, cutoff=CUTOFF, switch=3.0)
    field.predict(ONE)
    predict = compiled(field, ONE, mode="trace")
    if cls in (Remembering, Reading, Choosing):
        for graph in (ONE, OTHER, replace(ONE, z=ONE.z.roll(1))):
            assert_same(predict, field, graph)
    else:
        assert not torch.equal(predict(ONE).forces, predict(ONE).forces)
    assert len(log) == 1 and log[0].startswith(f"{cls.__name__}: energy and forces could not be recorded (")
    assert log[0].endswith("it runs as written, with the same results but slower")
    assert any(part in log[0] for part in reason.split("|")), log[0]


@pytest.mark.parametrize(
    ("name", "settings"), [("equiformer", {}), ("scn", {"as_published": True}), ("escn", {"as_published": True})]
)
def test_random_layers_are_not_recorded(name: str, settings: dict[str, Any], log: list[str]) -> None:
    """Dropout and random frames would be the same at every step, or drawn otherwise than written."""
    field = field_of(name, **settings).train()
    record = gradients(field)
    torch.manual_seed(1)
    first = record(ONE)
    torch.manual_seed(1)
    again = loss_gradients(field, ONE)
    assert all(x is y is None or torch.equal(x, y) for x, y in zip(first, again, strict=True))  # type: ignore[arg-type]
    assert len(log) == 1 and "draws random numbers" in log[0] and name in log[0]


def test_it_works_from_any_grad_mode() -> None:
    field = field_of()
    with torch.inference_mode():
        predict = compiled(field, FRAMES.batch(slice(0, 2)), mode="trace")
        inside = predict(FRAMES.batch(slice(2, 4)))
    assert torch.equal(inside.forces, field.predict(OTHER).forces)
    for mode in (torch.no_grad, torch.enable_grad):
        with mode():
            assert_same(predict, field, OTHER)


class Steep(LennardJones):
    """Energies that are SiLU functions of large numbers."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.slope = torch.nn.Parameter(torch.tensor(300.0))

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        r = torch.linalg.vector_norm(edge_vec, dim=-1)
        return (torch.nn.functional.silu(self.slope * (r - 3.0)) * graph.mask).sum(dim=1)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_second_derivatives_of_silu_stay_finite(backend: str) -> None:
    """Of x sigmoid(x) where e^x overflows single precision."""
    field = Steep(cutoff=CUTOFF)
    assert (300 * (ONE.edge_vectors().norm(dim=-1)[ONE.mask] - 3)).abs().max() > 90
    found, wanted = gradients(field, "on", backend)(ONE), loss_gradients(field, ONE)
    for x, y in zip(found, wanted, strict=True):
        assert x is not None and y is not None and torch.isfinite(x).all() and float(x.abs()) > 0
        torch.testing.assert_close(x, y, rtol=1e-4, atol=0.0)


def test_precision_is_part_of_a_record(log: list[str]) -> None:
    """TF32 on a processor is emulated while the operations run, so it is not recorded; back in float32 the record serves."""
    field = field_of(dtype=torch.float32)
    assert_same(compiled(field, ONE, mode="trace"), field, OTHER)
    rounded = to_precision(field_of(dtype=torch.float32), "tf32")
    predict = compiled(rounded, ONE, mode="trace")
    assert ["TF32" in line for line in log if "recorded" in line] == [True]
    assert_same(predict, rounded, OTHER)
    assert not torch.equal(rounded.predict(OTHER).forces, field.predict(OTHER).forces)
    with matrix_products("float32", "cpu"):
        assert_same(compiled(field, ONE, mode="trace"), field, OTHER)


def test_a_compiler_that_fails_or_lies_is_not_used(log: list[str]) -> None:
    def failing(*_: Any) -> Any:
        raise RuntimeError("no compiler here\nsecond line")

    def lying(graph: Any, _: Any) -> Any:
        return lambda *inputs: [x * 1.01 if x.is_floating_point() else x for x in graph.forward(*inputs)]

    field = field_of()
    for backend, reason in ((failing, "no compiler here"), (lying, "something else for other inputs")):
        log.clear()
        assert_same(compiled(field, ONE, mode="on", backend=backend), field, OTHER)  # type: ignore[arg-type]
        assert len(log) == 1 and "could not be compiled" in log[0] and reason in log[0] and "second line" not in log[0]


def test_stress_is_recorded_as_well() -> None:
    field = field_of()
    predict = compiled(field, ONE, mode="trace", stress=True)
    found, wanted = predict(OTHER).stress, field.predict(OTHER, stress=True).stress
    assert found is not None and wanted is not None and torch.equal(found, wanted) and wanted.abs().max() > 0


def test_what_auto_means() -> None:
    assert [chosen("auto", d) for d in ("cpu", "cuda")] == ["off", "on"] and chosen("off", "cuda") == "off"
    with pytest.raises(ValueError, match="there are auto, off, trace and on"):
        chosen("fast", "cpu")  # type: ignore[arg-type]


def test_a_record_knows_what_it_is_made_of() -> None:
    """Constants made on the way are kept, detaching is left out, in-place changes of constants and inputs stay."""

    def function(x: Tensor) -> Tensor:
        outside = torch.zeros(2)
        outside[0] = torch.tensor(3.0)
        x.add_(1)
        return (x * torch.tensor([2.0, 4.0]).to(torch.float32)).detach() + outside

    record = recorded_operations(function, torch.ones(2))
    x = torch.tensor([1.0, 2.0])
    assert record(x).tolist() == [7.0, 12.0] and x.tolist() == [2.0, 3.0]
    assert record(x).tolist() == [9.0, 16.0]
    names = [str(node.target) for node in record.graph.nodes]
    assert "aten.detach.default" not in names and "aten.add_.Tensor" in names
    with pytest.raises(Untraceable, match=r"draws random numbers, aten\.rand_like"):
        recorded_operations(lambda x: torch.rand_like(x), torch.ones(2))


def test_compiled_code_is_kept_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/mine")
    module._keep_compiled_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/mine"
    for torch_has_chosen in (False, True):
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
        if torch_has_chosen:
            monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())
        module._keep_compiled_code()
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "grannfield" / "inductor")
        assert (tmp_path / "grannfield" / "inductor").is_dir()


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own making
def test_inductor(tmp_path: Path, log: list[str]) -> None:
    field = LennardJones(sigma=2.0, cutoff=CUTOFF, switch=3.0)
    assert_same(compiled(field, ONE, mode="on"), field, OTHER, rtol=1e-9)
    assert log == [] and any((tmp_path / "inductor").iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["schnet", "cgcnn", "dimenet_pp"])
def test_on_a_gpu(name: str, log: list[str]) -> None:
    field = field_of(name, torch.float32).to("cuda").train()
    one, other = ONE.to("cuda"), OTHER.to("cuda")
    assert_same(compiled(field, one), field, other, rtol=1e-4)
    record = gradients(field, "on")
    for x, y in zip(record(one), loss_gradients(field, one), strict=True):
        assert x is not None and y is not None
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-3 * float(y.abs().max()))
    assert log == []
