"""What Ganeti, the administrator and the node say, and the kinds of thing a NIC puts on a node. Data only."""
