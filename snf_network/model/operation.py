"""One operation on one instance, from a hook's environment, and the NICs it should have from now on."""

from __future__ import annotations

from snf_network.errors import BadEnvironment
from snf_network.lean import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

COPIED = (
    "IP",
    "MAC",
    "MODE",
    "LINK",
    "VLAN",
    "NETWORK_NAME",
    "NETWORK_UUID",
    "NETWORK_SUBNET",
    "NETWORK_GATEWAY",
    "NETWORK_SUBNET6",
    "NETWORK_GATEWAY6",
    "NETWORK_MAC_PREFIX",
    "NETWORK_TAGS",
)
RENAMED = {"UUID": "INTERFACE_UUID", "NAME": "INTERFACE_NAME"}
MOST_NICS = 64


@dataclass(frozen=True)
class Operation:
    """One opcode, as Ganeti 3.0 describes it to a hook (measured: GANETI_POST_* is the state afterwards)."""

    opcode: str
    phase: str
    names: tuple[str, ...]
    """Every name the instance had or has."""
    primary: str = ""
    """The node that the instance runs on, or ran on until it was moved or removed."""
    running: bool = False
    """The desired state from now on, running or not."""
    old_primary: str = ""
    new_primary: str = ""
    nics: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """For each UUID, the variables that an ifup of that NIC would get."""

    @staticmethod
    def from_hook(env: Mapping[str, str]) -> Operation:
        """The operation in a hook's environment. Raises BadEnvironment if it names no instance."""
        get = env.get
        names = tuple(
            dict.fromkeys(
                filter(
                    None,
                    (
                        get("GANETI_INSTANCE_NAME"),
                        get("GANETI_INSTANCE_NEW_NAME"),
                        get("GANETI_POST_INSTANCE_NAME"),
                    ),
                )
            )
        )
        if not names:
            raise BadEnvironment("GANETI_INSTANCE_NAME is missing", "this is a hook: Ganeti's master sets it")
        old = get("GANETI_OLD_PRIMARY", "")  # not GANETI_POST_OLD_PRIMARY, which is the new one
        new = get("GANETI_NEW_PRIMARY") or get("GANETI_TARGET_NODE", "")  # the latter is OP_INSTANCE_MOVE's
        after = "GANETI_POST_INSTANCE" if "GANETI_POST_INSTANCE_NIC_COUNT" in env else "GANETI_INSTANCE"
        count = get(f"{after}_NIC_COUNT", "0")
        number = min(int(count), MOST_NICS) if count.isascii() and count.isdigit() and len(count) < 10 else 0
        nics = [_variables(env, after, index) for index in range(number)]
        primary, status = (get(f"{after}_{what}", "") for what in ("PRIMARY", "STATUS"))
        return Operation(
            get("GANETI_OP_CODE", ""),
            get("GANETI_HOOKS_PHASE", ""),
            names,
            primary,
            status == "up",
            old,
            new,
            tuple((nic["INTERFACE_UUID"], tuple(nic.items())) for nic in nics if nic.get("INTERFACE_UUID")),
        )


def _variables(env: Mapping[str, str], after: str, index: int) -> dict[str, str]:
    prefix = f"{after}_NIC{index}_"
    values = {name: env[prefix + name] for name in COPIED if env.get(prefix + name)}
    values |= {name: env[prefix + short] for short, name in RENAMED.items() if env.get(prefix + short)}
    return values | {
        "INSTANCE": env.get(f"{after}_NAME", ""),
        "TAGS": env.get(f"{after}_TAGS", ""),
        "INTERFACE_INDEX": str(index),
    }
