# shellcheck shell=sh
# For IFUP_EXTRA_SCRIPT, so that one written for the bash package goes on working:
#
#     #!/bin/sh
#     . /etc/default/snf-network
#     . /usr/lib/snf-network/common.sh
#     log "mail for $INSTANCE"
#     try nft add element inet mail allowed "{ $INTERFACE }"
#
# The NIC is in the environment: INTERFACE INSTANCE MAC IP EUI64 MODE TABLE BRIDGE INDEV UPLINK UPLINK6 NETWORK_* TAGS ...
# Rules of an extra script belong in a table of its own: ours are replaced as a whole.

# what /etc/default/snf-network leaves out has its default
# --- made by debian/settings
: "${STATE_DIR:=/var/lib/snf-network}"
: "${LOGFILE=/var/log/ganeti/snf-network.log}"
: "${DEBUG:=false}"
: "${IFUP_EXTRA_SCRIPT=/etc/ganeti/ifup-extra}"
: "${NFDHCPD_STATE_DIR:=/var/lib/nfdhcpd}"
: "${NFDHCPD_ENGINE:=packet}"
: "${BGP_DAEMON:=bird}"
: "${BIRD_DIR:=/var/lib/snf-network-bird}"
: "${FRR_DIR:=/var/lib/snf-network-frr}"
: "${GANETI_NIC_DIR:=/var/run/ganeti/xen-hypervisor/nic}"
: "${MAC_MASK:=ff:ff:f0:00:00:00}"
: "${TAP_CONSTANT_MAC:=cc:47:52:4e:45:54}"
: "${MASQ:=false}"
: "${NEWEST_ROUTE_WINS:=false}"
: "${UNDERLAY=}"
: "${NODE_SERVICES=}"
: "${LIMITS=}"
: "${MAC_FILTERED_TAG:=private-filtered}"
: "${IP_FILTERED_TAG:=ip-filtered}"
: "${TRUNK_TAG:=trunk}"
: "${ISOLATED_TAG:=isolated}"
: "${NFDHCPD_TAG:=nfdhcpd}"
: "${IP_LESS_ROUTED_TAG:=ip-less-routed}"
: "${GATEWAY_ON_TAP_TAG:=gateway-on-tap}"
: "${BGP_TAG:=bgp}"
: "${V6_FROM_V4_TAG:=v6-from-v4}"
: "${MASQ_TAG:=masq}"
: "${PUBLIC_TAG:=public}"
: "${PHYSICAL_VLAN_TAG:=physical-vlan}"
: "${DNS_TAG:=dns}"
: "${TAG_PREFIX:=snf-network}"
: "${FIREWALL_TAG_PREFIX:=synnefo:network}"
# --- end of what debian/settings made

# a log that cannot be written must not stop a NIC
_snf_network_log() {
	if [ -n "$LOGFILE" ] && { true >> "$LOGFILE"; } 2> /dev/null; then
		echo "$LOGFILE"
	else
		echo /dev/null
	fi
}

# log MESSAGE: one line in LOGFILE. Never fails.
log() {
	printf '%s %s[%s] %s: %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "${0##*/}" "$$" "${INTERFACE:--}" \
		"$(printf '%s' "$*" | tr '[:cntrl:]' ' ')" >> "$(_snf_network_log)" || :
}

# try COMMAND...: run a command or a function; what it prints goes to LOGFILE, and so does its failure. Never fails.
try() {
	"$@" >> "$(_snf_network_log)" 2>&1 || log "exit status $?: $*"
}
