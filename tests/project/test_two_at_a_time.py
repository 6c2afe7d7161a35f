"""How `make test` shares the tests between two runs."""

import pytest


def test_a_file_stays_in_one_run(request):
    # pytest-xdist reads the group off the end of a test's id; it was not there while its hook came before ours
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not run as `make test` does, with -n 2 --dist loadgroup")
    assert request.node.nodeid.endswith("::test_a_file_stays_in_one_run@tests/project/test_two_at_a_time.py")
