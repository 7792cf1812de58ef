"""Weights of the paper's package: every name of the eleven, the same numbers as published, and refusals."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from grannfield import testing
from grannfield.cli import main
from grannfield.convert.mapping import convert, in_units
from grannfield.convert.state import ConversionError, read_published
from grannfield.forcefield import load, registered
from grannfield.neighbors import neighbor_graph
from grannfield.testing import model_of, parity
from tests.convert.published import FILES, PARITY, settings, state_dict

CGCNN = PARITY / "cgcnn.npz.xz"
FORCENET = PARITY / "forcenet.npz.xz"


def saved(tmp_path: Path, state: Any, name: str = "best_model.pth.tar") -> Path:
    torch.save(state, tmp_path / name)
    return tmp_path / name


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A class that pickles name as the paper package's Normalizer, which is not importable when it is read."""
    module = ModuleType("grannfield.utils.statistics")

    class Normalizer:
        def __init__(self, mean: Any, std: Any) -> None:
            self.mean, self.std = mean, std

    Normalizer.__module__, Normalizer.__qualname__ = module.__name__, "Normalizer"
    module.Normalizer = Normalizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "grannfield.utils", ModuleType("grannfield.utils"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Normalizer


def test_every_model_is_converted() -> None:
    assert {model_of(path) for path in FILES} == set(registered())


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name.partition(".")[0])
def test_converted_weights_give_the_published_energies_and_forces(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All structures of a parity file, batches, caps and train mode included, to 1e-10."""
    model = model_of(path)
    published = read_published(saved(tmp_path, state_dict(path, model)))
    conversion = convert(published, model, settings(path, model))
    assert not conversion.unused and not conversion.missing and conversion.field.settings["as_published"] is True
    monkeypatch.setattr(testing, "parity_field", lambda *_: copy.deepcopy(conversion.field))
    assert max(max(pair) for pair in parity(path).values()) < 1e-10
    moved = dict(published.weights)
    name = next(
        key
        for key in conversion.mapped
        if ".mlp." not in key and ".nn." not in key and moved[key].dim() > 1 and "embedding" not in key
    )
    moved[name] = moved[name] * 1.001
    again = convert(read_published(saved(tmp_path, moved)), model, settings(path, model))
    assert any(not torch.equal(again.field.state_dict()[k], conversion.field.state_dict()[k]) for k in conversion.mapped[name])


def test_schnet_is_that_of_pytorch_geometric(tmp_path: Path) -> None:
    """The package's SchNet is PyTorch Geometric's: its own state dict, single precision, and the same energy."""
    from torch_geometric.nn import SchNet

    torch.manual_seed(1)
    theirs = SchNet(hidden_channels=16, num_filters=12, num_interactions=2, num_gaussians=8, cutoff=5.0)
    field = convert(read_published(saved(tmp_path, theirs.state_dict())), "schnet").field
    assert field.cutoff == 5.0 and field.precision == "float32"
    rng = np.random.default_rng(0)
    z, pos = np.array([3, 15, 16, 16, 32]), rng.uniform(0, 3.0, (5, 3))
    graph = neighbor_graph(z, pos, 20 * np.eye(3), 5.0)
    i, k = graph.mask.nonzero(as_tuple=True)
    d = torch.linalg.vector_norm(graph.edge_vectors(torch.float32)[i, k], dim=-1)
    h = theirs.embedding(graph.z)
    for interaction in theirs.interactions:
        h = h + interaction(h, torch.stack([graph.neighbors[i, k], i]), d, theirs.distance_expansion(d))
    energy = theirs.lin2(theirs.act(theirs.lin1(h))).sum().detach()
    assert float(field.predict(graph).energy[0]) == pytest.approx(float(energy), rel=1e-5)


def test_dimenets_keys_are_those_of_pytorch_geometric(tmp_path: Path) -> None:
    from torch_geometric.nn import DimeNet

    theirs = DimeNet(hidden_channels=8, out_channels=1, num_blocks=2, num_bilinear=3, num_spherical=4, num_radial=3, cutoff=5.0)
    conversion = convert(read_published(saved(tmp_path, theirs.state_dict())), "dimenet", {"cutoff": 5.0})
    assert set(conversion.mapped) == set(theirs.state_dict())
    assert conversion.field.n_parameters == sum(p.numel() for p in theirs.parameters())


def test_equiformers_flat_arrays_are_e3nns(tmp_path: Path) -> None:
    """One of its linear maps, made by e3nn: the flat weight is one matrix for scalars and one for vectors, in this order."""
    pytest.importorskip("e3nn")
    from e3nn import o3

    into, out = o3.Irreps("8x0e+4x1e"), o3.Irreps("8x0e+4x1e")
    instructions = [(0, 0, 0, "uvw", True, 1.0), (1, 0, 1, "uvw", True, 1.0)]
    product = o3.TensorProduct(into, o3.Irreps("1x0e"), out, instructions, path_normalization="none").double()
    path = next(p for p in FILES if p.stem.startswith("equiformer"))
    state = state_dict(path, "equiformer")
    with torch.no_grad():
        product.weight.copy_(state["blocks.0.ga.merge_dst.tp.weight"])
    state |= {f"blocks.0.ga.merge_dst.tp.{key}": value for key, value in product.state_dict().items()}
    conversion = convert(read_published(saved(tmp_path, state)), "equiformer", settings(path, "equiformer"))
    ours = conversion.field.state_dict()
    x = torch.randn(5, into.dim, dtype=torch.float64)
    scalars, vectors = x[:, :8] @ ours["blocks.0.attention.target.weights.0"], x[:, 8:].view(5, 4, 3)
    turned = torch.einsum("nix,io->nox", vectors, ours["blocks.0.attention.target.weights.1"]).reshape(5, -1)
    expected = product(x, torch.ones(5, 1, dtype=torch.float64))
    assert torch.allclose(torch.cat([scalars, turned], 1), expected, atol=1e-12)


@pytest.mark.parametrize("model", sorted(registered()))
def test_the_papers_sizes_are_read_from_shapes(model: str, tmp_path: Path) -> None:
    """Names and settings of Table 1's size: from our own weights back through names, for every model."""
    path = next(p for p in FILES if model_of(p) == model)
    weights = read_published(saved(tmp_path, state_dict(path, model))).weights
    stated = parity_settings(path, model)
    from grannfield.convert.sizes import settings_of

    found = settings_of(model, weights, {"cutoff": settings(path, model)["cutoff"]})
    assert found and all(stated[key] == value for key, value in found.items() if key in stated), (found, stated)


def parity_settings(path: Path, model: str) -> dict[str, Any]:
    field = testing.parity_field(path)
    return field.settings | {"distance_resolution": field.settings.get("distance_resolution")}


def test_wrappers_prefixes_are_taken_off(tmp_path: Path) -> None:
    state = state_dict(CGCNN, "cgcnn")
    wrapped = {"state_dict": {f"module.module.{key}": value for key, value in state.items()}, "epoch": 3}
    assert set(read_published(saved(tmp_path, wrapped)).weights) == set(state)


def test_a_file_of_training_with_its_normalisers(tmp_path: Path, theirs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the package's trainer saves it: normaliser objects, NumPy numbers, an optimiser; none of it is executed."""
    state = state_dict(CGCNN, "cgcnn")
    whole = {
        "step": 5000,
        "best_loss": np.float64(0.25),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []},
        "hooks": [{}],
        "normalizers": {"energy": theirs(torch.tensor(-200.0), torch.tensor(4.0)), "forces": theirs(np.float32(0.0), 0.5)},
        "ema_decay": 0.999,
        "ema": {"decay": 0.999, "shadow_params": [torch.ones(1)]},
        "amp": None,
        "elapsed": 1.5,
        "modules": state,
    }
    path = saved(tmp_path, whole, "checkpoint-5000.pth.tar")
    monkeypatch.delitem(sys.modules, "grannfield.utils.statistics")
    published = read_published(path)
    assert published.normalizers == {"energy": (-200.0, 4.0), "forces": (0.0, 0.5)} and published.step == 5000
    assert set(published.weights) == set(state)


def test_scales_of_energy_and_forces(tmp_path: Path) -> None:
    """Direct forces: both as published. Forces that are a gradient: the scale of the forces, energies by the same."""
    for path, published_energy in ((FORCENET, True), (CGCNN, False)):
        model = model_of(path)
        read = read_published(saved(tmp_path, state_dict(path, model)))
        raw = convert(read, model, settings(path, model))
        file = testing.stored(path)
        graph = neighbor_graph(file["lgps/Z"], file["lgps/positions"], file["lgps/cell"][0], raw.field.cutoff)
        before = raw.field.predict(graph)
        scaled = in_units(convert(read, model, settings(path, model)), (-200.0, 4.0), (0.0, 0.5), 50)
        after = scaled.field.predict(graph)
        assert torch.allclose(after.forces, 0.5 * before.forces, atol=1e-12)
        std = 4.0 if published_energy else 0.5
        assert float(after.energy[0]) == pytest.approx(std * float(before.energy[0]) - 200.0, abs=1e-9)
        assert any("one scale, that of the forces" in note for note in scaled.notes) != published_energy


class Evil:
    """Whose reading would write a file."""

    def __reduce__(self) -> Any:
        return (open, ("executed.txt", "w"))


@pytest.mark.parametrize(
    "content", [{"modules": {}, "x": Evil()}, Evil(), torch.nn.Linear(2, 2)], ids=["inside", "bare", "module"]
)
def test_code_is_refused_and_not_run(content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, content)
    (tmp_path / "executed.txt").unlink(missing_ok=True)
    with pytest.raises(
        ConversionError, match=r"best_model.pth.tar is refused: it holds \S+, code .* torch.save\(model.state_dict"
    ):
        read_published(path)
    assert not (tmp_path / "executed.txt").exists()
    with open(tmp_path / "plain.pkl", "wb") as file:
        pickle.dump(content, file)
    (tmp_path / "executed.txt").unlink(missing_ok=True)
    with pytest.raises(ConversionError):
        read_published(tmp_path / "plain.pkl")
    assert not (tmp_path / "executed.txt").exists()


def test_files_that_are_none(tmp_path: Path) -> None:
    whole = saved(tmp_path, state_dict(CGCNN, "cgcnn"))
    for name, content in (("half", whole.read_bytes()[:4000]), ("text", b"weights"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConversionError, match=f"{name} cannot be read"):
            read_published(tmp_path / name)
    with pytest.raises(ConversionError, match=r"holds no weights; its entries are epoch \(int\)"):
        read_published(saved(tmp_path, {"epoch": 3}))
    with pytest.raises(ConversionError, match="holds a list, not a state dict"):
        read_published(saved(tmp_path, [torch.ones(1)]))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_published(tmp_path / "nowhere.pth.tar")


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = state_dict(CGCNN, "cgcnn")
    told = settings(CGCNN, "cgcnn")
    less = {k: v for k, v in state.items() if k not in ("convs.1.ln1.weight", "fc_out.bias")} | {"another.weight": torch.ones(2)}
    with pytest.raises(
        ConversionError, match=r"no place for another.weight; missing convolutions.1.ln.weight, head_out.bias; --partial"
    ):
        convert(read_published(saved(tmp_path, less)), "cgcnn", told)
    partial = convert(read_published(saved(tmp_path, less)), "cgcnn", told, partial=True)
    assert partial.missing == ["convolutions.1.ln.weight", "head_out.bias"] and partial.unused == ["another.weight"]
    assert any("2 missing weights are random" in note for note in partial.notes)
    with pytest.raises(ConversionError, match=r"is not a whole schnet: .*look like those of cgcnn"):
        convert(read_published(saved(tmp_path, state)), "schnet", {"cutoff": 5.0})
    with pytest.raises(ConversionError, match=r"convs.0.lin1.weight has shape \(32, 40\), .* needs \(32, 39\)"):
        convert(read_published(saved(tmp_path, state)), "cgcnn", {"num_gaussians": 7}, partial=True)
    turned = state | {"convs.0.lin1.weight": state["convs.0.lin1.weight"].T.contiguous()}
    with pytest.raises(ConversionError, match=r"convs\.0\.lin1\.weight has shape"):
        convert(read_published(saved(tmp_path, turned)), "cgcnn", told)
    with pytest.raises(ConversionError, match=r"head_out\.bias hold NaN or infinity"):
        convert(read_published(saved(tmp_path, state | {"fc_out.bias": torch.tensor([float("nan")])})), "cgcnn", told)
    with pytest.raises(ConversionError, match=r"no place for convolutions\.0\.ln\.weight"):  # a name of ours, not of theirs
        convert(read_published(saved(tmp_path, state | {"convolutions.0.ln.weight": state["convs.0.ln1.weight"]})), "cgcnn", told)
    with pytest.raises(ConversionError, match="no model is called 'gemnet'"):
        convert(read_published(saved(tmp_path, state)), "gemnet")
    twice = state_dict(PARITY / "schnet.npz.xz", "schnet")
    twice["interactions.0.conv.nn.0.weight"] = twice["interactions.0.conv.nn.0.weight"] + 1
    with pytest.raises(ConversionError, match=r"are both interactions\.0\.filter0\.weight, and differ"):
        convert(read_published(saved(tmp_path, twice)), "schnet")


def test_the_command_writes_a_checkpoint_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = saved(tmp_path, state_dict(CGCNN, "cgcnn")), tmp_path / "cgcnn.safetensors"
    normal = saved(tmp_path, {"energy": {"mean": -200.0, "std": 4.0}, "forces": {"mean": 0.0, "std": 0.5}}, "normalizers")
    line = ["convert", str(path), "--model", "cgcnn", "-o", str(out), "--set", "cutoff=5.0", "--licence", "CC BY 4.0"]
    assert main([*line, "--normalizers", str(normal)]) == 0
    printed = capsys.readouterr().out
    assert "mapped 28 weights of the file onto 28 of ours" in printed and "2 constants" in printed and "missing" not in printed
    field = load(out)
    assert field.elements == (3, 15, 16, 32) and float(field.scale.scale) == 0.5 and field.settings["as_published"] is True
    assert field.provenance["converted_from"]["sha256"] and field.provenance["licence"] == "CC BY 4.0"
    assert main([*line, "--normalizers", str(normal)]) == 2 and "--force overwrites" in capsys.readouterr().err
    assert main([*line, "--force", "--forces", "0", "-1"]) == 2 and "must be positive" in capsys.readouterr().err
    assert main([*line, "--force", "--verbose"]) == 0
    printed = capsys.readouterr().out
    assert "fc_out.bias -> head_out.bias" in printed and "no normalisers: forces are in units of the network" in printed
