"""Neural networks without a framework: layers with their gradients, exact attention, and methods
that work on trained networks.

Layers are pairs of plain functions on arrays. The conventions, which every layer of this subpackage
keeps and users' own layers fit into:

- ``y, cache = layer(x, parameters..., options)`` computes the output;
  ``grads = layer_vjp(grad_y, cache)`` the gradients of a loss from the gradient of the loss by y.
  Both are pure: a cache may be used any number of times, and nothing is kept between calls.
- A cache is a named tuple that holds inputs by reference and what is expensive to compute twice.
  Its fields may change between versions.
- Gradients are a named tuple whose fields are named like the layer's array arguments, or a single
  array where the layer has one such argument. A field is None where an optional argument was None.
  A layer of several outputs has one gradient for each, then the cache.
- Arrays are float32 or float64, all of one dtype, which is also that of the results.
- Batches come first and features last, ``x[..., features]``; images are
  ``x[batch, channel, row, column]``. A weight maps from its first axis to its last, ``w[in, out]``,
  except in convolutions, where it is ``w[out, in, row, column]``.
- Normalizations add `eps` inside the root.

A training loop in ten lines::

    network = MLP((64, 32, 10), activation="relu", rng=0)
    adam = Adam(network.parameters, learning_rate=1e-3)
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(x)), len(x) // 64):
            y, cache = network.forward(x[batch])
            loss, grad_y = softmax_cross_entropy(y, labels[batch])
            adam.step(network.vjp(grad_y, cache).parameters)

:func:`numcore.testing.check_vjp` checks the gradients of a layer by finite differences.
"""

from .._lazy import attach

__getattr__, __dir__ = attach(__name__, globals())
