"""Readers of data sets, a module for each, and what they share; :mod:`fsft.data` finds them by name."""
