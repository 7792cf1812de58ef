"""Distances between the atoms of a periodic cell, all images included, for any cell and unwrapped positions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from grannfield.trajectory import heights

CHUNK_ELEMENTS = 500_000
"""Pair vectors held at a time: 12 MB each in double precision."""


def images(cell: np.ndarray, r_max: float) -> np.ndarray:
    """Lattice vectors [M, 3] (integers, zero first) that can bring a nearest-image pair within r_max Å.

    A fractional difference in [-1/2, 1/2] plus n lies at least (|n_a| - 1/2) heights away along each axis a, therefore
    |n_a| <= floor(r_max / height_a + 1/2). For cells [..., 3, 3] the smallest heights are taken.

    >>> len(images(10 * np.eye(3), 4.9)), len(images(10 * np.eye(3), 5.1))
    (1, 27)
    """
    smallest = heights(np.asarray(cell, dtype=np.float64)).reshape(-1, 3).min(axis=0)
    reach = np.floor(r_max / smallest + 0.5).astype(int)
    axes = [np.arange(-n, n + 1) for n in reach]
    vectors = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return vectors[np.argsort(np.abs(vectors).sum(axis=1), kind="stable")]


def nearest_vectors(pos: np.ndarray, cell: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Vectors [F, P, 3] in Å from atoms i to atoms j [P], fractional differences wrapped to [-1/2, 1/2].

    pos [F, N, 3], cell [F, 3, 3]. In a skewed cell this need not be the shortest image: add those of `images`.
    """
    cell = np.asarray(cell, dtype=np.float64)
    fractional = np.asarray(pos, dtype=np.float64) @ np.linalg.inv(cell)
    difference = fractional[:, j] - fractional[:, i]
    difference -= np.rint(difference)
    return difference @ cell


def chunks(n_frames: int, n_pairs: int) -> Iterator[slice]:
    """Consecutive slices of frames whose pair vectors fit in memory."""
    step = max(1, CHUNK_ELEMENTS // max(1, n_pairs))
    return (slice(start, min(start + step, n_frames)) for start in range(0, n_frames, step))


def image_distances(vectors: np.ndarray, cell: np.ndarray, r_max: float) -> Iterator[np.ndarray]:
    """Distances [F, P] in Å of pair vectors [F, P, 3], one array per lattice vector that matters within r_max."""
    for image in images(cell, r_max):
        shifted = vectors + (image @ cell)[:, None] if image.any() else vectors
        yield np.sqrt(np.einsum("fpx,fpx->fp", shifted, shifted))


def minimum_distances(pos: np.ndarray, cell: np.ndarray, i: np.ndarray, j: np.ndarray, r_max: float) -> np.ndarray:
    """Distances [F, P] in Å from atoms i to the nearest image of atoms j, exact where below r_max."""
    vectors = nearest_vectors(pos, cell, i, j)
    nearest = np.full(vectors.shape[:2], np.inf)
    for distance in image_distances(vectors, cell, r_max):
        np.minimum(nearest, distance, out=nearest)
    return nearest


def closest_approach(pos: np.ndarray, cell: np.ndarray, i: np.ndarray, j: np.ndarray) -> float:
    """The smallest distance in Å that any of the pairs i, j [P] reaches in any frame, exact for any cell."""
    closest = np.inf
    for frames in chunks(len(pos), len(i)):
        vectors = nearest_vectors(pos[frames], cell[frames], i, j)
        bound = min(closest, float(np.linalg.norm(vectors, axis=-1).min()))
        closest = min(bound, *(float(d.min()) for d in image_distances(vectors, cell[frames], bound)))
    return float(closest)


def pairs(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """All unordered pairs of atoms, sorted into unordered pairs of species.

    Returns i [P], j [P], kind [P] (which species pair), and the species pairs (z_a <= z_b).

    >>> pairs([3, 16, 3])[3]
    [(3, 3), (3, 16), (16, 16)]
    """
    z = np.asarray(z)
    species, index = np.unique(z, return_inverse=True)
    first, second = np.triu_indices(len(species))
    names = [(int(species[a]), int(species[b])) for a, b in zip(first, second, strict=True)]
    lookup = np.zeros((len(species), len(species)), dtype=int)
    lookup[first, second] = lookup[second, first] = np.arange(len(names))
    i, j = np.triu_indices(len(z), k=1)
    return i, j, lookup[index[i], index[j]], names
