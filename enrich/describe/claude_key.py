"""The key to Claude's API: read here and nowhere else, from the environment or the system's keyring.

It is handed on in a wrapper that does not show it. It is never stored by us, and never logged.
"""

from pydantic import SecretStr

from enrich.errors import AccountError
from enrich.settings import foreign_variable

VARIABLE = "ANTHROPIC_API_KEY"
SERVICE, USER = "everyframe", "anthropic"
REMEDY = f"set {VARIABLE} in the environment, or put the key into the system's keyring: `keyring set {SERVICE} {USER}`"


def api_key() -> SecretStr:
    """The key. Raises AccountError, which says how to give one, if there is none."""
    key = find_key()
    if key is None:
        raise AccountError(f"there is no key for Claude: {REMEDY}")
    return key


def find_key() -> SecretStr | None:
    """The key, the environment's first; None if there is none."""
    key = foreign_variable(VARIABLE) or _in_keyring().strip()
    return SecretStr(key) if key else None


def _in_keyring() -> str:
    """What the keyring holds for us; a machine without a keyring has nothing there."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return ""
    try:
        return keyring.get_password(SERVICE, USER) or ""
    except (KeyringError, OSError, RuntimeError):
        return ""
