"""Layers that normalize: layer, root-mean-square and batch normalization."""

from .routines import (
    BatchNormCache,
    LayerNormCache,
    NormGrads,
    RMSNormCache,
    RMSNormGrads,
    RunningStatistics,
    batch_norm,
    batch_norm_vjp,
    layer_norm,
    layer_norm_vjp,
    rms_norm,
    rms_norm_vjp,
)

__all__ = [
    "BatchNormCache",
    "LayerNormCache",
    "NormGrads",
    "RMSNormCache",
    "RMSNormGrads",
    "RunningStatistics",
    "batch_norm",
    "batch_norm_vjp",
    "layer_norm",
    "layer_norm_vjp",
    "rms_norm",
    "rms_norm_vjp",
]
