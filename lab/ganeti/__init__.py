"""A Ganeti cluster of machines that have systems of their own."""
