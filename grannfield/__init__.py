"""GraNNField: can a machine-learned force field be trusted to move atoms?"""

__version__ = "0.1.0"
