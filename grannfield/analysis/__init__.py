"""What a trajectory says: errors, structure, failure, diffusion, conductivity and paths; NumPy and SciPy only."""
