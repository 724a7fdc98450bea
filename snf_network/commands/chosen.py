"""Select and describe the NICs that a subcommand is about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from snf_network import setups
from snf_network.dhcpd.liveness import unanswered
from snf_network.errors import BadEnvironment, SnfNetworkError, shown
from snf_network.host.record import Record, Records, is_live
from snf_network.model.config import Config
from snf_network.model.nic import Nic
from snf_network.observe.relying import engine_of
from snf_network.setups.tags import tags_of


def records(config: Config, interfaces: Collection[str] = ()) -> list[Record]:
    """Records of `interfaces`, or all, tap2 before tap10. Raises BadEnvironment if one has no record."""
    kept = Records(config.state_dir)
    found = (
        {name: kept.load(name) for name in interfaces}
        if interfaces
        else {record.interface: record for record in kept}
    )
    known = {name: record for name, record in found.items() if record}
    refuse_unknown(interfaces, known)
    return sorted(known.values(), key=lambda record: counted(record.interface))


def refuse_unknown(interfaces: Collection[str], known: Collection[str]) -> None:
    """Raise BadEnvironment for an unknown interface, such as a typing error."""
    for interface in interfaces:
        if interface not in known:
            raise BadEnvironment(f"{interface} has no record", "snf-network status lists those that have")


def counted(interface: str) -> tuple[str, int, str]:
    """Sort key that orders interfaces by number: tap2 before tap10."""
    stem = interface.rstrip("0123456789")
    return stem, len(interface), interface


def nic_of(record: Record) -> str:
    """The name of a NIC in its instance, or else its index."""
    values = dict(record.variables)
    return values.get("INTERFACE_NAME") or values.get("INTERFACE_INDEX", "")


def by_cause(said: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Interface and message for each cause; a cause shared by many NICs appears once, with their number."""
    by_cause: dict[str, list[str]] = {}
    for interface, words in said:
        by_cause.setdefault(words, []).append(interface)
    for words, interfaces in by_cause.items():
        one = len(interfaces) == 1
        yield interfaces[0] if one else "-", words if one else f"{words}: {len(interfaces)} NICs"


def unknown_tags(record: Record, config: Config) -> tuple[str, ...]:
    """The tags of a NIC without a setup."""
    return tuple(tag for tag in _tags(record, config) if setups.for_tag(tag, config) is None)


def known_tags(record: Record, config: Config) -> tuple[str, ...]:
    """The tags of a NIC that have a meaning, but not those that are keys of its binding."""
    tags = (tag for tag in _tags(record, config) if not tag.startswith(f"{config.nfdhcpd_tag}:"))
    return tuple(tag for tag in tags if setups.for_tag(tag, config) is not None)


def _tags(record: Record, config: Config) -> tuple[str, ...]:
    """The tags of a NIC. Empty for a record that describes no valid NIC."""
    values = dict(record.variables)
    if f"{config.tag_prefix}:" not in values.get("TAGS", ""):  # nothing customises those of its network
        return tuple(sorted({*values.get("NETWORK_TAGS", "").split()}))
    try:
        return tags_of(Nic.from_env(values), config)
    except SnfNetworkError:
        return ()


def without_meaning(records: Iterable[Record], config: Config) -> Iterator[tuple[str, str]]:
    """Interfaces with unknown tags, each with a message."""
    for record in records:
        tags = unknown_tags(record, config)
        if tags:
            yield record.interface, f"unknown tags, which do nothing: {shown(' '.join(tags))}"


def silent(records: Iterable[Record], config: Config) -> dict[str, str]:
    """Interfaces that rely on nfdhcpd but get no answers, each with the reason."""
    live = [record for record in records if is_live(record)]
    return unanswered({record.interface: engine for record in live if (engine := engine_of(record, config))})
