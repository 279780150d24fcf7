"""The one step that setup.cfg cannot say: the wheel carries the bitcode of every kernel, compiled
by Numba when it is built."""

import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py


class BuildWithBitcode(build_py):
    def run(self):
        super().run()
        if self.editable_mode:  # a source checkout compiles into the user's cache on first use
            return
        root = Path(self.build_lib).resolve()
        fill = "import sys; sys.path.insert(0, sys.argv[1]); from numcore._bitcode import fill_wheel_store; fill_wheel_store(sys.argv[2])"  # noqa: E501
        subprocess.check_call(
            [sys.executable, "-B", "-c", fill, str(root), str(root / "numcore" / "bitcode")],
            cwd=root,
        )


class PlatformWheel(bdist_wheel):
    """Any Python, one platform: bitcode knows the architecture and the calling conventions, nothing
    of Python."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class PlatformDistribution(Distribution):
    def has_ext_modules(self):
        return True


setup(
    cmdclass={"build_py": BuildWithBitcode, "bdist_wheel": PlatformWheel},
    distclass=PlatformDistribution,
)
