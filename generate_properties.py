"""VNN-COMP's entry point: `python generate_properties.py SEED` writes instances.csv and vnnlib/ for the networks here.

`python generate_properties.py --help` says what else it takes; it is `python -m nbutils generate`.
"""

import sys

from nbutils.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["generate", *sys.argv[1:]]))
