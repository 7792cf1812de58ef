"""Weights of the paper's own package as checkpoints of this one."""
