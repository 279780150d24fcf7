"""Adam for one number, from the definition with its corrected means."""

import math


def adam(
    w,
    gradients,
    *,
    learning_rate=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    decoupled=True,
    amsgrad=False,
):
    m = v = top = 0.0
    for t, g in enumerate(gradients, 1):
        if decoupled:
            w -= learning_rate * weight_decay * w
        else:
            g += weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        top = max(top, v)
        square = (top if amsgrad else v) / (1 - betas[1] ** t)
        w -= learning_rate * (m / (1 - betas[0] ** t)) / (math.sqrt(square) + eps)
    return w
