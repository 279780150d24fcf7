"""What setup.cfg cannot say: packages are found, one of them in gpu/, and the wheel carries every
kernel, compiled when it is built."""

import platform
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py


class BuildWithKernels(build_py):
    def run(self):
        super().run()
        if self.editable_mode:  # a source checkout compiles into the user's cache on first use
            return
        root = Path(self.build_lib).resolve()
        code = "import sys; from numcore._wheel import fill; fill(sys.argv[1])"
        store = str(root / "numcore" / "compiled")
        subprocess.check_call([sys.executable, "-B", "-c", code, store], cwd=root)


class PlatformWheel(bdist_wheel):
    """Any Python, one platform: bitcode knows the architecture and the calling conventions, nothing
    of Python.

    Nothing in the wheel is linked with a C library, so that auditwheel has nothing to examine: the
    oldest glibc for which llvmlite has wheels decides. macOS's "universal2" would be a lie, since
    bitcode has one architecture.
    """

    def get_tag(self):
        tag = super().get_tag()[2]
        if tag.startswith("linux_") and platform.libc_ver()[0] == "glibc":
            cpu = tag.removeprefix("linux_")
            tag = f"manylinux_2_17_{cpu}.manylinux2014_{cpu}"
        return "py3", "none", tag.replace("universal2", platform.machine())


class PlatformDistribution(Distribution):
    def has_ext_modules(self):
        return True


setup(
    packages=[*find_packages(include=["numcore", "numcore.*"]), "numcore.gpu"],
    cmdclass={"build_py": BuildWithKernels, "bdist_wheel": PlatformWheel},
    distclass=PlatformDistribution,
)
