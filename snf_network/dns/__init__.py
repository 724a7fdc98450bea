"""Names of NICs in DNS: names and spool are on the way of a NIC; the rest runs in a process that nobody waits
for.
"""
