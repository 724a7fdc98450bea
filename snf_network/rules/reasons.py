"""Why a frame is dropped: the words that base.nft counts with, and what each means."""

from __future__ import annotations

REASONS = {
    "malformed": "its IP header cannot be parsed: another version, or lengths that do not fit the frame",
    "src-mac": "its Ethernet source is not a MAC of the NIC",
    "arp-mac": "its ARP sender MAC is not one of the NIC",
    "arp-ip": "its ARP sender address is not one of the NIC",
    "arp-probe": "an ARP probe for an address that is not the NIC's",
    "arp-form": "ARP that is neither a request nor a reply for IPv4 over Ethernet",
    "rarp": "RARP about another MAC",
    "ip4-src": "its IPv4 source is not an address of the NIC",
    "ip6-src": "its IPv6 source is not an address of the NIC",
    "ip6-ll-src": "its link-local source is not one that the NIC may use",
    "na-target": "a neighbour advertisement for an address that is not the NIC's",
    "na-lladdr": "a neighbour advertisement with a MAC that is not the NIC's, or with more than that",
    "ns-lladdr": "a neighbour solicitation with a MAC that is not the NIC's, or with more than that",
    "rs-lladdr": "a router solicitation with a MAC that is not the NIC's, or with more than that",
    "dad-target": "duplicate address detection for an address that is not the NIC's",
    "nd-ext": "neighbour discovery in a fragment or behind extension headers (RFC 6980)",
    "ext-cut": "the header of what it carries is not whole: a fragment that cuts it short (RFC 7112)",
    "ra": "a router advertisement: this guest is no router",
    "redirect": "an ICMP or ICMPv6 redirect: this guest is no router",
    "querier": "a query, a hello or an advertisement of a multicast router: this guest is none",
    "dhcp-server": "an answer of a DHCP server: this guest is none",
    "answered": "DHCP or a router solicitation that nfdhcpd has answered already",
    "tagged": "a VLAN tag",
    "ethertype": "neither IPv4, IPv6, ARP nor RARP, or LLC",
    "ll-dst": "sent to 01:80:c2:00:00:0x, or to the node past its bridge",
    "ll-forward": "a link-local source on its way off the link",
    "tunnel": "a tunnel to one of the nodes (UNDERLAY)",
    "mac-prefix": "kept from this NIC: it comes from another private network",
}
