"""What all tests share: poisoned memory, an order by choice, an account of the time they take."""

import functools
import gc
import random

import numpy as np
import pytest
from budget import (  # noqa: F401  hooks
    pytest_runtest_logreport,
    pytest_runtest_protocol,
    pytest_runtest_teardown,
    pytest_sessionfinish,
    pytest_terminal_summary,
)

# What `np.empty` holds in the tests, by the character of the dtype: whatever reads an element that
# nothing has written fails each time, and not by chance.
POISON = {c: np.nan for c in np.typecodes["AllFloat"]} | {
    c: np.iinfo(c).min or np.iinfo(c).max for c in np.typecodes["AllInteger"]
}


def poisoned(create):
    @functools.wraps(create)
    def empty(*arguments, **options):
        array = create(*arguments, **options)
        if type(array) is np.ndarray and array.dtype.char in POISON:
            array.fill(POISON[array.dtype.char])
        return array

    return empty


# before numcore and Numba are imported, which keep the functions that they find
np.empty, np.empty_like = poisoned(np.empty), poisoned(np.empty_like)


def pytest_addoption(parser):
    group = parser.getgroup("numcore")
    group.addoption(
        "--shuffle",
        nargs="?",
        type=int,
        const=random.SystemRandom().randrange(10**6),
        metavar="SEED",
        help="run the tests in random order; the seed is printed at the end",
    )
    group.addoption(
        "--keep-budget",
        action="store_true",
        help="fail where the tests of a subpackage take more CPU time than tests/budget.py grants",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["shuffle"] = node.config.option.shuffle


def pytest_configure(config):
    if hasattr(config, "workerinput"):  # all workers of pytest-xdist have one seed
        config.option.shuffle = config.workerinput["shuffle"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Twins come first: they compile what all others need, each kernel and each file once."""
    if config.option.shuffle is None:
        items.sort(key=lambda item: item.path.name != "test_twins.py")
    else:
        random.Random(config.option.shuffle).shuffle(items)
    # Numba makes millions of objects that live on; looking for cycles among them takes a tenth of
    # all time
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
