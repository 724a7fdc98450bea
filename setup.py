"""Packaging: version, what it needs, and where its parts go. debian/ builds the package that nodes
install.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = (ROOT / "snf_network" / "__init__.py").read_text().split('__version__ = "')[1].split('"')[0]

setup(
    name="snf-network",
    version=VERSION,
    description="Network scripts for the nodes of a Ganeti cluster",
    python_requires=">=3.11",
    packages=find_packages(include=["snf_network", "snf_network.*"]),
    package_data={"snf_network.rules": ["*.nft", "profiles/*.nft"]},
    # the up/down path needs the standard library only; these are for the commands that read the kernel back,
    # and for DNS
    install_requires=["pyroute2>=0.7.2", "dnspython>=2.3", "pyyaml>=6"],
    extras_require={
        "takeover": ["python-iptables>=1.0"],
        "tests": ["pytest>=7.2", "hypothesis", "mypy>=1.8", "ruff"],
    },
    scripts=[str(path.relative_to(ROOT)) for path in sorted((ROOT / "scripts").iterdir())],
)
