"""LAMMPS with the forces of the package; what needs LAMMPS itself is skipped where it is not installed."""
