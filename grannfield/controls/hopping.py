"""Ions that hop between the sites of a crystal with an exactly known diffusivity, in a framework that only vibrates.

Two ions on neighbouring sites change places at a rate that is the same for every pair of neighbours. Then every site always
holds one ion, so that none come too near each other, and each single ion walks at random with that rate along every edge of the
network of sites (the interchange process), whose diffusivity follows from a linear system.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from grannfield import units
from grannfield.data.material import Material
from grannfield.trajectory import Trajectory

DIFFUSIVITY_AT_1000_K = 5e-4
"""Å²/fs; 5e-5 cm²/s."""
BARRIER = 0.25
"""eV."""
INTERVAL = 20.0
"""fs between frames."""
VIBRATION = {True: 0.15, False: 0.10}
"""Å rms of a coordinate of ions and of framework atoms about their places at 1000 K; its square is proportional to T."""
LARGEST = 3.0
"""Times that: ions do not come as near to each other as the tails of independent normal numbers would bring them."""
MEMORY = 40.0
"""fs, after which a vibration has forgotten itself."""
MARGIN = 1.1
"""Sites count as neighbours up to this times the distance at which the network first spans the crystal in three directions."""


@dataclass(frozen=True, eq=False)
class SiteNetwork:
    """Sites [S, 3] in Å of a periodic cell and the edges between neighbours, each listed once."""

    sites: np.ndarray
    first: np.ndarray
    """[E]."""
    second: np.ndarray
    """[E]."""
    vector: np.ndarray
    """[E, 3] Å, from first to second."""

    @classmethod
    def of(cls, sites: np.ndarray, cell: np.ndarray) -> SiteNetwork:
        """The network with the shortest edges that spans the crystal; ValueError for fewer than two sites."""
        if len(sites) < 2:
            raise ValueError(f"{len(sites)} sites make no network to hop on")
        n = len(sites)
        reach = [range(-1, 2)] * 3
        images = np.array(np.meshgrid(*reach, indexing="ij")).reshape(3, -1).T
        vectors = sites[None, :, None] - sites[:, None, None] + images @ cell
        lengths = np.linalg.norm(vectors, axis=-1)
        i, j, k = np.nonzero((np.arange(n)[:, None] < np.arange(n))[..., None] & (lengths < 8.0))
        order = np.argsort(lengths[i, j, k], kind="stable")
        i, j, k = i[order], j[order], k[order]
        length = lengths[i, j, k]
        for distance in np.unique(length.round(3)):
            kept = length <= distance + 1e-3
            if spans(n, i[kept], j[kept], images[k[kept]]):
                chosen = length <= MARGIN * distance
                return cls(sites, i[chosen], j[chosen], vectors[i, j, k][chosen])
        raise ValueError("sites further than 8 Å from each other make no network to hop on")

    def diffusivity(self) -> float:
        """Å²/fs of one ion for a rate of 1/fs along every edge: the mean over the three directions.

        D_ab = (1/n) [sum over edges d_a d_b - sum over sites b_a (-L)^-1 b_b], with b the sum of the vectors that leave a site
        and L the generator of the walk: what an ion is carried back where the sites around it are not alike.
        """
        n = len(self.sites)
        generator = np.zeros((n, n))
        leaving = np.zeros((n, 3))
        for i, j, d in zip(self.first, self.second, self.vector, strict=True):
            generator[[i, j], [j, i]] += 1.0
            generator[[i, j], [i, j]] -= 1.0
            leaving[i] += d
            leaving[j] -= d
        carried_back = np.einsum("sa,sb->ab", leaving, np.linalg.pinv(-generator) @ leaving)
        tensor = (np.einsum("ea,eb->ab", self.vector, self.vector) - carried_back) / n
        return float(np.trace(tensor) / 3)


def spans(n: int, first: np.ndarray, second: np.ndarray, crossed: np.ndarray) -> bool:
    """Whether edges that cross lattice vectors [E, 3] join all n sites, and each site with its images in three directions."""
    place: dict[int, np.ndarray] = {0: np.zeros(3, int)}
    loops: list[np.ndarray] = []
    waiting = [0]
    around: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(n)]
    for i, j, image in zip(first, second, crossed, strict=True):
        around[i].append((int(j), image))
        around[j].append((int(i), -image))
    while waiting:
        i = waiting.pop()
        for j, image in around[i]:
            there = place[i] + image
            if j not in place:
                place[j] = there
                waiting.append(j)
            else:
                loops.append(there - place[j])
    return len(place) == n and bool(loops) and np.linalg.matrix_rank(np.array(loops)) == 3


def known_diffusivity(temperature: float) -> float:
    """Å²/fs at a temperature in K: D = D_1000 exp(-E/k (1/T - 1/1000 K)).

    >>> round(known_diffusivity(1000.0) * units.CM2_PER_S * 1e5, 6)
    5.0
    """
    return DIFFUSIVITY_AT_1000_K * math.exp(-BARRIER / units.BOLTZMANN * (1 / temperature - 1e-3))


def known_minus_log10_sigma(material: Material) -> float:
    """-log10 of the Nernst-Einstein conductivity at 300 K in mS/cm that the known D means for a material's own cell."""
    structure = material.structure
    ions = np.count_nonzero(structure.z == units.number(material.mobile_ion))
    density = ions / (structure.volume * 1e-24)
    charge = material.mobile_charge * units.ELEMENTARY_CHARGE_C
    d = known_diffusivity(300.0) * units.CM2_PER_S
    return -math.log10(1e3 * density * charge**2 * d / (units.BOLTZMANN_J_PER_K * 300.0))


def hopping(material: Material, temperature: float, length: float, seed: int) -> Trajectory:
    """A run of `length` fs at a temperature in K, a frame every 20 fs, from one ion on every site of the ideal structure."""
    structure = material.structure
    mobile = np.flatnonzero(structure.z == units.number(material.mobile_ion))
    network = SiteNetwork.of(structure.pos[mobile], structure.cell)
    random = np.random.default_rng(seed)
    frames = round(length / INTERVAL)
    rate = known_diffusivity(temperature) / network.diffusivity()
    pos = np.repeat(structure.pos[None], frames, axis=0)
    pos[:, mobile] = places(network, rate, frames, random)
    pos += vibrations(structure.z == units.number(material.mobile_ion), temperature, frames, random)
    time = INTERVAL * np.arange(1, frames + 1)
    return Trajectory(structure.z, pos, structure.cell, time, source=f"hopping at {temperature:g} K, seed {seed}")


def places(network: SiteNetwork, rate: float, frames: int, random: np.random.Generator) -> np.ndarray:
    """[F, S, 3] Å, where each ion sits, unwrapped, when every edge is crossed both ways at `rate` (1/fs)."""
    n_edges = len(network.first)
    where = network.sites.copy()
    holder = np.arange(len(where))
    found = np.empty((frames, *where.shape))
    for f, swaps in enumerate(random.poisson(rate * n_edges * INTERVAL, frames)):
        for edge in random.integers(n_edges, size=swaps):
            i, j, d = network.first[edge], network.second[edge], network.vector[edge]
            a, b = holder[i], holder[j]
            where[a] += d
            where[b] -= d
            holder[i], holder[j] = b, a
        found[f] = where
    return found


def vibrations(mobile: np.ndarray, temperature: float, frames: int, random: np.random.Generator) -> np.ndarray:
    """[F, N, 3] Å: normally distributed, forgotten as exp(-t/MEMORY), the centre of the framework at rest."""
    size = np.where(mobile, VIBRATION[True], VIBRATION[False])[:, None] * math.sqrt(temperature / 1000.0)
    keep = math.exp(-INTERVAL / MEMORY)
    noise = random.standard_normal((frames, len(mobile), 3))
    for f in range(1, frames):
        noise[f] = keep * noise[f - 1] + math.sqrt(1 - keep**2) * noise[f]
    noise = np.clip(noise, -LARGEST, LARGEST) * size
    noise[:, ~mobile] -= noise[:, ~mobile].mean(axis=1, keepdims=True)
    return noise
