"""A workbench for robustness benchmarks of image classifiers: margins, attacks, bounds, VNN-LIB."""

__version__ = "0.1.0"
