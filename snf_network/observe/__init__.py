"""Read the kernel: before a plan, for comparison with the records, and for traces."""
