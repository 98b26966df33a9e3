"""Figures of the chapters; the look that they share, and the tables, are in :mod:`fsft.figures.plots`."""
