"""Drawings of a node: `picture` is what there is to draw; `tree`, `dot` and `svg` draw it."""
