# taps with a binding
__PROGRAM_bindings() {
	__PROGRAM_names "$(__PROGRAM_setting /etc/nfdhcpd/nfdhcpd.conf 'data[a-z]*' /var/lib/nfdhcpd)"
}
