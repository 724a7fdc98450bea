"""Names of NICs in DNS.

Scripts and hooks only write down what is desired (spool); a process that nobody waits for does the rest: it
plans the changes (endpoints, changes, plan), remembers what it registers (registry) and speaks to the name
servers (provider, send). The words are those of external-dns: endpoint, current, desired, changes, registry,
provider.
"""
