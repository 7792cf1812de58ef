"""Where the mobile ions rest: maxima of their symmetrised density, and which moves between them are the same by symmetry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

CLOSEST = 1.5
"""Å between two sites: nearer maxima are one site (tetrahedra that share a face have centres 1.6 to 1.8 Å apart)."""
FAINTEST = 0.05
"""Of the largest density: fainter maxima are noise of a short run or a way, not a site."""
DIP = 0.8
"""A maximum is a site of its own when the density on the straight line to the next site falls below this share of it."""
CORE = 0.45
"""Of the smallest distance between sites: radius of the cores, so that a tenth of the way belongs to neither."""
LARGEST_CORE = 1.0
"""Å: twice the vibration at 1000 K."""
SAME = 0.5
"""Å within which images of a site under different operations are one position; relaxed cells are symmetric to 0.2 Å."""


@dataclass(frozen=True, eq=False)
class Sites:
    """Sites of the mobile ions in the ideal cell, with all images under its symmetry operations."""

    fractional: np.ndarray
    """[S, 3] in [0, 1)."""
    orbit: np.ndarray
    """[S] which sites are images of each other: 0 for the orbit with the densest site."""
    occupancy: np.ndarray
    """[S] mean number of ions nearest to the site, the same for all images."""
    cell: np.ndarray
    """[3, 3] Å."""
    rotations: np.ndarray
    """[G, 3, 3]."""
    image: np.ndarray
    """[G, S] the site to which an operation takes each site."""
    shift: np.ndarray
    """[G, S, 3] whole cells by which the image lies outside the cell."""

    def __len__(self) -> int:
        return len(self.fractional)

    @cached_property
    def nearest(self) -> float:
        """Å between the two closest sites, periodic images included."""
        tree, _, _ = self._tree(20.0)
        return float(tree.query(self.fractional @ self.cell, k=2)[0][:, 1].min())

    @property
    def core_radius(self) -> float:
        """Å about a site in which an ion has arrived there."""
        return min(LARGEST_CORE, CORE * self.nearest)

    @property
    def names(self) -> list[str]:
        """Orbits by multiplicity and letter, as crystallographers name them: "8a", "4b", from the densest on."""
        counts = np.bincount(self.orbit)
        return [f"{n}{chr(97 + k % 26)}{k // 26 or ''}" for k, n in enumerate(counts)]

    def in_core(self, fractional: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Site [...] in whose core each position [..., 3] (fractional, unwrapped) lies, -1 for none, and its cell [..., 3]."""
        tree, site, offset = self._tree(self.core_radius)
        cells = np.floor(fractional).astype(np.int64)
        distance, found = tree.query((fractional - cells) @ self.cell, distance_upper_bound=self.core_radius)
        near = np.isfinite(distance)
        found = np.where(near, found, 0)
        return np.where(near, site[found], -1), cells + offset[found]

    def moves(self, origin: np.ndarray, target: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Representative (origin, target, cells) [J, 5] of moves from a site to another, `cells` [J, 3] away.

        Moves that a symmetry operation or their reversal turns into each other get the same representative.
        """
        versions = []
        for rotation, image, shift in zip(self.rotations, self.image, self.shift, strict=True):
            there = cells @ rotation.T + shift[target] - shift[origin]
            versions.append(np.column_stack([image[origin], image[target], there]))
            versions.append(np.column_stack([image[target], image[origin], -there]))
        stacked = np.array(versions)
        span = np.abs(stacked[..., 2:]).max(initial=0) * 2 + 1
        digits = np.concatenate([stacked[..., :2], stacked[..., 2:] + span // 2], axis=-1)
        code = np.zeros(digits.shape[:2], dtype=np.int64)
        for digit, base in zip(np.moveaxis(digits, -1, 0), (len(self), len(self), span, span, span), strict=True):
            code = code * base + digit
        return stacked[code.argmin(axis=0), np.arange(len(origin))]

    def length(self, moves: np.ndarray) -> np.ndarray:
        """Å [J] of moves [J, 5] from site to site."""
        step = self.fractional[moves[:, 1]] + moves[:, 2:] - self.fractional[moves[:, 0]]
        found: np.ndarray = np.linalg.norm(step @ self.cell, axis=1)
        return found

    def _tree(self, reach: float) -> tuple[cKDTree, np.ndarray, np.ndarray]:
        """All images of the sites within `reach` Å of the cell: a search tree, and the site and cell of each."""
        margin = reach * np.linalg.norm(np.linalg.inv(self.cell), axis=0)
        counts = np.minimum(np.ceil(margin).astype(int), 3)
        cells = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
        spread = self.fractional[:, None] + cells
        kept = ((spread >= -margin) & (spread <= 1 + margin)).all(axis=-1)
        site, which = np.nonzero(kept)
        return cKDTree(spread[kept] @ self.cell), site, cells[which]


def find_sites(
    density: np.ndarray, smoothed: np.ndarray, cell: np.ndarray, rotations: np.ndarray, translations: np.ndarray, n_ions: int
) -> Sites:
    """Sites at the maxima of a symmetrised density [A, B, C] of n ions, given as counted and smoothed.

    Maxima are taken from the densest on, each with all its images. Images of one maximum nearer than 1.5 Å to each other
    become one site on the symmetry element between them; a maximum nearer than that to a site, or not parted from it by a
    dip, is part of that site. So symmetric copies stay symmetric, whatever the noise. rotations [G, 3, 3] and translations
    [G, 3], fractional. ValueError for a density without ions.
    """
    if not smoothed.max() > 0:
        raise ValueError("the density is zero everywhere: it has no sites")
    accepted, orbit = np.empty((0, 3)), np.empty(0, dtype=int)
    for start in _maxima(smoothed, cell):
        members = _orbit(_centred(start, smoothed, cell), cell, rotations, translations)
        if members is None or (len(accepted) and _part_of(members[0], accepted, smoothed, cell)):
            continue
        accepted, orbit = np.concatenate([accepted, members]), np.append(orbit, np.full(len(members), orbit.max(initial=-1) + 1))
    image, shift = _images(accepted, cell, rotations, translations)
    return Sites(
        accepted,
        orbit,
        _occupancy(accepted, orbit, density, cell) * n_ions,
        np.asarray(cell),
        np.asarray(rotations),
        image,
        shift,
    )


def nearest_image(step: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Length [...] in Å of the shortest periodic image of fractional differences [..., 3], skewed cells included.

    >>> float(nearest_image(np.array([0.9, 0.0, 0.0]), 4 * np.eye(3)).round(6))
    0.4
    """
    cells = np.stack(np.meshgrid(*3 * [np.arange(-1, 2)], indexing="ij"), axis=-1).reshape(-1, 3)
    folded = step - np.rint(step)
    found: np.ndarray = np.linalg.norm((folded[..., None, :] + cells) @ cell, axis=-1).min(axis=-1)
    return found


def _maxima(smoothed: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Fractional voxel centres [m, 3] of the local maxima, densest first; of equals, the order of the grid."""
    spacing = np.linalg.norm(cell, axis=1) / smoothed.shape
    size = [2 * max(1, round(0.5 * CLOSEST / s)) + 1 for s in spacing]
    top = maximum_filter(smoothed, size=[min(n, k) for n, k in zip(size, smoothed.shape, strict=True)], mode="wrap")
    where = np.argwhere((smoothed >= top * (1 - 1e-9)) & (smoothed >= FAINTEST * smoothed.max()))
    order = np.argsort(-smoothed[tuple(where.T)].round(15), kind="stable")
    found: np.ndarray = (where[order] + 0.5) / smoothed.shape
    return found


def _centred(start: np.ndarray, smoothed: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """The density's centre within half of the smallest distance of sites about a maximum."""
    spacing = np.linalg.norm(cell, axis=1) / smoothed.shape
    reach = [int(np.ceil(0.5 * CLOSEST / s)) for s in spacing]
    box = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    near = np.linalg.norm(box / smoothed.shape @ cell, axis=1) <= 0.5 * CLOSEST
    voxels = np.floor(start * smoothed.shape).astype(int) + box[near]
    weight = smoothed[tuple((voxels % smoothed.shape).T)]
    found: np.ndarray = start + weight @ (box[near] / smoothed.shape) / weight.sum()
    return found


def _orbit(start: np.ndarray, cell: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray | None:
    """All images [m, 3] of a position, moved onto the symmetry element that images nearer than 1.5 Å share.

    None where the images stay too near to each other: a shallow ridge, no site.
    """
    for _ in range(6):
        step = rotations @ start + translations - start
        step -= np.rint(step)
        near = nearest_image(step, cell) < CLOSEST
        if np.linalg.norm(step[near].mean(axis=0) @ cell) < 1e-6:
            break
        start = start + step[near].mean(axis=0)
    members = np.empty((0, 3))
    for one in (rotations @ start + translations) % 1.0:
        if not len(members) or nearest_image(members - one, cell).min() > SAME:
            members = np.append(members, [one], axis=0)
    apart = all(nearest_image(members[k + 1 :] - members[k], cell).min(initial=math.inf) > CLOSEST for k in range(len(members)))
    return members if apart else None


def _part_of(one: np.ndarray, accepted: np.ndarray, smoothed: np.ndarray, cell: np.ndarray) -> bool:
    """Whether a maximum is too near to a site, or the density between them does not dip."""
    step = accepted - one
    step -= np.rint(step)
    distance = nearest_image(accepted - one, cell)
    if distance.min() < CLOSEST:
        return True
    value = lambda x: smoothed[tuple(np.floor(x * smoothed.shape).astype(int).T % np.array(smoothed.shape)[:, None])]  # noqa: E731
    for towards in step[distance < 2 * CLOSEST]:
        line = value(one + np.linspace(0.0, 1.0, 21)[:, None] * towards)
        if line.min() > DIP * line[0]:
            return True
    return False


def _images(
    fractional: np.ndarray, cell: np.ndarray, rotations: np.ndarray, translations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """To which site [G, S] and how many cells away [G, S, 3] each operation takes each site."""
    image, shift = [], []
    for rotation, translation in zip(rotations, translations, strict=True):
        moved = fractional @ np.asarray(rotation).T + translation
        step = moved[:, None] - fractional
        found = nearest_image(step, cell).argmin(axis=1)
        image.append(found)
        shift.append(np.rint(moved - fractional[found]).astype(int))
    return np.array(image), np.array(shift)


def _occupancy(fractional: np.ndarray, orbit: np.ndarray, density: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Share of the density [S] nearest to each site, averaged over its images."""
    filled = np.argwhere(density > 0)
    cells = np.stack(np.meshgrid(*3 * [np.arange(-1, 2)], indexing="ij"), axis=-1).reshape(-1, 3)
    tree = cKDTree((fractional[:, None] + cells).reshape(-1, 3) @ cell)
    _, found = tree.query((filled + 0.5) / density.shape @ cell)
    share = np.bincount(orbit[found // len(cells)], weights=density[tuple(filled.T)], minlength=orbit.max() + 1)
    each: np.ndarray = (share / density.sum() / np.bincount(orbit))[orbit]
    return each
