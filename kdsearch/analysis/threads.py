"""How many threads linear algebra may use here: one.

The matrices are small. On a machine whose cores train students, BLAS threads that wait for one another
made an answer take thirty times longer.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def one_blas_thread(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function run its linear algebra in one thread."""

    @wraps(function)
    def limited(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        import scipy.linalg  # noqa: F401 - what is loaded later would not be limited

        with threadpool_limits(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited
