"""What OpenSSL and sockets raise, in words: for people, and the alerts as RFC 8446 calls them."""

from OpenSSL import SSL


def alert_of(error: Exception) -> str:
    """The alert that ended a TLS session, as RFC 8446 calls it; empty for any other end."""
    reasons = error.args[0] if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list) else ()
    for *_, reason in reasons:
        _, found, name = str(reason).partition(" alert ")
        if found:
            return name.replace(" ", "_")
    return ""


def describe(error: Exception) -> str:
    """One line for people out of what OpenSSL and the socket raise."""
    if isinstance(error, SSL.SysCallError):
        return "connection reset" if error.args and error.args[0] not in (-1, 0) else "ended without close_notify"
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return "; ".join(reason for *_, reason in error.args[0]) or "TLS failure"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
