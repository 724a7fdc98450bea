"""What the scripts that Ganeti and Xen call say to --help. debian/man makes their man pages from the same.

Nothing imports this module until somebody asks.
"""

from __future__ import annotations

import posix

from snf_network.lean import dataclass

Pairs = tuple[tuple[str, str], ...]
"""Terms, each with its meaning. A term is one or more words, separated by commas."""


@dataclass(frozen=True)
class Usage:
    """What one script says of itself. Code is in backquotes, as in all our documents."""

    arguments: str
    summary: str
    """Without an article or a full stop: whatis(1) lists it."""
    about: tuple[str, ...]
    """Paragraphs."""
    callers: Pairs
    """As whom it is called by whom."""
    variables: Pairs
    status: Pairs


MODIFY = "/etc/ganeti/hooks/instance-modify-post.d/"
NAMES = "/etc/ganeti/hooks/instance-OPERATION-post.d/"
HOOK_STATUS = (("0", "Always: a hook never makes an operation fail. LOGFILE has what went wrong."),)
OPERATION: Pairs = (
    ("GANETI_HOOKS_PHASE", "`post`; in any other phase, nothing is done."),
    ("GANETI_OP_CODE", "The operation, such as OP_INSTANCE_SHUTDOWN."),
    ("GANETI_INSTANCE_NAME, GANETI_INSTANCE_NEW_NAME, GANETI_POST_INSTANCE_NAME", "Names of the instance."),
    (
        "GANETI_OLD_PRIMARY, GANETI_NEW_PRIMARY, GANETI_TARGET_NODE",
        "The nodes that the instance leaves and moves to.",
    ),
    (
        "GANETI_POST_INSTANCE_*, or else GANETI_INSTANCE_*",
        "The instance after the operation: PRIMARY, STATUS, TAGS, NIC_COUNT, and for each NIC NIC0_IP, "
        "NIC0_MAC and so on.",
    ),
)
NIC: Pairs = (
    ("INTERFACE", "The tap. If it is not set, the first argument is the tap."),
    ("INSTANCE", "The instance."),
    ("MODE", "`routed`, `bridged`, `openvswitch` or `ext`."),
    ("LINK", "The routing table of a routed NIC, or the bridge of any other."),
    ("MAC, IP", "The addresses of the NIC; it may have no IP."),
    ("VLAN", "The VLANs of a bridged NIC."),
    ("TAGS", "The tags of the instance."),
    ("INTERFACE_INDEX, INTERFACE_NAME, INTERFACE_UUID", "Which NIC of the instance it is."),
    ("NETWORK_NAME, NETWORK_UUID, NETWORK_TAGS", "The Ganeti network of the NIC, and its tags."),
    (
        "NETWORK_SUBNET, NETWORK_GATEWAY, NETWORK_SUBNET6, NETWORK_GATEWAY6, NETWORK_MAC_PREFIX",
        "What belongs to that network.",
    ),
    ("ACTION", "`up` or `down`. If it is not set, the name of the script says which."),
    ("MIGRATION_PHASE", "`pre` or `post`, for a NIC of mode `ext` that arrives by migration."),
)
USAGES = {
    "kvm-ifup-custom": Usage(
        "[IFACE]",
        "bring up a NIC of a KVM guest",
        (
            "Bring a NIC up, as its mode and tags say: its filters first, then its link and routes. Whatever "
            "the interface had before is replaced. The environment describes the NIC.",
            "Finally run IFUP_EXTRA_SCRIPT, if it exists.",
        ),
        (
            ("/etc/ganeti/kvm-vif-bridge", "Ganeti 3.0 and 3.1, without arguments, for every mode."),
            ("/etc/ganeti/network/MODE/up", "Ganeti 3.2."),
            ("/etc/ganeti/kvm-ifup-custom", "GRNET's Ganeti, with the tap as argument."),
        ),
        NIC,
        (
            ("0", "The NIC is up; or the exit status is that of IFUP_EXTRA_SCRIPT."),
            (
                "1",
                "It failed, and one line on stderr says why. The interface is as before, or down; it is "
                "never up without its filters.",
            ),
        ),
    ),
    "kvm-ifdown-custom": Usage(
        "[IFACE [true | false]]",
        "remove what the node has for a NIC of a KVM guest",
        (
            "Remove what was recorded when the NIC came up, if it is still the same instance and NIC. "
            "Nothing but the interface is needed.",
            "With `true` as second argument, the guest goes on elsewhere or comes back: names in DNS stay. "
            "When Ganeti 3.2 calls, they stay, too. Ganeti 3.0 and 3.1 never call this: see "
            "snf-network-hook(8).",
        ),
        (
            ("/etc/ganeti/network/MODE/down", "Ganeti 3.2."),
            ("/etc/ganeti/kvm-ifdown-custom", "GRNET's Ganeti, with the tap and `true` or `false`."),
        ),
        (
            NIC[0],
            ("INSTANCE, INTERFACE_UUID", "If set: the record must be that of this instance and NIC."),
            NIC[-2],
        ),
        (("0", "Always: LOGFILE and stderr have what went wrong."),),
    ),
    "vif-custom": Usage(
        "online | offline | add | remove [type_if=vif | type_if=tap]",
        "bring a NIC of a Xen guest up or down",
        (
            "Do what kvm-ifup-custom(8) and kvm-ifdown-custom(8) do, for a vif. The NIC is described by the "
            "file that Ganeti wrote for it in GANETI_NIC_DIR; the guest is found by its domain. The "
            "toolstack is told in xenstore how it went.",
        ),
        (("/etc/xen/scripts/vif-custom", "The toolstack of Xen, through Ganeti's vif-ganeti."),),
        (
            ("vif", "The interface, `vifDOMAIN.DEVICE`; without it, `dev`."),
            ("INTERFACE", "The interface, for `type_if=tap`."),
            ("XENBUS_PATH", "Where to report in xenstore."),
            ("ACTION", "The action, if it is no argument."),
        ),
        (
            ("0", "Done; offline and remove always."),
            (
                "1",
                "It failed: one line on stderr and in xenstore says why. The interface is as before, or "
                "down.",
            ),
        ),
    ),
    "snf-network-hook": Usage(
        "",
        "remove what the node has for NICs of an instance that are gone",
        (
            "After an operation on an instance, remove what this node still has for those of its NICs that "
            "are no longer here. The records and the interfaces that exist decide that, not what Ganeti "
            "says.",
        ),
        (
            (
                f"{NAMES}snf-network-hook",
                "Ganeti's master, on each node that takes part: after add, failover, migrate, modify, move, "
                "reboot, remove, rename, stop.",
            ),
        ),
        OPERATION,
        HOOK_STATUS,
    ),
    "snf-network-dnshook": Usage(
        "",
        "note what should happen to the names of an instance in DNS",
        (
            "After an operation on an instance, note which names it should have. Nothing is sent from here: "
            "snf-network-dnssend(8) does that.",
        ),
        ((f"{NAMES}snf-network-dnshook", "Ganeti's master: after modify, remove, rename, stop."),),
        OPERATION,
        HOOK_STATUS,
    ),
    "snf-network-reconfigure": Usage(
        "",
        "give a running NIC its new tags and network",
        (
            "After a modification without hotplug, plan the NICs again that run here, if the instance has "
            "the tag `synnefo:network:reconfigure`, or for one NIC `synnefo:network:IDENT:reconfigure`: "
            "IDENT is its uuid, name or index. A NIC whose MAC was changed is left as it is.",
        ),
        ((f"{MODIFY}snf-network-reconfigure", "Ganeti's master: after modify."),),
        OPERATION,
        HOOK_STATUS,
    ),
    "snf-network-dnssend": Usage(
        "",
        "send what is noted for DNS to the name servers",
        (
            "Send until nothing is due soon. Only one runs at a time. It may be killed at any time, and the "
            "next one goes on.",
        ),
        (
            ("snf-network-dns.path", "When a name is noted."),
            ("snf-network-dns.timer", "Every minute."),
            ("the scripts and hooks", "When they note a name."),
        ),
        (),
        (("0", "Nothing is due soon."), ("1", "The sender itself failed: one line on stderr says why.")),
    ),
}
COLUMN = 24
"""Where meanings begin at most."""
HEADINGS = {"callers": "called as", "variables": "variables", "status": "exit status"}


def text(name: str, width: int) -> str:
    """What --help prints for a script, filled to `width` columns."""
    from textwrap import fill

    usage = USAGES[name]
    parts = [f"usage: {name} {usage.arguments}".rstrip()]
    parts += [fill(paragraph.replace("`", ""), width, break_on_hyphens=False) for paragraph in usage.about]
    for field, heading in HEADINGS.items():
        lines = [_entry(term, meaning, width) for term, meaning in getattr(usage, field)]
        parts += ["\n".join((f"{heading}:", *lines))] if lines else []
    return "\n\n".join((*parts, f"More: man {name}\n"))


def _entry(term: str, meaning: str, width: int) -> str:
    """A term and its meaning, beside it or below it, as argparse does."""
    from textwrap import fill

    column = min(COLUMN, width // 3)
    indent = " " * column
    head = (
        f"  {term}".ljust(column)
        if len(term) < column - 3
        else fill(f"  {term}", width, subsequent_indent="  ")
    )
    beside = len(head) == column
    body = fill(meaning.replace("`", ""), width, initial_indent=indent, subsequent_indent=indent)
    return head + body[column:] if beside else f"{head}\n{body}"


def width() -> int:
    """Columns to fill: those of COLUMNS or the terminal, or 80; two stay free, as argparse leaves them."""
    said = posix.environ.get(b"COLUMNS", b"")
    columns = int(said) if said.isdigit() and len(said) < 5 else 0
    try:
        columns = columns or posix.get_terminal_size(1).columns
    except OSError:
        pass  # no terminal
    return max((columns or 80) - 2, 20)
