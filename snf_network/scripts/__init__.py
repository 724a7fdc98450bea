"""Entry points of the scripts that Ganeti and Xen call."""
