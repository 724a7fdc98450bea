"""What the README says works is run as it stands there."""

from __future__ import annotations

import textwrap

from tests.netns.lab import ROOT, Lab


def example(heading: str) -> str:
    """The indented lines under a heading of the README."""
    section = (ROOT / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return textwrap.dedent("\n".join(line for line in section.splitlines() if line.startswith("    ")))


def test_the_main_job_in_ten_lines(lab: Lab) -> None:
    node = lab.machine("node")
    node.ip("link add eth1 type veth peer name far", "link set eth1 up", "link set far up")
    ran = node.run("sh", "-exc", f"cd {ROOT}\n{example('The main job, in ten lines')}", check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "198.51.100.10/32 dev tap0" in ran.stdout and "vm1.example.com" in ran.stdout and "clean" in ran.stdout
    assert "198.51.100.10" not in node.out("ip", "route", "show", "table", "all")
