"""What will bite on this node: each module has the checks of one subject, and all.py runs them. They only
read. What cannot be checked on a node, because a tool or a daemon is not there, is no finding.
"""
