"""TorchSim drives our force fields: its own validation, the same numbers, batches of any sizes, motion and relaxation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from grannfield.data.material import load_material
from grannfield.forcefield import UnsupportedElement, registered, save
from grannfield.neighbors import neighbor_graph
from grannfield.testing import LennardJones
from tests.models.small import small

torch_sim = pytest.importorskip("torch_sim", reason="TorchSim is not installed: pip install 'torch-sim-atomistic>=0.3,<0.4'")

from torch_sim.autobatching import BinningAutoBatcher  # noqa: E402
from torch_sim.integrators import nve, nvt_langevin  # noqa: E402
from torch_sim.models.interface import validate_model_outputs  # noqa: E402
from torch_sim.optimizers import fire, frechet_cell_fire  # noqa: E402

from grannfield.torchsim import GraNNFieldModel  # noqa: E402

CPU = torch.device("cpu")


def crystal(formula: str = "Li3PS4", seed: int = 0) -> Atoms:
    s = load_material(formula).structure
    atoms = Atoms(s.z, positions=s.pos, cell=s.cell, pbc=True)
    atoms.rattle(0.05, seed=seed)
    return atoms


def argon(repeat: int = 2, rattle: float = 0.1, a: float = 5.4) -> Atoms:
    atoms = bulk("Ar", "fcc", a=a, cubic=True) * (repeat, 1, 1)
    atoms.rattle(rattle, seed=repeat)
    return atoms


def state(systems: Any, dtype: torch.dtype = torch.float64) -> Any:
    return torch_sim.io.atoms_to_state(systems, CPU, dtype)


@pytest.mark.parametrize("name", sorted(registered()))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_torchsim_accepts_every_model(name: str, dtype: torch.dtype) -> None:
    model = GraNNFieldModel(small(name), dtype=dtype)
    validate_model_outputs(model, CPU, dtype)
    told = model(state([argon()], dtype))
    assert all(value.dtype == dtype and not value.requires_grad for value in told.values())
    assert ("stress" in told) == model.field.conservative


def test_systems_of_different_sizes_are_those_alone() -> None:
    """Sheared cells too: TorchSim keeps lattice vectors as columns. Energies, forces, stress and energies of atoms."""
    skewed = crystal("Li4GeS4", 3)
    skewed.set_cell(skewed.cell.array @ np.array([[1, 0.05, 0.02], [0, 1, -0.03], [0, 0, 1]]), scale_atoms=True)
    skewed.positions[0] += 2 * skewed.cell.array[1] - skewed.cell.array[0]
    systems = [crystal("Li3PS4", 1), skewed, crystal("Li10GeP2S12", 2)]
    model = GraNNFieldModel(small("schnet"))
    told = model(state(systems))
    start = 0
    for b, atoms in enumerate(systems):
        graph = neighbor_graph(atoms.numbers, atoms.positions, atoms.cell.array, model.field.cutoff)
        alone = model.field.predict(graph, stress=True)
        span = slice(start, start + len(atoms))
        start += len(atoms)
        assert float(told["energy"][b]) == pytest.approx(float(alone.energy[0]), abs=1e-10)
        assert torch.allclose(told["forces"][span], alone.forces, atol=1e-10, rtol=0)
        assert alone.stress is not None and torch.allclose(told["stress"][b], alone.stress[0], atol=1e-12, rtol=0)
        assert float(told["energies"][span].sum()) == pytest.approx(float(told["energy"][b]), abs=1e-9)
    assert start == len(told["forces"]) and told["forces"].abs().max() > 1e-2


def test_clusters_have_no_images() -> None:
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 3.8]], cell=np.diag([4, 4, 7.6]), pbc=False)
    pair = GraNNFieldModel(LennardJones())(state([atoms]))["energy"]
    atoms.pbc = True
    assert (
        float(pair[0]) == pytest.approx(-0.0104, rel=0.12)
        and float(GraNNFieldModel(LennardJones())(state([atoms]))["energy"][0]) < -0.05
    )


def test_a_dictionary_is_a_state_and_it_is_not_changed() -> None:
    whole = state([argon(), argon(1)])
    given = {key: getattr(whole, key) for key in ("positions", "cell", "pbc", "atomic_numbers", "system_idx")}
    model = GraNNFieldModel(LennardJones())
    before = {key: value.clone() for key, value in given.items() if torch.is_tensor(value)}
    assert torch.equal(model(given)["forces"], model(whole)["forces"])
    assert all(torch.equal(given[key], value) for key, value in before.items())
    with torch.no_grad():
        assert torch.equal(model(given)["forces"], model(whole)["forces"])
    with pytest.raises(ValueError, match="the state has no cell"):
        model({"positions": whole.positions, "atomic_numbers": whole.atomic_numbers})


def test_energy_is_conserved_in_nve() -> None:
    """Two systems of different sizes; the total energy of each moves far less than its kinetic energy does."""
    model = GraNNFieldModel(LennardJones())
    totals: list[torch.Tensor] = []
    kinetic: list[torch.Tensor] = []
    unit = torch_sim.units.MetalUnits
    init, update = nve(model, dt=torch.tensor(0.004 * unit.time, dtype=torch.float64), kT=torch.tensor(40.0 * unit.temperature))
    moved = init(state([argon(2), argon(1)]), seed=0)
    for _ in range(80):
        moved = update(moved)
        own = 0.5 * (moved.momenta.square() / moved.masses[:, None]).sum(1)
        kinetic.append(torch.zeros(2, dtype=torch.float64).index_add(0, moved.system_idx, own))
        totals.append(kinetic[-1] + moved.energy)
    spread = lambda x: torch.stack(x).amax(0) - torch.stack(x).amin(0)  # noqa: E731
    assert (spread(kinetic) > 2e-3).all() and (spread(totals) < 1e-2 * spread(kinetic)).all()


@pytest.mark.parametrize("integrator", [nve, nvt_langevin])
def test_integrate_moves_a_network(integrator: Any) -> None:
    model = GraNNFieldModel(small("schnet"), dtype=torch.float32)
    systems = [crystal(seed=1), crystal("Li4GeS4", 2)]
    final = torch_sim.integrate(system=systems, model=model, integrator=integrator, n_steps=5, temperature=300, timestep=0.001)
    assert final.n_systems == 2 and torch.isfinite(final.positions).all() and final.positions.dtype == torch.float32
    assert not torch.equal(final.positions, state(systems, torch.float32).positions)


@pytest.mark.parametrize("optimizer", [fire, frechet_cell_fire])
def test_optimize_finds_the_crystal(optimizer: Any) -> None:
    """Rattled argon of two sizes comes back to the lattice: the energy per atom of both is that of the crystal."""
    model = GraNNFieldModel(LennardJones())
    systems = [argon(1, rattle=0.05, a=5.3), argon(2, rattle=0.05, a=5.3)]
    final = torch_sim.optimize(
        system=systems,
        model=model,
        optimizer=optimizer,
        max_steps=400,
        steps_between_swaps=20,
        convergence_fn=torch_sim.generate_force_convergence_fn(1e-3, include_cell_forces=optimizer is frechet_cell_fire),
    )
    energy = final.energy / torch.bincount(final.system_idx)
    perfect = model(state([argon(1, rattle=0.0, a=5.3)]))["energy"][0] / 4
    assert float(energy[0]) == pytest.approx(float(energy[1]), abs=1e-4)
    assert float(energy[0]) == pytest.approx(float(perfect), abs=1e-4) or (optimizer is frechet_cell_fire and energy[0] < perfect)


def test_systems_are_batched_by_memory() -> None:
    """Bins of TorchSim's autobatcher give the numbers of one batch, in the order they came."""
    model = GraNNFieldModel(LennardJones())
    systems = [argon(n) for n in (1, 3, 2, 1)]
    whole = state(systems)
    batcher = BinningAutoBatcher(model=model, memory_scales_with=model.memory_scales_with, max_memory_scaler=350.0)
    batcher.load_states(whole)
    parts = [(part, model(part)["energy"]) for part, _ in _indexed(batcher)]
    assert len(parts) > 1
    energies = dict(zip(_order(batcher), torch.cat([energy for _, energy in parts]).tolist(), strict=True))
    assert [energies[n] for n in range(4)] == pytest.approx(model(whole)["energy"].tolist(), abs=1e-10)
    static = torch_sim.static(systems, model, autobatcher=BinningAutoBatcher(model=model, max_memory_scaler=350.0))
    assert [float(one["potential_energy"][0]) for one in static] == pytest.approx(model(whole)["energy"].tolist(), abs=1e-10)


def _indexed(batcher: BinningAutoBatcher) -> Any:
    batcher.return_indices = True
    return iter(batcher)


def _order(batcher: BinningAutoBatcher) -> list[int]:
    return [index for bin_ in batcher.index_bins for index in bin_]


def test_refusals_say_why(tmp_path: Path) -> None:
    direct = GraNNFieldModel(small("forcenet"))
    assert not direct.compute_stress
    with pytest.raises(NotImplementedError, match=r"forcenet predicts forces directly; .* no NPT, no moving cells"):
        direct.compute_stress = True
    with pytest.raises(NotImplementedError, match="predicts forces directly"):
        GraNNFieldModel(small("forcenet"), compute_stress=True)
    with pytest.raises(NotImplementedError, match="computed together"):
        direct.compute_forces = False
    with pytest.raises(ValueError, match="never below float32"):
        GraNNFieldModel(small("schnet"), dtype=torch.float16)
    field = small("schnet")
    field.elements = (3, 16)
    with pytest.raises(UnsupportedElement, match="does not know Ar; it knows Li, S"):
        GraNNFieldModel(field)(state([argon()]))
    broken = state([argon()])
    broken.positions[3] = float("nan")
    with pytest.raises(ValueError, match="the motion has failed"):
        GraNNFieldModel(LennardJones())(broken)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        GraNNFieldModel(tmp_path / "none.safetensors")


def test_checkpoints_and_a_field_that_is_not_changed(tmp_path: Path) -> None:
    field = small("schnet", dtype=torch.float32)
    save(field, tmp_path / "best.safetensors")
    models = [GraNNFieldModel(field), GraNNFieldModel(tmp_path), GraNNFieldModel(str(tmp_path / "best.safetensors"))]
    forces = [model(state([crystal()]))["forces"] for model in models]
    assert torch.equal(forces[0], forces[1]) and torch.equal(forces[1], forces[2]) and field.precision == "float32"
    single = GraNNFieldModel(field, precision="float32")
    assert single.field.precision == "float32" and single(state([crystal()]))["forces"].dtype == torch.float64
    without = GraNNFieldModel(field, compute_stress=False)
    assert "stress" not in without(state([crystal()]))


def test_without_torchsim_the_import_says_what_to_install() -> None:
    program = "import sys; sys.modules['torch_sim'] = None\nimport grannfield.torchsim"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "grannfield.torchsim needs TorchSim: pip install" in done.stderr.strip().splitlines()[-1]
