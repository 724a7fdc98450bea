"""Everything that can go wrong and is worth one line to an admin."""


class SnfNetworkError(Exception):
    """A failure told in one line: what is wrong, and what to do about it (`hint`)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class BadEnvironment(SnfNetworkError):
    """What Ganeti (or a person) said of a NIC is missing or malformed. Raised before anything is touched."""


class NodesOwn(BadEnvironment):
    """The interface is no guest's but the node's: not brought up, and not tried again."""


class BadConfig(SnfNetworkError):
    """A line of a settings file cannot be used. Raised before anything is touched."""


class KernelError(SnfNetworkError):
    """The kernel, or a tool that speaks to it, refused a line; the message has the line and the refusal."""


class Hung(KernelError):
    """A tool was killed at the deadline: nobody knows what it had done by then."""


def shown(value: str) -> str:
    """A hostile value, fit for one line of a log: escaped, ASCII only, at most 60 characters."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:56]}...'"
