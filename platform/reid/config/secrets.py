"""Passwords, tokens and keys within addresses, and how they stay out of everything that is printed or recorded."""

import re
from urllib.parse import unquote

MASK = "***"

_PASSWORD = re.compile(r"(://[^:/?#\s]*:)(?!\*\*\*@)(.*)(?=@)")
"""`scheme://user:PASSWORD@`, whatever the password holds: up to the last `@` of the line."""
_TOKEN = re.compile(r"(\b(?:https?|ftps?|wss?)://)(?!\*\*\*@)([^:\s]+)(?=@)", re.IGNORECASE)
"""`https://TOKEN@`: only there is a user without a password a secret."""
_NAMES = "password|passwd|passphrase|pwd|secret|token|signature|odbc_connect|(?:access|account|api|private)[_-]?key"
_OPTION = re.compile(
    rf"([?&;](?:[^=&?;\s]*(?:{_NAMES})[^=&?;\s]*|key|sig)=)(?!\*\*\*(?:[&\s]|$))([^&\n]*)", re.IGNORECASE
)
"""`?password=…` and its like, up to the next option or the end of the line."""
_RULES = (_PASSWORD, _TOKEN, _OPTION)

SHORTEST = 3
"""Characters of a secret, or of a part of it, that is looked for outside of addresses."""


def without_passwords(text: str, address: str = "") -> str:
    """Any text with the secrets of the addresses in it masked: `http://user:***@host`.

    Where a secret ends cannot always be told: rather too much of a line is masked than too little.

    Args:
        address: one whose secrets are masked wherever they stand, since libraries show parts of an address too.
    """
    for secret in sorted(_secrets_of(address), key=len, reverse=True):
        text = text.replace(secret, MASK)
    for rule in _RULES:
        text = rule.sub(rf"\1{MASK}", text)
    return text


def require_no_password(place: str) -> None:
    """
    Raises:
        ValueError: the address of a place, which is recorded to be found again, holds a password, token or key.
    """
    if without_passwords(place) != place:
        raise ValueError("holds a password, which every record would show: give it by the environment instead")


def _secrets_of(address: str) -> set[str]:
    """All secrets in an address as they are written and as they are meant, and their parts."""
    found = {match[2] for rule in _RULES for match in rule.finditer(address)}
    written = found | {secret[: at.start()] for secret in found for at in re.finditer("@", secret)}  # where it may end
    whole = written | {unquote(secret) for secret in written}
    parts = {part for secret in whole for ends in ("[/?#]", r"[/?#@:\s]") for part in re.split(ends, secret)}
    return {secret for secret in whole | parts if len(secret) >= SHORTEST}
