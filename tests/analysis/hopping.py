"""Ions that hop on a known lattice of sites: what the analysis of paths must give back.

Twelve sites on a simple lattice of 3 Å in a cell of 6 x 6 x 9 Å, two channels A at (1.5, 1.5) and (4.5, 4.5) and two
channels B; six translations of the cell map A on A and B on B. Ions hop along A at `along`, between A and B at `across`
and along B at `forbidden` (per ps, each way); occupation is uniform whatever the rates.
"""

import numpy as np

from grannfield.trajectory import Trajectory

LI, P = 3, 15
CELL = np.diag([6.0, 6.0, 9.0])
GRID = np.array([2, 2, 3])
STEP = 3.0
SITES = np.array([[x, y, z] for x in range(2) for y in range(2) for z in range(3)])
FRAMEWORK = np.array([[0.0, 0.0, 0.0], [3.0, 3.0, 0.0], [0.0, 3.0, 4.5], [3.0, 0.0, 4.5]])
ROTATIONS = np.tile(np.eye(3, dtype=int), (6, 1, 1))
TRANSLATIONS = np.array([[h, h, c / 3] for h in (0, 0.5) for c in range(3)])


def ideal(n_ions):
    li = 1.5 + STEP * SITES[np.arange(n_ions) % len(SITES)]
    return np.concatenate([li, FRAMEWORK])


def hopping(
    seed, n_frames=400, n_ions=8, along=1.0, across=0.5, forbidden=0.0, bias=0.0, width=0.3, dt=20.0, exclusive=False,
    start=None, cell=CELL, dead=150.0,
):  # fmt: skip
    """A trajectory of Li hopping in a shaking framework, and how many hops there were.

    `bias` in kT makes B less occupied (hops back to A are faster). An ion that has hopped stays for `dead` fs at least, as
    one that must cross a barrier again does; without it hops follow each other between two frames.
    """
    random = np.random.default_rng(seed)
    state = SITES[random.permutation(12)[:n_ions] if exclusive else random.integers(12, size=n_ions)].copy()
    if start is not None:
        state = np.array(start)[:n_ions].copy()
    elif bias:
        weight = np.exp(-bias * kind(SITES))
        state = SITES[random.choice(12, n_ions, p=weight / weight.sum())].copy()
    where = np.empty((n_frames, n_ions, 3))
    jumps = 0
    substeps = 5
    ready = np.full(n_ions, 1e9)
    for f in range(n_frames):
        for _ in range(substeps if f else 0):
            on_b = kind(state)
            k_along = np.where(on_b == 1, forbidden, along)
            k_across = across * np.where(on_b == 1, np.exp(bias / 2), np.exp(-bias / 2))
            h = dt / substeps * 1e-3
            ready += dt / substeps
            u = np.where(ready > dead, random.random(n_ions), 1.0)
            p_axis = np.stack([2 * k_across * h, 2 * k_across * h, 2 * k_along * h], axis=1)
            for i in np.flatnonzero(u < p_axis.sum(axis=1)):
                axis = int(np.searchsorted(np.cumsum(p_axis[i]), u[i]))
                to = state[i].copy()
                to[axis] += random.choice((-1, 1))
                if exclusive and ((to - state) % GRID == 0).all(axis=1).any():
                    continue
                state[i], ready[i] = to, 0.0
                jumps += 1
        where[f] = 1.5 + STEP * state
    shake = np.empty_like(where)
    memory = np.exp(-dt / 60.0)
    shake[0] = random.normal(size=(n_ions, 3))
    for f in range(1, n_frames):
        shake[f] = memory * shake[f - 1] + np.sqrt(1 - memory**2) * random.normal(size=(n_ions, 3))
    framework = FRAMEWORK + random.normal(scale=0.05, size=(n_frames, len(FRAMEWORK), 3))
    pos = np.concatenate([where + width * shake, framework], axis=1)
    pos = pos @ np.linalg.inv(CELL) @ cell
    z = np.array([LI] * n_ions + [P] * len(FRAMEWORK))
    return Trajectory(z=z, pos=pos, cell=cell, time=dt * np.arange(n_frames)), jumps


def many(seed, n_runs, n_frames=400, n_ions=8, **settings):
    """Independent runs, moved together to save time."""
    together, _ = hopping(seed, n_frames, n_runs * n_ions, **settings)
    framework = together.pos[:, n_runs * n_ions :]
    z = np.array([LI] * n_ions + [P] * len(FRAMEWORK))
    for k in range(n_runs):
        pos = np.concatenate([together.pos[:, k * n_ions : (k + 1) * n_ions], framework], axis=1)
        yield Trajectory(z=z, pos=pos, cell=together.cell, time=together.time)


def kind(sites):
    """0 for sites of channels A, 1 for B."""
    return (sites[:, 0] + sites[:, 1]) % 2


def gas(seed, n_frames=400, n_ions=8, step=0.25, dt=20.0):
    """A random walk everywhere."""
    random = np.random.default_rng(seed)
    li = random.uniform(size=(n_ions, 3)) @ CELL + np.cumsum(random.normal(scale=step, size=(n_frames, n_ions, 3)), axis=0)
    framework = FRAMEWORK + random.normal(scale=0.05, size=(n_frames, len(FRAMEWORK), 3))
    z = np.array([LI] * n_ions + [P] * len(FRAMEWORK))
    return Trajectory(z=z, pos=np.concatenate([li, framework], axis=1), cell=CELL, time=dt * np.arange(n_frames))
