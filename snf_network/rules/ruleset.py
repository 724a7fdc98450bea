"""The whole ruleset as text: base.nft with its definitions, the firewall profiles, and source NAT if it is
on. Off the fast path.
"""

from __future__ import annotations

from posix import listdir

from snf_network.errors import KernelError
from snf_network.host.kernel import RULES, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config

PROFILES = (f"{RULES}/profiles", "/etc/snf-network/profiles")
"""Where profiles are; a file in the second replaces one of that name in the first."""
CARRIERS = ("0x8847", "0x8848", "0x8863", "0x8864", "0x894f", "0x9100", "0x9200", "0x9300")
NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


def profiles() -> dict[str, str]:
    """The firewall profiles there are: name and path. A file whose name nft would not take as part of a
    chain's is none.
    """
    found = {}
    for directory in PROFILES:
        try:
            names = sorted(listdir(directory))
        except OSError:
            continue
        for file in names:
            name, dot, ending = file.rpartition(".")
            if dot and ending == "nft" and 0 < len(name) <= 24 and NAME.issuperset(name):
                found[name] = f"{directory}/{file}"
    return found


def text(config: Config) -> str:
    """What `nft -I snf_network -f -` loads: again and again, without a window, keeping all members."""
    return "\n".join(
        (
            f"define MAC_MASK = {config.mac_mask}",
            'include "base.nft"',
            *_profiles(),
            *_no_tunnels(config),
            *(('include "masq.nft"',) if config.masq else ()),
            "",
        )
    )


def _no_tunnels(config: Config) -> Iterator[str]:
    """Where tunnels out of a guest must not lead to: the addresses that the nodes speak to each other by."""
    rules = "".join(
        f"{'ip6' if ':' in prefix else 'ip'} daddr {prefix} goto no_tunnel\n"
        for prefix in config.underlay.split()
    )
    for family in ("bridge", "inet") if rules else ():
        yield f"table {family} snf_network {{\nchain tunnel {{\n{rules}}}\n}}"


def _profiles() -> Iterator[str]:
    known = profiles()
    for name, path in known.items():
        yield from _chains(name, f'include "{path}"')
    for name in (
        _loaded() - known.keys()
    ):  # its file is gone, NICs may point at it: an empty chain would be open
        yield from _chains(name, "drop")


def _chains(name: str, body: str) -> Iterator[str]:
    """A profile in inet; in bridge, where ARP is not its business; and behind the check of the MAC prefix.

    `meta protocol` looks behind one VLAN tag, as the guest will; what has two, or is LLC (4, ETH_P_802_2), is
    nothing that a profile could judge. It is compared and not looked up: that is cheaper. What may have IP
    inside (MPLS, PPPoE, older tags, NSH) is judged as what it is: a profile that lets in everything takes it.
    """
    inside = ", ".join(f"{kind} : goto ip_profile_{name}" for kind in CARRIERS)
    yield f"table inet snf_network {{\nchain profile_{name} {{\n{body}\n}}\n}}"
    yield (
        f"table bridge snf_network {{\nchain profile_{name} {{\nmeta protocol ip goto ip_profile_{name}\n"
        f"meta protocol ip6 goto ip_profile_{name}\n"
        f"meta protocol vmap {{ 0x0004 : drop, 8021q : drop, 8021ad : drop, {inside} }}\naccept\n}}\n"
        f"chain ip_profile_{name} {{\n{body}\n}}\n"
        f"chain filtered_profile_{name} {{\noifname . ether saddr & $MAC_MASK @prefixes goto profile_{name}\ngoto no_mac_prefix\n}}\n}}"
    )


def _loaded() -> set[str]:
    """Names of the profiles that have chains in the kernel now."""
    said = run(("nft", "list", "chains", "bridge"))[1]
    ours = said.partition("table bridge snf_network {\n")[2].partition("\n}")[0].split()
    return {word.removeprefix("profile_") for word in ours if word.startswith("profile_")}


def listing() -> str:
    """Our rules as the kernel has them now, without members and counters."""
    tables = [
        run(("nft", "-s", "-t", "list", "table", family, "snf_network"))
        for family in ("bridge", "inet", "arp")
    ]
    return "".join(said for status, said in tables if not status)


def explained(said: str) -> KernelError:
    """nft's refusal as one line, with what to do."""
    line = next((line for line in said.splitlines() if "Error" in line), said.partition("\n")[0])
    hints = {
        "profiles/": "a firewall profile does not load",
        "overlaps": "two masq networks overlap: only one can be translated",
    }
    hint = next((hint for word, hint in hints.items() if word in said), "snf-network load shows more")
    return KernelError(f"nft: {line.strip()}", hint)
