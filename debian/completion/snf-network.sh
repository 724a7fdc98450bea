__PROGRAM_state() {
	__PROGRAM_setting /etc/default/snf-network STATE_DIR /var/lib/snf-network
}

# interfaces with a record; what else is in STATE_DIR is not one
__PROGRAM_taps() {
	__PROGRAM_names "$(__PROGRAM_state)" | command grep -vxE 'RESERVED'
}

# instances with names in DNS
__PROGRAM_instances() {
	__PROGRAM_names "$(__PROGRAM_state)/dns/wanted"
}

__PROGRAM_devices() {
	__PROGRAM_names /sys/class/net
}

# routing tables with a name
__PROGRAM_tables() {
	command cat /etc/iproute2/rt_tables /usr/share/iproute2/rt_tables /etc/iproute2/rt_tables.d/*.conf 2> /dev/null |
		command sed -n 's/^[[:space:]]*[0-9]\{1,\}[[:space:]]\{1,\}\([A-Za-z0-9._-]\{1,\}\).*/\1/p' | command sort -u
}
