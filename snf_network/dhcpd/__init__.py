"""nfdhcpd: DHCPv4, DHCPv6, router and neighbour discovery, answered on the node for each guest according to
its binding.
"""
