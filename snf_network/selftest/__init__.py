"""A guest, a peer, a router and a node in namespaces, every forged frame and every legal one: what passes,
and what does not.

frames: bytes. matrix: what is sent, and what shall become of it. world: the machines. run: send, look, judge.
"""
