"""Work goes to whoever has least of it."""

from __future__ import annotations

import pytest

from clipcli.models.pool import Pool


def test_the_first_is_taken_where_all_have_as_little_to_do() -> None:
    pool = Pool(["a", "b", "c"])
    for _ in range(2):
        with pool.least_used() as one, pool.least_used() as two, pool.least_used() as three:
            assert (one, two, three) == ("a", "b", "c")
            with pool.least_used() as again:
                assert again == "a"


def test_who_is_done_is_taken_again_whatever_came_of_it() -> None:
    pool = Pool(["a", "b"])
    with pool.least_used() as one:
        assert one == "a"
        with pytest.raises(RuntimeError, match="failed"), pool.least_used() as two:
            assert two == "b"
            raise RuntimeError("failed")
        with pool.least_used() as two:
            assert two == "b"
