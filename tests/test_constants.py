"""Numbers that Python and CUDA share are written once, and what is written may be changed."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import numcore

SOURCES = sorted({(k.cuda_source, k.module) for k in numcore.kernels() if not k.host_only})
DEFINED = re.compile(
    r"^\s*#define (\w+) (?!float|int|u8|u32)|\bconstexpr \w+ ([^;]*);|\benum \{([^}]*)\}", re.M
)


def defined(text):
    """The names of the constants that a CUDA source defines itself."""
    for macro, constants, members in DEFINED.findall(text):
        if macro:
            yield macro
        for part in (constants or members).split(","):
            if name := re.match(r"\s*([A-Z]\w*)", part):
                yield name[1]


def test_definitions_are_found():
    text = (
        "enum { A, B };\nconstexpr int C = 1, D = C + 1;\n"
        "#define E 3\n#define REAL float\nint F = 1;"
    )
    assert set(defined(text)) == set("ABCDE")


@pytest.mark.parametrize("path, module", SOURCES, ids=[p.stem for p, _ in SOURCES])
def test_no_constant_is_written_twice(path, module):
    text = path.read_text()
    shared = importlib.import_module(module)
    twice = sorted({name for name in defined(text) if hasattr(shared, name)})
    assert not twice, (
        f"{path.name} must get {', '.join(twice)} from @kernel(..., constants=...), as {module} "
        f"has names like these too"
    )
    assert not re.search(r"as in (the|its) Python|also in numcore", text)
    assert not re.search(r"__launch_bounds__\(\d", text), "threads= of the contract has a name"


MOST_ARRAYS, BYTES = 4, 8  # a few arrays side by side, and what a float64 takes of shared memory


def literals(expression):
    return [int(number) for number in re.findall(r"\b\d+\b", expression)]


@pytest.mark.parametrize("kernel", numcore.kernels(), ids=lambda k: f"{k.room}.{k.name}")
def test_sizes_in_a_contract_have_names(kernel):
    sizes = {
        f"extent {e} of {p.name}": MOST_ARRAYS for p in kernel.parameters for e in p.extents or ()
    } | {f"shared {kernel.shared}": BYTES}
    unnamed = [size for size, most in sizes.items() if max(literals(size), default=0) > most]
    assert not unnamed, f"{kernel.where} must get from constants= the numbers in {unnamed}"


# Block sizes with a free choice: where they are, another value, a kernel that reads them. Kernels
# must be right with any.
ATTENTION = "numcore.nn._attention"
COMPLETION = "numcore.linalg._matrix_completion"
CHANGES = [
    (f"{ATTENTION}.tiles", "QUERIES", 768, f"{ATTENTION}.kernels", "attention_forward"),
    (f"{ATTENTION}.tiles", "PAIR_QUERIES", 32, f"{ATTENTION}.kernels", "attention_backward"),
    (
        "numcore.nn._normalization.kernels",
        "ROWS",
        8,
        "numcore.nn._normalization.kernels",
        "column_products",
    ),
    ("numcore.nn._optim", "BLOCK", 512, "numcore.nn._optim", "squares_in_blocks"),
    (
        "numcore.linalg._coreset.kernels",
        "BLOCK",
        64,
        "numcore.linalg._coreset.kernels",
        "block_masses",
    ),
    (f"{ATTENTION}.tiles", "GPU_ROWS", 32, f"{ATTENTION}.kernels", "attention_bias_backward"),
    (f"{COMPLETION}.gram", "PANEL", 5, f"{COMPLETION}.kernels", "solve_by_sketch"),
    *(
        (module, name, value, module, kernel)
        for module, name, value, kernel in (
            ("numcore.linalg._monarch.kernels", "ROWS", 40, "block_outer"),
            ("numcore.linalg._sensitivity.kernels", "TILE", 16, "constrained_norms"),
            ("numcore.retrieval._muvera.kernels", "KEPT", 32, "encode_cells"),
            ("numcore.retrieval._strings.kernels", "LANES", 16, "edit_distance_lanes"),
        )
    ),
]
CHANGED = """
import ast, importlib, importlib.machinery, sys
import numpy as np
module, name, value, home, kernel = sys.argv[1:]

class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):  # no cached bytecode
        return self.source_to_code(self.get_data(self.path), self.path)

    def source_to_code(self, data, path, **options):
        tree = ast.parse(data)
        for i, node in enumerate(tree.body):
            if isinstance(node, ast.Assign) and any(
                isinstance(n, ast.Name) and n.id == name for t in node.targets for n in ast.walk(t)
            ):
                (changed,) = ast.parse(f"{name} = {value}").body
                tree.body.insert(i + 1, changed)
                return compile(tree, path, "exec")
        raise AssertionError(f"{module} has no {name}")

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        spec = super().find_spec(fullname, path, target) if fullname == module else None
        if spec:
            spec.loader = Loader(fullname, spec.origin)
        return spec

sys.meta_path.insert(0, Finder)
importlib.import_module(module)
from numcore.testing import compare_bodies
made = getattr(importlib.import_module(home), kernel)
assert made.constants[name] == int(value)
compare_bodies(made, made.variants[0], np.random.default_rng(0), (1, 33, 257))
"""


@pytest.mark.parametrize("module, name, value, home, kernel", CHANGES)
def test_block_sizes_may_be_changed(module, name, value, home, kernel):
    done = subprocess.run(
        [sys.executable, "-c", CHANGED, module, name, str(value), home, kernel],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
