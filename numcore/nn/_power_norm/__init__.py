"""Power normalization: each feature divided by a running root mean square, with an approximate
gradient that stays bounded.

Batch statistics of sequences fluctuate from batch to batch. Power normalization subtracts no mean,
divides by the quadratic mean over all batches so far instead of this one's, and in the backward
pass replaces the dependence of that running mean on the past by a correction that is accumulated
from step to step. S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: Rethinking
Batch Normalization in Transformers", ICML 2020.
"""

from .layer import PowerNorm, PowerNormLayerCache, PowerNormLayerGrads
from .routines import (
    GroupScaleCache,
    PowerNormCache,
    PowerNormGrads,
    group_scale,
    group_scale_vjp,
    power_norm,
    power_norm_vjp,
)
