"""Names of NICs in DNS.

Scripts and hooks only note the desired names (spool); a process that nobody waits for does the rest: it plans
the changes (endpoints, changes, plan), records what it registers (registry) and talks to the name servers
(provider, send). The terms are those of external-dns: endpoint, current, desired, changes, registry,
provider.
"""
