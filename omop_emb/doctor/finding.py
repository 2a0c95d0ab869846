"""What the doctor says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    ``level`` is ``ok``, ``note`` (nothing to do, but good to know), ``warning`` (worse or older answers) or
    ``problem`` (something does not work); ``check`` is what was looked at, ``config`` the configuration it belongs
    to, ``advice`` what to do.
    """

    level: str
    check: str
    message: str
    advice: str | None = None
    config: str | None = None
