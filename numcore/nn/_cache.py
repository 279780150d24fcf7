"""What the backward functions of all layers check first."""


def checked_cache(cache, kind):
    """TypeError if `cache` is not of the class `kind`, the named tuple that one layer returns
    beside its output."""
    if not isinstance(cache, kind):
        layer = kind.__name__.removesuffix("Cache")
        raise TypeError(
            f"cache must be the {kind.__name__} that the forward pass of {layer} returned (got "
            f"{type(cache).__name__})"
        )


def checked_gradient(grad, shape, name="grad_y"):
    """ValueError if the gradient of an output has not the output's shape."""
    if grad is None or grad.shape != shape:
        raise ValueError(
            f"{name} must have the shape of the output, {shape} (got "
            f"{None if grad is None else grad.shape})"
        )
