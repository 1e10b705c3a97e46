"""How many threads linear algebra may use here: one.

The matrices are small. On a machine whose cores train students, BLAS threads that wait for one another
made an answer take thirty times longer.
"""

from threadpoolctl import threadpool_limits

one_blas_thread = threadpool_limits.wrap(limits=1, user_api="blas")
"""Decorates a function to run its linear algebra in one thread."""
