"""How much CPU time the tests of each subpackage take, and how much they may.

A test is charged the CPU time of its process and of the children that it has waited for, which
other programs on a busy machine hardly change. The account is printed after each run. Going over a
budget fails a run with ``--keep-budget``; by default it is only printed, since on a slower CPU it
would tell nothing about the tests.
"""

import collections
import os
import re

import pytest

# CPU seconds with empty caches on two cores of a server of 2023, by subpackage; "core" is all the
# rest. Together they fit into eight minutes on two cores, see test_conventions.py.
BUDGET = {"core": 150, "linalg": 285, "nn": 270, "random": 5, "retrieval": 170, "special": 75}

spent = collections.Counter()


def subpackage(nodeid):
    """Of a test's folder, or of the routine or kernel that its parameters name."""
    found = re.match(r"tests/(\w+)/|.*\[(\w+)[./]", nodeid)
    name = found and (found[1] or found[2])
    return name if name in BUDGET else "core"


def cpu_seconds():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    item.began = cpu_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item):
    try:
        return (yield)
    finally:
        item.user_properties.append(("cpu_seconds", cpu_seconds() - item.began))


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        spent[subpackage(report.nodeid)] += dict(report.user_properties)["cpu_seconds"]


def exceeded():
    return [name for name, limit in BUDGET.items() if spent[name] > limit]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if session.config.option.keep_budget and exceeded() and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    account = ", ".join(f"{name} {spent[name]:.0f} of {BUDGET[name]}" for name in BUDGET)
    terminalreporter.write_line(f"CPU seconds of the tests: {account}")
    for name in exceeded():
        terminalreporter.write_line(f"over budget: {name}", red=True)
    if config.option.shuffle is not None:
        terminalreporter.write_line(f"order: --shuffle {config.option.shuffle}")
