"""Errors that a user can act on."""


class OmopEmbError(Exception):
    """Something is wrong with the arguments, the database or the endpoint; the message says what.

    ``hint`` says what to do about it. The command line prints both on stderr and exits with 1. ``sqlstate`` is that
    of the database, or one of OE001 to OE005, where the error has one.
    """

    def __init__(self, message: str, hint: str | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.sqlstate = sqlstate
