"""Packaging: version, what it needs, and where its parts go. debian/ builds what nodes install."""

import subprocess
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MODULE = Path("snf_network") / "__init__.py"
RELEASE = (ROOT / MODULE).read_text().split('__version__ = "')[1].split('"')[0]


def version() -> str:
    """The version of this build, which debian/version knows; RELEASE where that cannot run."""
    try:
        ran = subprocess.run(
            (ROOT / "debian" / "version", "--python"), capture_output=True, text=True, timeout=30
        )
    except OSError:
        return RELEASE
    return ran.stdout.strip() or RELEASE


class Build(build_py):
    """`snf-network --version` says which build it is."""

    def run(self) -> None:
        """Copy the modules, then put the version into the copy."""
        super().run()
        copy = Path(self.build_lib) / MODULE
        if copy.exists() and not self.editable_mode:
            copy.write_text(copy.read_text().replace(f'"{RELEASE}"', f'"{VERSION}"'))


VERSION = version()
setup(
    name="snf-network",
    version=VERSION,
    description="Network scripts for the nodes of a Ganeti cluster",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="GPL-2.0-or-later",
    python_requires=">=3.11",
    cmdclass={"build_py": Build},
    packages=find_packages(include=["snf_network", "snf_network.*"]),
    package_data={"snf_network.rules": ["*.nft", "profiles/*.nft"]},
    # for commands that read the kernel back and for DNS; the up/down path needs the standard library only
    install_requires=["pyroute2>=0.7.2", "dnspython>=2.3", "pyyaml>=6"],
    extras_require={"tests": ["pytest>=7.2", "hypothesis", "mypy>=1.8", "ruff"]},
    scripts=[str(path.relative_to(ROOT)) for path in sorted((ROOT / "scripts").iterdir())],
)
