"""Forged and legal frames of a guest, a peer, a router and a node in namespaces: which ones pass, and which
not.

frames: bytes. matrix: what is sent, and the expected results. world: the machines. run: send, look, judge.
"""
