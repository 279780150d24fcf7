"""Record which CUDA kernels each routine launches:
``python docs/launched_kernels.py [SUBPACKAGE | SUBPACKAGE.ROUTINE]...``.

Every routine that is not host-only, or each that is named, runs its example on the simulated GPU.
The result is kept in docs/launched_kernels.json, from which README.md and docs/devices.rst say what
runs where. A routine that fails keeps its old record.
"""

import inspect
import json
import sys
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


def main(wanted):
    before = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    record, failed = {}, []
    for routine in numcore.routines():
        name = f"{routine.room}.{routine.name}"
        if routine.host_only is not None:
            continue
        if name in before:
            record[name] = before[name]
        if wanted and name not in wanted and routine.room not in wanted:
            continue
        try:
            record[name] = launched(routine)
            print(f"{name}: {', '.join(record[name]) or 'array expressions'}")
        except Exception as error:  # whatever a routine raises, the others are recorded
            failed.append(f"{name}: {type(error).__name__}: {error}")
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in record.items())
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    sys.exit("\n".join(failed) or None)


if __name__ == "__main__":
    main(sys.argv[1:])
