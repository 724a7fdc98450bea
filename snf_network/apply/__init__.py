"""Make the node have what a plan wants, or take it back."""
