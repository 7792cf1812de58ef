"""The regression gate: whether a new set of scores is significantly worse than an old one."""
