"""Errors that a user can mend."""

from __future__ import annotations


class UsageError(ValueError):
    """The call or the recipe is wrong: the text says what was found and what is allowed.  Exit code 2."""
