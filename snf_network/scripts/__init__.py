"""The mains of the scripts that Ganeti and Xen call."""
