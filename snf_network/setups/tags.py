"""The tags of a NIC: those of its network, customised by those of its instance. Not a setup."""

from __future__ import annotations

from snf_network.errors import BadEnvironment, shown
from snf_network.setups.allow import setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.model.config import Config
    from snf_network.model.nic import Nic


def tags_of(nic: Nic, config: Config) -> tuple[str, ...]:
    """The network's tags, customised by instance tags `snf-network:<ident>:<tag>` and `...:no-<tag>`; uuid
    overrides name, name overrides index.
    """
    wanted = dict.fromkeys(nic.network.tags, True)
    for said_of_it in reversed(nic.customised(config.tag_prefix)):
        words = [word for word in said_of_it if not setting(word)[0]]
        said = {word.removeprefix("no-"): not word.startswith("no-") for word in words}
        if len(said) < len(words):
            raise BadEnvironment(
                f"TAGS: {shown(' '.join(words))} contradict each other", "say a tag or no-tag, not both"
            )
        wanted.update(said)
    return tuple(sorted(tag for tag, on in wanted.items() if on))
