"""The split is disjoint, keeps its gaps, and is the same tomorrow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grannfield.data.split import BLOCKS, GAP_FS, PARTS, SplitError, held_out_blocks, split_runs
from grannfield.trajectory import Trajectory


def run(n_frames, timestep=10.0, labelled=None, kind="time"):
    return Trajectory(
        z=[3],
        pos=np.zeros((n_frames, 1, 3)),
        cell=4 * np.eye(3),
        time=timestep * np.arange(n_frames),
        energy=np.zeros(n_frames),
        forces=np.zeros((n_frames, 1, 3)),
        labelled=labelled,
        kind=kind,
    )


@settings(max_examples=60, deadline=None)
@given(
    n_frames=st.integers(300, 1500),
    timestep=st.sampled_from([7.0, 10.0, 20.0, 250.0]),
    runs=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_parts_are_disjoint_and_windows_keep_their_distance(n_frames, timestep, runs, seed):
    split = split_runs([run(n_frames, timestep)] * runs, seed)
    for number in range(runs):
        parts = {name: getattr(split, name)[number] for name in PARTS}
        together = np.concatenate(list(parts.values()))
        assert len(np.unique(together)) == len(together) and together.min() >= 0 and together.max() < n_frames
        assert all((np.diff(frames) > 0).all() for frames in parts.values())
        held = np.concatenate([parts["test_windows"], parts["validation_windows"]])
        span = np.concatenate([parts["train"], parts["test_random"], parts["validation_random"]])
        assert np.abs(span[:, None] - held[None]).min() * timestep >= GAP_FS
        assert abs(len(parts["test_random"]) - 0.15 * len(span)) <= 1
        assert abs(len(parts["validation_random"]) - 0.10 * len(span)) <= 1
        assert abs(len(parts["test_windows"]) - 0.2 * n_frames) <= 2


def test_every_frame_outside_the_gaps_is_used():
    parts = split_runs([run(1000)]).counts
    held, gaps = 300, 5 * 20  # the first held-out block starts the run, so it has one gap
    assert parts["test_windows"] + parts["validation_windows"] == held
    assert parts["train"] + parts["test_random"] + parts["validation_random"] == 1000 - held - gaps


def test_held_out_blocks_rotate_and_never_touch():
    tested = []
    for number in range(BLOCKS):
        (a, b), validation = held_out_blocks(number)
        assert min(abs(a - b), abs(a - validation), abs(b - validation)) >= 3
        tested += [a, b]
    assert sorted(tested) == sorted(list(range(BLOCKS)) * 2)
    assert held_out_blocks(0) != held_out_blocks(1)


def test_the_split_depends_on_the_seed_and_on_nothing_else():
    first, again, other = split_runs([run(600)] * 2, 5), split_runs([run(600)] * 3, 5), split_runs([run(600)] * 2, 6)
    assert all(np.array_equal(first.train[i], again.train[i]) for i in range(2))
    assert not np.array_equal(first.train[0], other.train[0])
    assert not np.array_equal(first.train[0], first.train[1])
    assert np.array_equal(first.test_windows[0], other.test_windows[0])
    assert first.train[0].min() >= 60 + 20  # run 0 holds out block 0, and a gap follows it


def test_only_labelled_frames_take_part():
    labelled = np.arange(1000) % 5 == 0
    split = split_runs([run(1000, labelled=labelled)])
    for name in PARTS:
        assert labelled[getattr(split, name)[0]].all()


def test_unordered_frames_have_no_windows():
    split = split_runs([run(100, kind="frames")])
    assert split.counts == {
        "train": 75,
        "validation_random": 10,
        "validation_windows": 0,
        "test_random": 15,
        "test_windows": 0,
    }


@pytest.mark.parametrize(("n_frames", "timestep"), [(1, 10.0), (8, 500.0), (100, 10.0), (150, 10.0)])
def test_short_runs_are_refused(n_frames, timestep):
    with pytest.raises(SplitError, match=r"too few to split.*at least 2 ps"):
        split_runs([run(n_frames, timestep)])


def test_parts_by_name():
    split = split_runs([run(600)])
    assert split.part("train", "random") is split.part("train", "windows") is split.train
    assert split.part("test", "random") is split.test_random
    with pytest.raises(SplitError, match="parts are train"):
        split.part("tset")
