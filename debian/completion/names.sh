# what is in a directory, without hidden files and what is no name of ours
__PROGRAM_names() {
	local name
	command ls -- "$1" 2> /dev/null | while IFS= read -r name; do
		case $name in
		*[!A-Za-z0-9._-]*) ;;
		*) printf '%s\n' "$name" ;;
		esac
	done
}

# __PROGRAM_setting FILE NAME DEFAULT: a plain value; nothing is evaluated
__PROGRAM_setting() {
	local value
	value=$(command sed -n "s/^[[:space:]]*$2[[:space:]]*=[[:space:]]*[\"']\{0,1\}\([^\"'#\$[:space:]]*\).*/\1/p" "$1" 2> /dev/null |
		command tail -n 1)
	printf '%s\n' "${value:-$3}"
}
