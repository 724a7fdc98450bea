"""Our rules in what nft lists: the text that was noted when they were loaded is compared with it."""

from __future__ import annotations

from snf_network.model.resources.nft import SIDES


def our_table(listing: str, family: str) -> str:
    """Our table in the listing of a family's ruleset; empty if it is not there. Without the chains of NICs,
    which come and go with them.
    """
    head = f"table {family} snf_network {{\n"
    start = f"\n{listing}".find(f"\n{head}")
    return _without_hooks(listing[start : listing.find("\n}\n", start) + 3]) if start >= 0 else ""


def _without_hooks(table: str) -> str:
    if not any(f"\tchain {side}-" in table for side in SIDES):
        return table
    blocks = table.removesuffix("}\n").rstrip("\n").split("\n\n")
    kept = (block for block in blocks if not block.startswith(tuple(f"\tchain {side}-" for side in SIDES)))
    return "\n\n".join(kept) + "\n}\n"
