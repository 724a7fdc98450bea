"""Read the kernel: before deciding, to compare with the records, and to trace."""
