"""snf-network: what a node does for the virtual NICs that Ganeti gives it."""

__version__ = "0.20.0"
