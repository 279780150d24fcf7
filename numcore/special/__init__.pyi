from ._certify import (
    UlpContract as UlpContract,
    certify as certify,
    certify_float64 as certify_float64,
    max_ulp_error as max_ulp_error,
    ulp_error as ulp_error,
)
from ._certify_program import certify_program as certify_program
from ._elementary import (
    cos as cos,
    erf as erf,
    exp as exp,
    exp2 as exp2,
    expm1 as expm1,
    log as log,
    log1p as log1p,
    log2 as log2,
    sigmoid as sigmoid,
    sin as sin,
    softplus as softplus,
    tanh as tanh,
)
from ._evolve import Front as Front, evolve as evolve
from ._fit import minimize_error as minimize_error
from ._program import Program as Program
