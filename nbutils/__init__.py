"""A workbench for robustness benchmarks of image classifiers: margins, attacks, bounds, VNN-LIB.

The names below are what a notebook or a script starts with; each is loaded when it is first used. Everything else is
in the packages, whose order is that of the work: `core`, `properties`, `images`, `networks`, `attacks`, `bounds`,
`selection`, `benchmark`, `published`, `training`, `zoo`, `analysis`, `plots`, `findings`, `explore`, `notebook`.
"""

import os

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# OpenMP reads these when torch is loaded; values of your own stay. Its threads spin for long while they wait, and where
# other programs use the cores too they hold each other up: the funnel took ten times as long. Spinning for a short time
# and sleeping then is as fast as endless spinning where the cores are free.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
