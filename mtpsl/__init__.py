"""Multi-task dense prediction from partially labeled data: four papers, one protocol."""

__version__ = "0.1.0"

NUMERICS = 1
"""Version of everything in this package that decides a number; part of every run's key.

Raise it with any change that alters a trained weight or a metric. ``tests/test_numerics.py``
holds golden losses of every method and fails when they move while this number stands still.
"""
