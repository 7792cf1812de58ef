"""Frame sets carry the right frames, their origin and a hash."""

import numpy as np
import pytest

from grannfield.data.dataset import FrameSet, frames, gather, split_reference, spread_indices
from grannfield.data.material import load_material


@pytest.fixture(scope="module")
def lgps():
    return load_material("LGPS")


def test_frames_are_those_of_the_runs(lgps):
    reference = lgps.reference()
    found = frames(lgps, reference, "test", "windows", limit=50)
    assert len(found) == 50 and found.pos.shape == (50, 50, 3) and found.cell.shape == (50, 3, 3)
    runs = [lgps.trajectory(run) for run in reference.runs]
    held_out = split_reference(lgps, reference).test_windows
    for index, (number, frame) in enumerate(found.origin):
        assert np.array_equal(found.forces[index], runs[number].forces[frame]) and frame in held_out[number]
        assert found.energy[index] == runs[number].energy[frame]
    assert set(found.origin[:, 0]) == {0, 1, 2}  # spread over all runs


def test_same_seed_same_hash(lgps):
    reference = lgps.reference()
    first, again, other = (frames(lgps, reference, "train", limit=40, seed=seed).sha256 for seed in (1, 1, 2))
    assert first == again != other


def test_both_columns_share_one_training_set(lgps):
    reference = lgps.reference()
    assert frames(lgps, reference, "train", "random").sha256 == frames(lgps, reference, "train", "windows").sha256


@pytest.mark.parametrize(("total", "limit"), [(10, 10), (11, 10), (1000, 7), (5, 1)])
def test_spread_is_even(total, limit):
    index = spread_indices(total, limit, seed=3)
    assert len(index) == limit and (np.diff(index) > 0).all() and np.diff(index).max(initial=0) <= 2 * total / limit
    assert index.min() >= 0 and index.max() < total
    with pytest.raises(ValueError, match="cannot spread"):
        spread_indices(total, total + 1)


def test_frames_of_different_materials_do_not_mix(lgps):
    other = load_material("Li4GeS4")
    runs = [lgps.trajectory(lgps.reference().runs[0]), other.trajectory(other.reference().runs[0])]
    with pytest.raises(ValueError, match="other atoms"):
        gather(runs, [np.arange(2), np.arange(2)])
    with pytest.raises(ValueError, match="no frames"):
        gather(runs, [np.arange(0), np.arange(0)])


def test_shapes_and_values_are_checked():
    good = {
        "z": [3], "pos": np.zeros((2, 1, 3)), "cell": np.ones((2, 3, 3)), "energy": np.zeros(2),
        "forces": np.zeros((2, 1, 3)), "origin": np.zeros((2, 2), int),
    }  # fmt: skip
    assert not FrameSet(**good).forces.flags.writeable
    with pytest.raises(ValueError, match="cell"):
        FrameSet(**good | {"cell": np.eye(3)})
    with pytest.raises(ValueError, match="energy holds NaN"):
        FrameSet(**good | {"energy": np.array([0, np.nan])})
