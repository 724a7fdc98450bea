"""Input from Ganeti, the admin and the node, and the kinds of Resource a NIC puts on a node. Data only."""
