"""Multilayer perceptrons: networks with exact derivatives in their inputs, which losses on
differential equations need, without autodiff.

A Taylor expansion x + t v goes through the layers as the rows u, u_v and u_vv of its coefficients
(times 1, 1 and 2): an affine layer maps each by its weights, a nonlinearity s to s(u), s'(u) u_v
and s''(u) u_v² + s'(u) u_vv. All rows of a layer are one matrix product; in the first layer u_v is
the same for all x, and u_vv is 0. A loss in these outputs is then differentiated by reverse mode
through the same formulas. A. Griewank, A. Walther, "Evaluating Derivatives", SIAM 2008, chapter 13.
"""

from .mlp import MLP, MLPCache, MLPGrads, MLPTaylorCache
