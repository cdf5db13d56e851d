"""How many threads products of matrices take: BLAS starts one for each core, whatever else these do."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_LARGE_PRODUCT = 10**9  # multiplications, which take one thread tens of milliseconds


def few_threads(multiplications: int) -> AbstractContextManager[Any]:
    """One thread for small products: several wait for each other in circles while decoding has the cores."""
    if multiplications > _LARGE_PRODUCT:
        return nullcontext()
    return cast("AbstractContextManager[Any]", _blas().limit(limits=1, user_api="blas"))


def one_thread() -> AbstractContextManager[Any]:
    """A context in which no BLAS that is loaded by now starts threads, which cost small products more."""
    return cast("AbstractContextManager[Any]", _loaded_blas().limit(limits=1, user_api="blas"))


@lru_cache
def _blas() -> ThreadpoolController:
    return _loaded_blas()


def _loaded_blas() -> ThreadpoolController:
    variable = "KMP_DUPLICATE_LIB_OK"  # importing threadpoolctl sets it, which is for the host to decide
    was_set = variable in os.environ
    from threadpoolctl import ThreadpoolController

    if not was_set:
        os.environ.pop(variable, None)
    return ThreadpoolController()
