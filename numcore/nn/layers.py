"""Layers: a forward and a backward function each, and no framework.

The conventions, by which every layer of this room goes and by which users' own layers fit in:

- ``y, cache = layer(x, parameters..., options)`` computes the output;
  ``grads = layer_vjp(grad_y, cache)`` the gradients of a loss from the gradient of the loss by y.
  Both are pure: a cache may be used any number of times, and nothing is kept between calls.
- A cache is a named tuple that holds inputs by reference and what is dear to compute twice. What is
  in it may change between versions.
- Gradients come in the order of the layer's array arguments, the input first: an array where the
  layer has one such argument, else a tuple; None stands where an optional argument was None. A
  layer of several outputs takes one gradient for each, then the cache.
- Arrays are float32 or float64, all of one dtype, which is also that of the results.
- Batches come first and features last, ``x[..., features]``; images are
  ``x[batch, channel, row, column]``. A weight maps from its first axis to its last, ``w[in, out]``,
  but for convolutions, where it is ``w[out, in, row, column]``.
- Normalisations add `eps` inside the root.

A training loop in ten lines::

    network, adam = MLP((64, 32, 10), activation="relu", rng=0), None
    adam = Adam(network.parameters, lr=1e-3)
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(x)), len(x) // 64):
            y, cache = network.forward(x[batch])
            loss, grad_y = softmax_cross_entropy(y, labels[batch])
            _, grads = network.vjp(grad_y, cache)
            adam.step(grads)

:func:`numcore.nn.testing.check_vjp` checks the gradients of a layer by finite differences.
"""

from ._activation import activation, activation_vjp
from ._convolution import conv2d, conv2d_vjp
from ._dense import dense, dense_vjp
from ._embedding import embedding, embedding_vjp
from ._lstm import lstm, lstm_cell, lstm_cell_vjp, lstm_vjp
from ._network import MLP
from ._normalization import (
    batch_norm,
    batch_norm_vjp,
    layer_norm,
    layer_norm_vjp,
    rms_norm,
    rms_norm_vjp,
)
from ._pooling import avg_pool2d, avg_pool2d_vjp, max_pool2d, max_pool2d_vjp
from ._spectral import spectral_conv1d, spectral_conv1d_vjp, spectral_conv2d, spectral_conv2d_vjp

__all__ = [
    "MLP",
    "activation",
    "activation_vjp",
    "avg_pool2d",
    "avg_pool2d_vjp",
    "batch_norm",
    "batch_norm_vjp",
    "conv2d",
    "conv2d_vjp",
    "dense",
    "dense_vjp",
    "embedding",
    "embedding_vjp",
    "layer_norm",
    "layer_norm_vjp",
    "lstm",
    "lstm_cell",
    "lstm_cell_vjp",
    "lstm_vjp",
    "max_pool2d",
    "max_pool2d_vjp",
    "rms_norm",
    "rms_norm_vjp",
    "spectral_conv1d",
    "spectral_conv1d_vjp",
    "spectral_conv2d",
    "spectral_conv2d_vjp",
]
