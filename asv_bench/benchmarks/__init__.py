"""Benchmarks of numcore.

``routines`` measures every routine of the registry, ``core`` measures what does not depend on the
routine, and the other files measure what is special about one method.
"""

import os

# Threads of torch and of OpenBLAS would go on spinning on the CPUs while numcore is timed. They
# read this when they are loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
