"""The errors that are reported to an admin in one line."""


class SnfNetworkError(Exception):
    """A failure reported in one line: what is wrong, and what to do about it (`hint`)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class BadEnvironment(SnfNetworkError):
    """A value that Ganeti (or a person) gave for a NIC is missing or malformed. Raised before any change."""


class NodesOwn(BadEnvironment):
    """The interface belongs to the node, not to a guest: it is not brought up, and not tried again."""


class BadConfig(SnfNetworkError):
    """A line of a settings file cannot be used. Raised before any change."""


class KernelError(SnfNetworkError):
    """The kernel, or a tool that talks to it, refused a line; the message has the line and the reason."""


class Hung(KernelError):
    """A tool was killed at the deadline: what it had done by then is unknown."""


def shown(value: str) -> str:
    """An untrusted value made safe for one log line: escaped, ASCII only, at most 60 characters."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:56]}...'"
