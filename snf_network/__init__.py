"""snf-network: sets up a node for the virtual NICs that Ganeti places on it."""

__version__ = "0.20.0"
