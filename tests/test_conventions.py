"""One way to do a thing: public names, arguments and results of all subpackages follow one table of
conventions, and all that is public is in the registry."""

import dataclasses
import importlib
import inspect
import re
import typing

import pytest
from budget import BUDGET

import numcore
from numcore.arguments import declaration
from numcore.dispatch import ROOMS

PUBLIC = [
    pytest.param(room, name, getattr(module, name), id=f"{room}.{name}")
    for room in ROOMS
    for module in [importlib.import_module(f"numcore.{room}")]
    for name in module.__all__
    if inspect.isfunction(getattr(module, name)) or inspect.isclass(getattr(module, name))
]
FUNCTIONS = [p for p in PUBLIC if inspect.isfunction(p.values[2])]
CLASSES = [p for p in PUBLIC if inspect.isclass(p.values[2])]
# Helpers of declarations and random numbers: they take no arrays and have no example.
NOT_ROUTINES = {"random.generator_from_rng", "random.key_from_rng"}

FORBIDDEN = {
    r"num_\w+|\w+_count": "counts are n_…",
    r"iterations|num_iter|niter|n_iterations": "the number of iterations is n_iter",
    r"maxiter|num_iters|n_max": "the limit of iterations is max_iter",
    r"status|stopped|stopped_by|message": "why an iteration ended is its reason",
    r"seed|random_state|generator": "random numbers come from rng",
    r"(least|most)_\w+|minimum_\w+|maximum_\w+": "limits are min_… and max_…",
    r"lr|eta": "a step size is learning_rate",
    r"verbose|show_progress": "progress is shown by progress",
    r"epsilon_tol|tolerance|eps_tol": "a tolerance is tol, rtol or atol",
    r"indptr|\w+_indptr|row_ptr": "ragged lists have offsets",
    r"\w*(centre|colour|neighbour|normalis|optimis|behaviour|factoris)\w*": "American spelling",
}
SPARSE = {"CSR"}  # the one class whose fields are named as SciPy names them


def names_of(public):
    """Arguments of a function; fields of a result; arguments of a class and of its methods."""
    if inspect.isfunction(public):
        return list(inspect.signature(public).parameters)
    names = list(getattr(public, "_fields", ()))
    if dataclasses.is_dataclass(public):
        names += [f.name for f in dataclasses.fields(public)]
    for method in methods_of(public):
        names += [n for n in inspect.signature(method).parameters if n != "self"]
    return names


def methods_of(public):
    return [
        method
        for name, method in vars(public).items()
        if inspect.isfunction(inspect.unwrap(method) if callable(method) else method)
        and (name == "__init__" or not name.startswith("_"))
        and not (issubclass(public, tuple) and name.startswith("_"))
    ]


@pytest.mark.parametrize("room, name, public", PUBLIC)
def test_names_follow_the_table(room, name, public):
    if name in SPARSE:
        return
    for found in [name, *names_of(public)]:
        for pattern, rule in FORBIDDEN.items():
            assert not re.fullmatch(pattern, found), f"{room}.{name}: {found}: {rule}"


@pytest.mark.parametrize("room, name, public", FUNCTIONS)
def test_public_functions_are_registered_and_annotated(room, name, public):
    registered = {(r.room, r.name) for r in numcore.routines()}
    assert (room, name) in registered or f"{room}.{name}" in NOT_ROUTINES, (
        f"{room}.{name} must be a @routine: nothing tests it"
    )
    assert_annotated(public, f"{room}.{name}")


def assert_annotated(function, name):
    function = inspect.unwrap(function)
    hints = typing.get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters:
        assert parameter == "self" or parameter in hints, f"{name}: {parameter} is not annotated"
    if function.__name__ != "__init__":
        assert "return" in hints, f"{name}: the result is not annotated"


@pytest.mark.parametrize("room, name, public", CLASSES)
def test_public_classes_are_annotated_and_models_are_registered(room, name, public):
    if hasattr(public, "fit"):
        models = {(m.room, m.name) for m in numcore.models()}
        assert (room, name) in models, f"{room}.{name} has fit and must be a @model"
    for method in methods_of(public):
        if not hasattr(method, "__dataclass_fields__"):
            assert_annotated(method, f"{room}.{name}.{method.__name__}")
    for method in methods_of(public):
        if method.__name__ == "__init__" and hasattr(public, "fit"):
            given = inspect.signature(method).parameters
            assert not {"callback", "progress"} & set(given), (
                f"{room}.{name}: progress and callback belong into fit"
            )


@pytest.mark.parametrize(
    "room, name, public", [p for p in CLASSES if "converged" in getattr(p.values[2], "_fields", ())]
)
def test_results_of_iterations_have_one_form(room, name, public):
    fields = public._fields
    at = fields.index("converged")
    assert at >= 1, f"{name}: the solution comes first (got {fields})"
    assert fields[at : at + 3] == ("converged", "n_iter", "reason"), (
        f"{name}: converged, n_iter, reason follow the solution (got {fields})"
    )
    assert typing.get_type_hints(public)["converged"] is bool
    reason = typing.get_type_hints(public, include_extras=True)["reason"]
    assert typing.get_origin(reason) is typing.Literal, f"{name}: reason is one of a Literal"


@pytest.mark.parametrize(
    "room, name, public", [p for p in FUNCTIONS if p.values[1].endswith("_vjp")]
)
def test_gradients_are_named_like_arguments(room, name, public):
    module = importlib.import_module(f"numcore.{room}")
    forward = inspect.signature(getattr(module, name.removesuffix("_vjp"))).parameters
    result = typing.get_type_hints(inspect.unwrap(public), include_extras=True)["return"]
    if result is numcore.arguments.Array:  # of the only array argument
        return
    fields = getattr(result, "_fields", None)
    assert fields, f"{room}.{name} must return a NamedTuple (got {result})"
    assert set(fields) <= set(forward), f"{room}.{name}: fields {fields} are named like arguments"


@pytest.mark.parametrize("room", ROOMS)
def test_dir_names_all_that_is_public(room):
    module = importlib.import_module(f"numcore.{room}")
    assert set(module.__all__) <= set(dir(module))
    assert list(module.__all__) == sorted(set(module.__all__), key=list(module.__all__).index)


def test_every_declared_argument_has_a_range_of_kinds():
    for routine in numcore.routines():
        for p in declaration(routine.function):
            assert p.kinds or p.optional, f"{routine}: {p.name}"


def test_budgets_of_the_tests_are_eight_minutes_on_two_cores():
    assert set(ROOMS) < set(BUDGET)
    assert sum(BUDGET.values()) <= 2 * 8 * 60
