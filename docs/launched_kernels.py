"""Record which CUDA kernels each routine launches: ``python docs/launched_kernels.py``.

Every routine that is not host-only runs its example on the simulated GPU. The result is kept in
docs/launched_kernels.json, from which readme_contents.py says what runs where.
"""

import inspect
import json
from pathlib import Path
from unittest import mock

import numpy as np

import numcore
from numcore.examples import example, moved
from numcore.testing import simulated_gpu
from numcore.testing.device import SIMULATED

FILE = Path(__file__).parent / "launched_kernels.json"


def launched(routine):
    """The names of the kernels that the example launches, over its dtypes."""
    names, case, launch = set(), example(routine), SIMULATED.launch

    def recorded(kernel, *arguments):
        names.add(kernel.name)
        launch(kernel, *arguments)

    with mock.patch.object(SIMULATED, "launch", recorded), simulated_gpu() as xp:
        for dtype in case.dtypes:
            arguments = case.arguments(np.random.default_rng(0), np.dtype(dtype))
            for name, value in arguments.items():
                if name in case.arrays or not isinstance(value, np.ndarray):
                    arguments[name] = moved(value, xp.asarray)
            if "xp" in inspect.signature(routine.function).parameters:
                arguments["xp"] = xp
            routine.function(**arguments)
    return sorted(names)


def main():
    lines = []
    for routine in numcore.routines():
        if routine.host_only is None:
            name, kernels = f"{routine.room}.{routine.name}", launched(routine)
            print(f"{name}: {', '.join(kernels) or 'array expressions'}")
            lines.append(f"  {json.dumps(name)}: {json.dumps(kernels)}")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
