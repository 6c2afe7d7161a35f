"""What importing the package does to the process."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ("PASSIVE", "10000")),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ("ACTIVE", "10000")),
        ({"GOMP_SPINCOUNT": "7"}, ("PASSIVE", "7")),
    ],
)
def test_waiting_threads_sleep_soon_unless_told_otherwise(given, found):
    # libgomp prints what it took when it is loaded with torch: nbutils has to be imported before
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | given
    call = [sys.executable, "-c", "import nbutils, torch"]
    said = subprocess.run(call, env=environment, capture_output=True, text=True, check=True).stderr
    assert f"OMP_WAIT_POLICY = '{found[0]}'" in said
    assert f"GOMP_SPINCOUNT = '{found[1]}'" in said
