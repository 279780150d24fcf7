from . import (
    arguments as arguments,
    dispatch as dispatch,
    elementwise as elementwise,
    kernel as kernel,
    linalg as linalg,
    model as model,
    nn as nn,
    random as random,
    retrieval as retrieval,
    simd as simd,
    special as special,
    testing as testing,
)
from ._pool import get_num_threads as get_num_threads, set_num_threads as set_num_threads
from .dispatch import models as models, routines as routines
from .elementwise import c_function as c_function
from .kernel import kernels as kernels

__version__: str
