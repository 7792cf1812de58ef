"""Force fields as such: checkpoints, their errors, precision, scale, the registry and the Lennard-Jones stand-in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as serialise
from torch import Tensor

from grannfield import files, forcefield
from grannfield.forcefield import (
    CheckpointError,
    ForceField,
    UnsupportedElement,
    create,
    is_reduced,
    load,
    reduced_settings,
    register,
    registered,
    save,
    to_precision,
    weights_hash,
)
from grannfield.graph import AtomGraph, neighbor_values
from grannfield.neighbors import neighbor_graph
from grannfield.nn.scale import ELEMENTS, AtomicScale
from grannfield.testing import LennardJones

SIZES: dict[str, Any] = {"hidden_channels": 8, "num_filters": 8, "num_interactions": 2, "num_gaussians": 6, "cutoff": 4.0}


class Direct(ForceField):
    """Forces of its own making: a constant pull along x."""

    conservative = False

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        pull = torch.zeros(len(z), 3)
        pull[:, 0] = 1
        return torch.ones(len(z)), pull


def small(seed: int = 0) -> ForceField:
    """A small SchNet as training leaves it: with scale, shift, elements and a story."""
    torch.manual_seed(seed)
    field = create("schnet", **SIZES)
    field.scale.scale.fill_(0.7071067811865476)  # not a single-precision number
    field.scale.shift[[3, 16]] = torch.tensor([-1.9, -4.1], dtype=torch.float64)
    field.elements = (3, 16)
    field.provenance = {"seed": seed, "validation": {"force_mae": 0.125}, "recipe": "default"}
    return field.eval()


def graph(cutoff: float = 4.0) -> AtomGraph:
    rng = np.random.default_rng(0)
    return neighbor_graph(rng.choice([3, 16], 8), rng.uniform(0, 6, (8, 3)), np.diag([6.0, 6.5, 7.0]), cutoff)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_checkpoint_brings_everything_back(tmp_path: Path, dtype: torch.dtype) -> None:
    field = to_precision(small(), dtype)
    with torch.no_grad():
        field.head1.bias.fill_(1 / 3)  # in double precision not what it is in single
    path = tmp_path / "new folder" / "field.safetensors"
    save(field, path)
    again = load(path)
    assert again is not field and type(again) is type(field) and not again.training
    assert again.settings == field.settings == {**SIZES, "as_published": False}
    assert again.elements == (3, 16) and again.provenance == field.provenance and again.name == "schnet"
    assert again.dtype == dtype and again.cutoff == 4.0
    for key, tensor in field.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor) and again.state_dict()[key].dtype == tensor.dtype, key
    one, two = field.predict(graph(), stress=True), again.predict(graph(), stress=True)
    for key in ("energy", "forces", "stress", "atomic_energies"):
        assert torch.equal(getattr(one, key), getattr(two, key)), key
    assert weights_hash(again) == weights_hash(field)


def test_load_in_another_precision_keeps_scale_and_shift_double(tmp_path: Path) -> None:
    save(small(), tmp_path / "field.safetensors")
    field = load(tmp_path / "field.safetensors", dtype=torch.float64)
    assert field.dtype == torch.float64
    single = small().predict(graph()).energy
    torch.testing.assert_close(field.predict(graph()).energy, single, rtol=1e-6, atol=1e-6)
    for dtype in (torch.float32, torch.float64):
        for key, tensor in to_precision(field, dtype).scale.state_dict().items():
            assert tensor.dtype == torch.float64 and torch.equal(tensor, small().scale.state_dict()[key]), key
        assert field.dtype == dtype


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "field.safetensors"
    save(small(1), path)
    before = path.read_bytes()
    for step in ("fsync", "replace"):

        def fails(*args: object) -> None:
            raise OSError("no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(files.os, step, fails)
            with pytest.raises(OSError, match="no space"):
                save(small(2), path)
        assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]
    save(small(2), path)
    assert path.read_bytes() != before


def written(path: Path, header: Any, **tensors: Tensor) -> Path:
    state = {**small().state_dict(), **tensors}
    path.write_bytes(serialise(state, metadata=None if header is None else {"grannfield": header}))
    return path


def header(**changes: Any) -> str:
    return json.dumps({"format": 1, "model": "schnet", "settings": SIZES, "elements": None, "provenance": {}, **changes})


def test_the_headers_of_these_tests_are_good(tmp_path: Path) -> None:
    assert torch.equal(load(written(tmp_path / "good", header())).head0.weight, small().head0.weight)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not say which GraNNField model"),
        ("[1, 2]", "does not say which GraNNField model"),
        ('{"model": "schnet"}', "does not say which GraNNField model"),
        ("{not json", "cannot be read"),
        (header(format=99), r"has format 99; this version reads up to \d+: upgrade grannfield"),
        (header(model="alchemy"), "no model is called 'alchemy'; there are .*schnet"),
        (header(settings={**SIZES, "colour": 1}), "schnet has no setting colour; it has hidden_channels, .*cutoff"),
        (header(settings={**SIZES, "hidden_channels": 12}), "(?s)does not fit schnet .*size mismatch"),
        (header(settings={**SIZES, "num_interactions": 3}), "(?s)does not fit schnet .*Missing key"),
    ],
)
def test_unusable_headers_are_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = written(tmp_path / "strange.safetensors", text)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path)
    assert "strange.safetensors" in str(caught.value)


def test_wrong_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"head1\.weight"):
        load(written(tmp_path / "bad.safetensors", header(), **{"head1.weight": torch.zeros(1, 5)}))


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*gone\.safetensors"):
        load(tmp_path / "gone.safetensors")
    save(small(), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    for name, content in {"empty": b"", "cut": whole[:-100], "head": whole[:40], "text": b"not weights at all\n" * 9}.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{name}\.safetensors cannot be read"):
            load(path)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_is_refused_without_being_run(tmp_path: Path, legacy: bool) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "model.pt"
    torch.save({"weights": Trap(sprung)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(path)
    assert not sprung.exists()
    torch.load(path, weights_only=False)
    assert sprung.exists(), "the trap does not work"


def test_only_registered_models_are_saved(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="LennardJones is not a registered model"):
        save(LennardJones(), tmp_path / "lj.safetensors")
    assert not list(tmp_path.iterdir())


def test_create_names_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no model is called 'shnet'; there are .*schnet"):
        create("shnet")
    with pytest.raises(ValueError, match="schnet has no setting layers, width; it has hidden_channels"):
        create("schnet", width=3, layers=2)


def test_unsupported_elements_are_named() -> None:
    with pytest.raises(UnsupportedElement, match=r"^schnet does not know O, Ge; it knows Li, S$"):
        small().require_elements(np.array([3, 32, 8, 16, 8]))
    small().require_elements(np.array([16, 3]))
    LennardJones().require_elements(np.array([1, 92]))


def test_registering_a_name_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forcefield, "_REGISTRY", dict(registered()))
    with pytest.raises(ValueError, match="two models are registered as 'schnet'"):
        register("schnet")(Direct)
    impostor = type("SchNet", (Direct,), {"__module__": "elsewhere"})
    with pytest.raises(ValueError, match="two models are registered as 'schnet'"):
        register("schnet")(impostor)
    assert registered()["schnet"] is not impostor
    assert register("direct")(Direct) is register("direct")(Direct) is registered()["direct"]


def test_hash_changes_with_weights_and_settings_only() -> None:
    reference = weights_hash(small())
    assert weights_hash(small()) == reference
    seen = {reference, weights_hash(small(1))}
    nudged = small()
    with torch.no_grad():
        nudged.head0.bias[0] = 1e-30
    shifted, scaled, cut = small(), small(), small()
    shifted.scale.shift[3] += 1e-12
    scaled.scale.scale *= 1 + 1e-15
    cut.settings = {**cut.settings, "cutoff": 4.1}
    seen |= {weights_hash(field) for field in (nudged, shifted, scaled, cut)}
    assert len(seen) == 6
    story = small()
    story.provenance, story.elements = {"other": 1}, (3,)
    assert weights_hash(story.train()) == reference


def test_direct_forces_are_scaled_and_have_no_stress() -> None:
    field = Direct(4.0)
    field.scale.scale.fill_(0.25)
    prediction = field.predict(graph())
    assert prediction.stress is None and not prediction.forces.requires_grad
    assert float(prediction.energy[0]) == 8 * 0.25
    assert torch.equal(prediction.forces, torch.tensor([[0.25, 0, 0]]).expand(8, 3))
    with pytest.raises(ValueError, match="Direct predicts forces directly"):
        field.predict(graph(), stress=True)


class Shared(LennardJones):
    """Mixes in the neighbours' features, so that a wrong reverse slot would show."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        x = super().forward(z, graph, edge_vec).unsqueeze(1)
        return x.squeeze(1) + (neighbor_values(x, graph).squeeze(2) * graph.mask / edge_vec.square().sum(-1)).sum(1)


@pytest.mark.parametrize("cap", [None, 6])
def test_forces_of_a_capped_graph_are_the_gradient_by_positions(cap: int | None) -> None:
    """The derivative by edge vectors, gathered, against autograd through the positions with plain indexing."""
    rng = np.random.default_rng(3)
    z, pos, cell = np.full(6, 18), rng.uniform(0, 6, (6, 3)), np.array([[6.0, 0, 0], [1, 6, 0], [0, 1, 6]])
    field = Shared(sigma=2.0, cutoff=5.0, switch=4.0)
    g = neighbor_graph(z, pos, cell, 5.0, max_neighbors=cap)
    assert g.symmetric == (cap is None)
    moving = torch.tensor(pos, requires_grad=True)
    vectors = moving[g.neighbors] - moving[:, None] + g.shift @ g.cell[0]
    vectors = torch.where(g.mask.unsqueeze(-1), vectors, torch.tensor([5.0, 0, 0], dtype=torch.float64))
    expected = -torch.autograd.grad(field(g.z, g, vectors).sum(), moving)[0]
    torch.testing.assert_close(field.predict(g).forces, expected, rtol=1e-10, atol=1e-10)


def test_a_model_without_forward_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match=r"ForceField must define forward\(z, graph, edge_vec\)"):
        ForceField(4.0).predict(graph())


def test_scale_is_the_rms_force_and_shift_the_minimum_norm() -> None:
    rng = np.random.default_rng(0)
    counts = np.zeros((5, ELEMENTS))
    z = np.array(
        [[3, 3, 15, 16, 16, 16], [3, 3, 3, 15, 16, 16], [3, 3, 15, 16, 16, 16], [3, 3, 3, 15, 16, 16], [3, 3, 15, 16, 16, 16]]
    )
    np.add.at(counts, (np.arange(5)[:, None], z), 1)
    energy, forces = rng.normal(-20, 1, 5), rng.normal(0, 0.8, (5, 6, 3))
    scale = AtomicScale()
    scale.fit(z, energy, forces)
    shift = scale.shift.numpy()
    assert float(scale.scale) == pytest.approx(np.sqrt((forces**2).mean()), rel=1e-14)
    np.testing.assert_allclose(counts.T @ (counts @ shift - energy), 0, atol=1e-10)  # least squares
    null = np.linalg.svd(counts)[2][2:]  # two compositions determine two numbers
    np.testing.assert_allclose(null @ shift, 0, atol=1e-10)  # minimum norm
    np.testing.assert_allclose(shift[np.setdiff1d(np.arange(ELEMENTS), [3, 15, 16])], 0, atol=1e-20)  # zero but for the solver


def test_frames_without_forces_cannot_set_a_scale() -> None:
    with pytest.raises(ValueError, match="all training forces are zero"):
        AtomicScale().fit(np.array([3]), np.zeros(2), np.zeros((2, 1, 3)))


def dimer(field: LennardJones, r: float) -> tuple[float, float]:
    """Energy and the force that pushes the two atoms apart, the second atom r along (1, 2, 2)/3."""
    direction = np.array([1.0, 2.0, 2.0]) / 3
    pos = np.stack([np.zeros(3), r * direction])
    prediction = field.predict(neighbor_graph(np.array([18, 18]), pos, np.eye(3), field.cutoff, False))
    return float(prediction.energy[0]), float(prediction.forces[1] @ torch.tensor(direction))


def test_lennard_jones_force_is_the_slope_of_the_energy() -> None:
    field, h = LennardJones(), 1e-4
    for r in (2.9, 3.4, 4.2, 5.4999, 5.5, 6.3, 6.99):
        slope = (dimer(field, r + h)[0] - dimer(field, r - h)[0]) / (2 * h)
        assert dimer(field, r)[1] == pytest.approx(-slope, rel=1e-6, abs=1e-11), r


def test_lennard_jones_is_itself_below_the_switch() -> None:
    """12-6 forces exactly, 12-6 energies up to one constant."""
    field = LennardJones()
    plain = lambda r: 4 * 0.0104 * ((3.4 / r) ** 12 - (3.4 / r) ** 6)  # noqa: E731
    force = lambda r: 24 * 0.0104 * (2 * (3.4 / r) ** 12 - (3.4 / r) ** 6) / r  # noqa: E731
    for r in (3.0, 3.8, 5.0):
        assert dimer(field, r)[1] == pytest.approx(force(r), rel=1e-12)
    assert dimer(field, 3.0)[0] - dimer(field, 5.0)[0] == pytest.approx(plain(3.0) - plain(5.0), rel=1e-12)


def test_lennard_jones_is_smooth_at_switch_and_cutoff() -> None:
    field, gap = LennardJones(), 1e-6
    for place in (field.switch, field.cutoff):
        (below, f_below), (above, f_above) = dimer(field, place - gap), dimer(field, place + gap)
        bend = abs(dimer(field, place - 0.5)[1]) / 0.5  # a slope of the force of the right size
        assert abs(f_below - f_above) < 20 * bend * gap and abs(below - above) < 3 * gap * abs(f_below) + 1e-15, place
    assert dimer(field, field.cutoff - 1e-3)[1] != 0  # the force vanishes with its slope: second order in the distance
    assert abs(dimer(field, field.cutoff - 1e-3)[1]) < 1e-7
    for r in (field.cutoff + gap, 9.0):
        assert dimer(field, r) == (0.0, 0.0)


def test_an_energy_that_does_not_depend_on_positions_has_no_force() -> None:
    class Constant(ForceField):
        def __init__(self, touches: bool) -> None:
            super().__init__(cutoff=3.0)
            self.touches = touches

        def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
            return torch.ones(len(z), dtype=edge_vec.dtype) + (0.0 * edge_vec.sum() if self.touches else 0.0)

    graph = neighbor_graph(np.ones(4), np.random.default_rng(0).uniform(0, 4, (4, 3)), 4 * np.eye(3), 3.0)
    for touches in (False, True):
        prediction = Constant(touches).predict(graph, stress=True)
        assert float(prediction.energy[0]) == 4.0 and prediction.stress is not None
        assert not prediction.forces.any() and not prediction.stress.any()


def test_a_field_knows_whether_it_is_reduced() -> None:
    assert not is_reduced(create("schnet")) and not is_reduced(create("schnet", as_published=True))
    state = torch.random.get_rng_state()
    assert is_reduced(create("schnet", hidden_channels=32)) and not is_reduced(create("schnet", hidden_channels=256))
    torch.random.set_rng_state(state)
    assert not is_reduced(Direct(3.0))
    for name in ("dimenet", "gns_tat", "leftnet"):
        settings = reduced_settings(name)
        assert settings and is_reduced(create(name, **settings))
    assert reduced_settings("schnet") == {}


def test_a_halved_checkpoint_holds_the_rounded_weights(tmp_path: Path) -> None:
    """Half the size; loaded in single precision, parameters rounded to 11 bits, small ones and buffers as they were."""
    torch.manual_seed(0)
    field = create("schnet", hidden_channels=32, num_filters=32, num_interactions=2, num_gaussians=16)
    field.scale.shift[3] = -1.23456789
    save(field, tmp_path / "whole.safetensors")
    save(field, tmp_path / "half.safetensors", halved=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.65 * (tmp_path / "whole.safetensors").stat().st_size
    found, parameters = load(tmp_path / "half.safetensors"), dict(field.named_parameters())
    assert found.precision == "float32" and next(found.parameters()).dtype == torch.float32
    for key, tensor in found.state_dict().items():
        whole = field.state_dict()[key]
        rounded = key in parameters and whole.numel() >= 256
        assert torch.equal(tensor, whole.half().float() if rounded else whole), key
    assert weights_hash(found) != weights_hash(load(tmp_path / "whole.safetensors"))
    with torch.no_grad():
        next(p for p in field.parameters() if p.numel() >= 256).fill_(1e5)
    with pytest.raises(CheckpointError, match="do not fit into 16 bits"):
        save(field, tmp_path / "half.safetensors", halved=True)
    assert torch.equal(load(tmp_path / "half.safetensors").head0.weight, found.head0.weight)  # the old file stays
