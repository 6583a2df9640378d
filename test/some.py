# SPDX-License-Identifier: Apache-2.0
"""For results that are None where there is nothing: a test that reads one says that it is there."""

from typing import TypeVar

T = TypeVar("T")


def some(value: T | None) -> T:
    """The value, which must not be None."""
    assert value is not None
    return value
