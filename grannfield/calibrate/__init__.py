"""Do the intervals hold? Trajectories of exactly known diffusivity, and how often an interval contains the truth."""
