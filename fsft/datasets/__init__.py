"""Readers of data sets, a module for each, and what they share; :mod:`fsft.datasets.registry` finds them by name."""
