"""Fixtures of the interface's tests."""

from driving import here

__all__ = ["here"]
