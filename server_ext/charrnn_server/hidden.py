"""Secrets in Jupyter's configuration, kept out of what is printed of it: with `--debug` that is all of it.

It knows which values are secret. It does not know what they are for.
"""

from __future__ import annotations

from collections.abc import Mapping

from traitlets.config import Config
from traitlets.config.loader import DeferredConfigString

SHOWN = "'…'"
SECRETS: Mapping[str, tuple[str, ...]] = {
    "CharRNNServer": ("database_url", "cookie_secret", "admin_token"),
    "PublicCharRNNServer": ("database_url", "cookie_secret", "admin_token"),
    "IdentityProvider": ("token",),
    "PasswordIdentityProvider": ("token", "hashed_password"),
    "ServerApp": ("token", "password"),
}


class Hidden(str):
    """A value from a configuration file."""

    def __repr__(self) -> str:
        return SHOWN


class HiddenArgument(DeferredConfigString):
    """A value from the command line, which its trait will read."""

    def __repr__(self) -> str:
        return SHOWN


def hide_secrets(config: Config) -> None:
    """Let no secret in a configuration show itself. Their values stay as they are."""
    for section, names in SECRETS.items():
        values = config[section]
        for name in names:
            value = values.get(name)
            if isinstance(value, str):
                values[name] = HiddenArgument(value) if isinstance(value, DeferredConfigString) else Hidden(value)
