"""Updates signed with GSS-TSIG (RFC 3645), sent by nsupdate -g. A ticket is obtained from a keytab when
needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import dns.rcode
from dns.rcode import Rcode

from snf_network.dns.changes import Change, Name, script
from snf_network.dns.send import NoAnswer, Refused, Server
from snf_network.dns.settings import Settings
from snf_network.errors import KernelError
from snf_network.host import kernel

SECONDS = 30.0
"""Time limit for kinit or nsupdate."""
FAILED = "update failed: "


class KerberosServer(Server):
    """A name server that accepts updates from a principal."""

    def __init__(self, host: str, port: int, settings: Settings) -> None:
        super().__init__(host, port, settings.timeout)
        self.principal, self.keytab, self.ticket = settings.kerberos
        # the library itself gets a ticket from a client keytab, for the first principal in it; for a named
        # one, kinit does
        self.environment = {
            **kernel.ENVIRONMENT,
            "KRB5CCNAME": f"FILE:{self.ticket}",
            "KRB5_CLIENT_KTNAME": self.keytab,
        }

    def update(self, zone: Name, batch: Sequence[Change]) -> Rcode:
        """Send one UPDATE; returns the server's response code. Raises NoAnswer or Refused."""
        if self.principal:
            said = self._run("kinit", "-k", "-t", self.keytab, self.principal)
            if said:
                raise NoAnswer(
                    f"no ticket for {self.principal}: {said}",
                    f"KERBEROS_PRINCIPAL, and klist -k {self.keytab}",
                )
        lines = [f"server {self.host} {self.port}", *script(zone, batch), "send"]
        said = self._run("nsupdate", "-g", "-v", text="\n".join(lines) + "\n")
        if not said:
            return Rcode.NOERROR
        failed = next((line.partition(FAILED)[2] for line in said.splitlines() if FAILED in line), "")
        if failed:
            try:
                return dns.rcode.from_text(failed.partition(" ")[0].partition("(")[0])
            except dns.rcode.UnknownRcode:
                raise Refused(f"{self}: {failed}", "the server's log says why") from None
        raise NoAnswer(
            f"nsupdate -g: {said.splitlines()[-1]}",
            f"the principal in {self.keytab}, the server's keytab, the clocks",
        )

    def _run(self, *argv: str, text: str = "") -> str:
        """Run a tool; returns its error message, empty on success."""
        kernel.give_up_after(SECONDS)
        try:
            status, said = kernel.run(argv, text, self.environment)
        except KernelError as error:
            raise NoAnswer(error.message, error.hint) from error
        return (said.strip() or f"exit status {status}") if status else ""
