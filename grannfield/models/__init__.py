"""The models of the paper, one file each."""

from grannfield.models import schnet

__all__ = ["schnet"]
