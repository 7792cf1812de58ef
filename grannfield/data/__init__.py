"""Materials, their reference trajectories, and the files they live in; needs NumPy and h5py only."""
