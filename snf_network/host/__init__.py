"""The doors to the machine: processes, netlink, files, records, locks."""
