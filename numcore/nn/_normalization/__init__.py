"""Normalization layers: layer, root-mean-square and batch normalization, forward and backward.

Every row (layer norm, RMS norm) or every column (batch norm) is moved to mean 0 and scaled to
variance 1, then scaled and shifted by parameters. Variances are those of differences from the mean,
never differences of moments. Sums over rows are taken in blocks of `ROWS` rows, and over blocks in
float64, so that no result depends on the number of threads. J. L. Ba, J. R. Kiros, G. E. Hinton,
"Layer Normalization", 2016; B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS
2019; S. Ioffe, C. Szegedy, "Batch Normalization", ICML 2015.
"""

from .batch import BatchNormCache, RunningStatistics, batch_norm, batch_norm_vjp
from .routines import (
    LayerNormCache,
    RMSNormCache,
    RMSNormGrads,
    layer_norm,
    layer_norm_vjp,
    rms_norm,
    rms_norm_vjp,
)
from .rows import NormGrads
