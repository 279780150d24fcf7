"""Local explanations: linear models fitted to a black box near the inputs to be explained.

Eight popular methods of feature attribution are one procedure: draw points from a neighborhood Z
of x and choose the linear model g that minimizes the mean of a loss between f and g there. They
differ in Z and in the loss alone, so that one can say how well each fits, and which to take for a
neighborhood of interest. T. Han, S. Srinivas, H. Lakkaraju, "Which Explanation Should I Choose? A
Function Approximation Perspective to Characterizing Post Hoc Explanations", NeurIPS 2022.
"""

from .routines import Explanation, explain, faithfulness, local_approximation
from .shapley import shapley_kernel_weights
