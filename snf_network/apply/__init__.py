"""Apply a plan to the node, or undo it."""
