"""SchNet against stored outputs, PyTorch Geometric's implementation and the symmetries of physics."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.forcefield import ForceField, create, to_precision
from grannfield.graph import AtomGraph, collate
from grannfield.neighbors import neighbor_graph
from grannfield.testing import main, parity, parity_field

PARITY = Path(__file__).parents[1] / "parity" / "schnet.npz"
CUTOFF = 5.0
SKEWED = np.array([[3.2, 0.0, 0.0], [0.8, 3.4, 0.0], [0.4, 0.9, 3.6]])
"""Thinner than the cut-off in every direction: atoms are their own neighbours."""


def small(seed: int = 0, **settings: Any) -> ForceField:
    """A small SchNet with random weights, biases included, in double precision."""
    torch.manual_seed(seed)
    sizes = {"hidden_channels": 16, "num_filters": 12, "num_interactions": 2, "num_gaussians": 8, "cutoff": CUTOFF}
    field = to_precision(create("schnet", **{**sizes, **settings}), torch.float64)
    with torch.no_grad():
        for name, p in field.named_parameters():
            if name.endswith("bias"):
                p.normal_(std=0.3)
    return field.eval()


def atoms(n: int = 4, seed: int = 0, cell: np.ndarray = SKEWED) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, pos and cell of n atoms of three elements at random places."""
    rng = np.random.default_rng(seed)
    return rng.choice([3, 15, 16], n), rng.uniform(size=(n, 3)) @ cell, cell


def energy(field: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray, pbc: Any = True) -> float:
    return float(field.predict(neighbor_graph(z, pos, cell, field.cutoff, pbc)).energy[0])


def test_parity_with_stored_outputs_in_double_precision() -> None:
    errors = parity(PARITY)
    assert set(errors) == {"lgps", "skew", "batch", "lgps_cap12"}
    assert max(max(pair) for pair in errors.values()) <= 1e-8


def test_parity_in_single_precision() -> None:
    """Forces within 5e-5 of the largest one; `parity` divides by max(1, largest)."""
    with np.load(PARITY, allow_pickle=False) as file:
        for structure, (by_energy, by_force) in parity(PARITY, torch.float32).items():
            largest = np.abs(file[f"{structure}/forces"]).max()
            assert 1e-9 < by_force * max(1.0, largest) / largest <= 5e-5, structure
            assert by_energy <= 5e-5, structure
    assert parity_field(PARITY, torch.float32).scale.scale.dtype == torch.float64


def test_parity_sees_a_wrong_weight(tmp_path: Path) -> None:
    with np.load(PARITY, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    arrays["w/int1.out.W"] = arrays["w/int1.out.W"] * (1 + 1e-6)
    np.savez(tmp_path / "schnet.npz", **arrays)
    assert max(max(pair) for pair in parity(tmp_path / "schnet.npz").values()) > 1e-8


@pytest.mark.parametrize(
    ("name", "message"), [("lacks", "lacks weights"), ("more", "no place for"), ("mlp", "does not begin with")]
)
def test_parity_files_that_do_not_fit_are_named(tmp_path: Path, name: str, message: str) -> None:
    with np.load(PARITY, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files if name != "lacks" or key != "w/head1.b"}
    if name == "more":
        arrays["w/head2.W"] = np.zeros((1, 1))
    path = tmp_path / f"{'mlp' if name == 'mlp' else 'schnet'}.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        parity(path)


LINE = re.compile(r"(\S+) energy (\d\.\de[+-]\d\d) forces (\d\.\de[+-]\d\d)")


def test_parity_command_prints_one_line_for_each_structure(capsys: pytest.CaptureFixture[str]) -> None:
    main(["parity", str(PARITY)])
    printed = capsys.readouterr()
    found = [LINE.fullmatch(line) for line in printed.out.splitlines()]
    assert all(found) and printed.err == ""
    assert [m[1] for m in found if m] == ["batch", "lgps", "lgps_cap12", "skew"]


def test_parity_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "grannfield.testing", "parity", str(PARITY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert len(done.stdout.splitlines()) == 4 and all(LINE.fullmatch(line) for line in done.stdout.splitlines())


def test_number_of_parameters_of_table_1() -> None:
    field = create("schnet")
    assert field.n_parameters == 494_209 and field.cutoff == 6.0


def as_pyg(field: ForceField, edges: Any) -> Any:
    """PyTorch Geometric's SchNet with the same weights; `edges(pos)` gives (edge_index, distances)."""
    from torch_geometric.nn.models import SchNet
    from torch_geometric.nn.models.schnet import ShiftedSoftplus

    s = field.settings
    theirs = SchNet(
        s["hidden_channels"], s["num_filters"], s["num_interactions"], s["num_gaussians"], s["cutoff"], interaction_graph=edges
    ).double()  # fmt: skip
    ours = dict(field.named_modules())
    pairs = [(theirs.embedding, ours["embedding"]), (theirs.lin1, ours["head0"]), (theirs.lin2, ours["head1"])]
    for n, block in enumerate(theirs.interactions):
        layers = (block.mlp[0], block.mlp[2], block.conv.lin1, block.conv.lin2, block.lin)
        pairs += zip(
            layers, (ours[f"interactions.{n}.{key}"] for key in ("filter0", "filter1", "in2f", "f2out", "out")), strict=True
        )
    for to, source in pairs:
        to.load_state_dict(source.state_dict())
    theirs.distance_expansion.offset = field.rbf.centers
    theirs.distance_expansion.coeff = float(field.rbf.coeff)
    for module in theirs.modules():
        if isinstance(module, ShiftedSoftplus):
            module.shift = math.log(2.0)  # theirs is rounded to single precision
    return theirs.eval()


def pyg_prediction(field: ForceField, graph: AtomGraph) -> tuple[Tensor, Tensor]:
    """Energies and forces by PyTorch Geometric, its messages running from edge_index[0] to edge_index[1]."""
    centre, slot = graph.mask.nonzero(as_tuple=True)
    j, shift = graph.neighbors[centre, slot], graph.shift[centre, slot]
    across = torch.einsum("ea,eab->eb", shift, graph.cell[graph.batch[centre]])

    def edges(pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([j, centre]), (pos[j] + across - pos[centre]).norm(dim=1)

    pos = graph.pos.clone().requires_grad_()
    out = as_pyg(field, edges)(graph.z, pos, graph.batch).squeeze(1)
    return out.detach(), -torch.autograd.grad(out.sum(), pos)[0]


@pytest.mark.parametrize("cap", [None, 9])
def test_same_as_pytorch_geometric(cap: int | None) -> None:
    """On a batch of two cells; with a cap the graph is asymmetric and the direction of messages matters."""
    pytest.importorskip("torch_geometric")
    field = small()
    cells = (SKEWED, np.diag([6.0, 7.0, 5.5]))
    graph = collate(
        [neighbor_graph(*atoms(n, n, cell), CUTOFF, max_neighbors=cap) for n, cell in zip((4, 9), cells, strict=True)]
    )
    assert graph.symmetric == (cap is None)
    if cap is None:
        assert (graph.neighbors == torch.arange(13).view(-1, 1))[graph.mask].any(), "no atom is its own neighbour"
    prediction = field.predict(graph)
    by_energy, by_force = pyg_prediction(field, graph)
    torch.testing.assert_close(prediction.energy, by_energy, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(prediction.forces, by_force, rtol=1e-10, atol=1e-10)
    assert by_force.abs().max() > 0.01


def test_forces_are_minus_the_slope_of_the_energy() -> None:
    field, (z, pos, cell) = small(), atoms()
    forces = field.predict(neighbor_graph(z, pos, cell, CUTOFF)).forces.numpy()
    numerical, h = np.zeros_like(pos), 1e-4
    for place in np.ndindex(*pos.shape):
        step = np.zeros_like(pos)
        step[place] = h
        numerical[place] = (energy(field, z, pos - step, cell) - energy(field, z, pos + step, cell)) / (2 * h)
    assert np.abs(forces - numerical).max() < 1e-5 * np.abs(forces).max()
    assert np.abs(forces.sum(axis=0)).max() < 1e-12 < np.abs(forces).max()


def test_stress_is_the_slope_under_strain_and_symmetric() -> None:
    field, (z, pos, cell) = small(), atoms()
    stress = field.predict(neighbor_graph(z, pos, cell, CUTOFF), stress=True).stress
    assert stress is not None
    numerical, h = np.zeros((3, 3)), 1e-5
    for place in np.ndindex(3, 3):
        strain = np.zeros((3, 3))
        strain[place] = h
        up, down = (energy(field, z, pos @ (np.eye(3) + s), cell @ (np.eye(3) + s)) for s in (strain, -strain))
        numerical[place] = (up - down) / (2 * h) / np.linalg.det(cell)
    assert np.abs(numerical - numerical.T).max() < 1e-6 * np.abs(numerical).max()  # so the symmetrisation hides nothing
    assert np.abs(stress[0].numpy() - numerical).max() < 1e-5 * np.abs(numerical).max()
    assert torch.equal(stress, stress.transpose(1, 2))


def test_rotation_translation_wrapping_and_permutation() -> None:
    field, (z, pos, cell) = small(), atoms()
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]  # a reflection as well, for some seeds: SchNet is E(3)-invariant
    order, moved = rng.permutation(len(z)), rng.integers(-4, 5, (len(z), 3)) @ cell
    here = field.predict(neighbor_graph(z, pos, cell, CUTOFF))
    cases = {
        "rotation": ((z, pos @ rotation, cell @ rotation), here.forces @ torch.tensor(rotation)),
        "translation": ((z, pos + np.array([1.7, -12.3, 0.4]), cell), here.forces),
        "wrapping": ((z, pos + moved, cell), here.forces),
        "permutation": ((z[order], pos[order], cell), here.forces[order]),
    }
    for name, (changed, forces) in cases.items():
        there = field.predict(neighbor_graph(*changed, CUTOFF))
        assert float(abs(there.energy - here.energy)) < 1e-10, name
        assert float((there.forces - forces).abs().max()) < 1e-10, name
    other = z.copy()
    other[0] = 8
    assert abs(energy(field, other, pos, cell) - float(here.energy[0])) > 1e-3, "the energy does not depend on the elements"


def test_supercell_has_the_energy_of_its_cells() -> None:
    field, (z, pos, cell) = small(), atoms()
    counts = np.array([2, 1, 3])
    corners = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    large = (np.tile(z, 6), (corners[:, None] + pos).reshape(-1, 3), cell * counts[:, None])
    one = field.predict(neighbor_graph(z, pos, cell, CUTOFF), stress=True)
    six = field.predict(neighbor_graph(*large, CUTOFF), stress=True)
    assert one.stress is not None and six.stress is not None
    torch.testing.assert_close(six.energy, 6 * one.energy, rtol=0, atol=1e-10)
    torch.testing.assert_close(six.forces, one.forces.repeat(6, 1), rtol=0, atol=1e-10)
    torch.testing.assert_close(six.stress, one.stress, rtol=0, atol=1e-10)


def test_energy_and_force_are_continuous_at_the_cutoff() -> None:
    field = small()

    def dimer(r: float) -> tuple[float, float]:
        graph = neighbor_graph(np.array([3, 16]), np.array([[0, 0, 0], [r, 0, 0]]), 20 * np.eye(3), CUTOFF, False)
        prediction = field.predict(graph)
        return float(prediction.energy[0]), float(prediction.forces[0, 0])

    gap = 1e-6
    (inside, force), (at, _), (outside, none) = dimer(CUTOFF - gap), dimer(CUTOFF), dimer(CUTOFF + gap)
    assert none == 0 and abs(inside - outside) < 1e-11 and abs(at - outside) < 1e-11
    assert abs(force) < 1e-5  # the cosine's slope falls linearly to zero
    assert abs(dimer(0.8 * CUTOFF)[0] - outside) > 1e-4, "the bond has no energy"


def test_an_atom_without_neighbours_feels_no_force() -> None:
    prediction = small().predict(neighbor_graph(np.array([3]), np.zeros((1, 3)), 20 * np.eye(3), CUTOFF, False))
    assert torch.isfinite(prediction.energy).all() and torch.equal(prediction.forces, torch.zeros(1, 3, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_repeated_calls_agree_bit_for_bit(dtype: torch.dtype) -> None:
    field, frame = to_precision(small(), dtype), atoms(30, 2, np.diag([9.0, 9.0, 10.0]))
    first, *others = [field.predict(neighbor_graph(*frame, CUTOFF), stress=True) for _ in range(3)]
    assert first.stress is not None and first.energy.dtype == torch.float64 and first.forces.dtype == dtype
    for again in others:
        assert torch.equal(first.energy, again.energy) and torch.equal(first.forces, again.forces)
        assert again.stress is not None and torch.equal(first.stress, again.stress)


def test_a_batch_is_its_structures() -> None:
    """Structures of different size and number of neighbours, so rows are padded and sums run by index."""
    field = small()
    frames = [atoms(3, 3), atoms(11, 4, np.diag([7.0, 8.0, 6.0])), atoms(1, 5)]
    graphs = [neighbor_graph(*frame, CUTOFF) for frame in frames]
    assert len({g.neighbors.shape[1] for g in graphs}) == 3
    single = [field.predict(g, stress=True) for g in graphs]
    together = field.predict(collate(graphs), stress=True)
    for key in ("energy", "forces", "stress", "atomic_energies"):
        expected = torch.cat([getattr(p, key) for p in single])
        torch.testing.assert_close(getattr(together, key), expected, rtol=0, atol=1e-12)
