"""Models: classes that are fitted, by scikit-learn's protocol and without scikit-learn.

``@model`` gives a class whose constructor stores its declared parameters under their names all that
the protocol asks for: checked constructor and methods, ``get_params``, ``set_params``, a ``repr``
that shows what differs from the defaults, tags, and one error of one kind where a method needs a
fit that has not happened.
"""

import inspect
import sys
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from . import dispatch
from ._checker import Call
from .arguments import checked, declaration

__all__ = ["NotFittedError", "model"]

C = TypeVar("C", bound=type)


class NotFittedError(ValueError, AttributeError):
    """A method was called that needs a fitted model."""


def not_fitted(instance):
    """The error to raise: scikit-learn's own kind too where scikit-learn is in use."""
    kind, theirs = NotFittedError, sys.modules.get("sklearn.exceptions")
    if theirs is not None:
        kind = type("NotFittedError", (NotFittedError, theirs.NotFittedError), {})
    name = type(instance).__name__
    return kind(f"{name} must be fitted first: call fit on this instance")


def model(
    *,
    fitted: str,
    kind: Literal["classifier", "regressor", "transformer", "other"] = "other",
    features: str = "",
    needs_fit: tuple[str, ...] | None = None,
    host_only: str | None = None,
) -> Callable[[C], C]:
    """Decorator: a class becomes a registered model.

    Parameters
    ----------
    fitted : str
        An attribute that exists from the first fit on.
    kind : {"classifier", "regressor", "transformer", "other"}
        What scikit-learn's tags say.
    features : str, optional
        The name of the size that is the number of features: ``fit`` keeps it as
        ``n_features_in_``, and the other methods hold their arrays against it.
    needs_fit : tuple of str, optional
        Methods that need a fitted model; by default all public ones but those named ``fit…`` or
        ``partial_fit``.
    host_only : str, optional
        Why the model has no GPU form, if so.
    """

    def decorate(cls):
        parameters = declaration(cls.__init__)[1:]
        cls._parameters = {p.name: p for p in parameters}
        for name, method in list(vars(cls).items()):
            if not inspect.isfunction(method) or name.startswith("_") and name != "__init__":
                continue
            needs = name in needs_fit if needs_fit is not None else not _fits(name)
            needs = needs and name != "__init__"
            kept = features if needs and _mentions(method, features) else ""
            made = checked(
                method, host_only=host_only, fitted=fitted if needs else None, keeps=kept
            )
            setattr(cls, name, made)
        for method in (get_params, set_params, __repr__, __sklearn_is_fitted__, __sklearn_tags__):
            if method.__name__ not in vars(cls):
                setattr(cls, method.__name__, method)
        cls._fitted_mark, cls._model_kind = fitted, kind
        dispatch._models[cls.__module__, cls.__name__] = dispatch.Routine(cls, host_only)
        return cast(Any, cls)

    return decorate


def _fits(name):
    return name.startswith("fit") or name == "partial_fit"


def _mentions(method, size):
    sizes = (s for p in declaration(method) for k in p.kinds for s in getattr(k, "sizes", ()))
    return bool(size) and size in sizes


def get_params(self, deep: bool = True) -> dict[str, Any]:
    """The constructor's parameters, a dict by name."""
    return {name: getattr(self, name) for name in self._parameters}


def set_params(self, **parameters: Any) -> Any:
    """Set parameters of the constructor by name; returns the model.

    Raises
    ------
    ValueError
        A name that is not a parameter, or a value that the constructor refuses.
    """
    for name, value in parameters.items():
        if name not in self._parameters:
            valid = ", ".join(self._parameters)
            raise ValueError(f"{name} must be a parameter of {type(self).__name__}: {valid}")
        setattr(self, name, self._parameters[name].convert(value, Call()))
    return self


def __repr__(self):
    changed = (
        f"{name}={getattr(self, name)!r}"
        for name, p in self._parameters.items()
        if repr(getattr(self, name)) != repr(p.default)
    )
    return f"{type(self).__name__}({', '.join(changed)})"


def __sklearn_is_fitted__(self):
    return hasattr(self, self._fitted_mark)


def __sklearn_tags__(self):
    from sklearn.utils import (
        ClassifierTags,
        InputTags,
        RegressorTags,
        Tags,
        TargetTags,
        TransformerTags,
    )

    kind = self._model_kind
    return Tags(
        estimator_type=kind if kind in ("classifier", "regressor") else None,
        target_tags=TargetTags(required=kind in ("classifier", "regressor")),
        transformer_tags=TransformerTags() if kind == "transformer" else None,
        classifier_tags=ClassifierTags() if kind == "classifier" else None,
        regressor_tags=RegressorTags() if kind == "regressor" else None,
        input_tags=InputTags(),
    )
