"""Passwords within addresses, and how they stay out of everything that is printed or recorded."""

import re

_PASSWORD = re.compile(r"(://[^:/@\s]*):[^/\s]*@")


def without_passwords(text: str) -> str:
    """Any text with the passwords of the addresses in it masked: `http://user:***@host`."""
    return _PASSWORD.sub(r"\1:***@", text)
