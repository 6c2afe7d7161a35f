"""A workbench for robustness benchmarks of image classifiers: margins, attacks, bounds, VNN-LIB."""

import os

__version__ = "0.1.0"

# OpenMP reads these when torch is loaded; values of your own stay. Its threads spin for long while they wait, and where
# other programs use the cores too they hold each other up: the funnel took ten times as long. Spinning for a short time
# and sleeping then is as fast as endless spinning where the cores are free.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
