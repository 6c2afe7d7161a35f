"""A workbench for robustness benchmarks of image classifiers: margins, attacks, bounds, VNN-LIB."""

import os

__version__ = "0.1.0"

# OpenMP reads it when torch is loaded. Threads that spin while they wait make each other ten times slower where other
# programs use the cores too; asleep they cost nothing. A value of your own stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
