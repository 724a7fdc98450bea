"""Debian's Prometheus and node exporter on a node, as an administrator sets them up for our metrics."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from lab.machine import ROOT, Machine

EXAMPLES = ROOT / "examples"
DIRECTORY = "/var/lib/prometheus"
COLLECTED = f"{DIRECTORY}/node-exporter/snf-network.prom"
"""What snf-network-metrics.timer writes."""
SETTINGS = f"""global: {{scrape_interval: SECONDSs, evaluation_interval: SECONDSs}}
rule_files: [{EXAMPLES / "alerts.yaml"}]
scrape_configs: [{{job_name: node, static_configs: [{{targets: ["127.0.0.1:9100"]}}]}}]
"""
EXPORTER = ("--collector.disable-defaults", "--collector.textfile", "--web.listen-address=127.0.0.1:9100")


@contextmanager
def monitored(node: Machine, seconds: int = 1) -> Iterator[None]:
    """Both, with the alerts of examples/; metrics are read each so many seconds."""
    node.run("mkdir", "-p", f"{DIRECTORY}/node-exporter")
    node.write(f"{DIRECTORY}/prometheus.yml", SETTINGS.replace("SECONDS", str(seconds)))
    exporter = ("prometheus-node-exporter", *EXPORTER)
    prometheus = (
        *("prometheus", "--web.listen-address=127.0.0.1:9090", f"--storage.tsdb.path={DIRECTORY}/data"),
        f"--config.file={DIRECTORY}/prometheus.yml",
    )
    collected = f"--collector.textfile.directory={DIRECTORY}/node-exporter"
    with ExitStack() as stack:
        for words in ((*exporter, collected), prometheus):
            stack.enter_context(running(node, *words))
        yield


@contextmanager
def running(node: Machine, *words: object) -> Iterator[None]:
    """A program on the node, whose output nobody reads."""
    process = subprocess.Popen(node.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def asked(node: Machine, what: str, **words: object) -> Any:
    """What Prometheus answers, by its HTTP API; None while it does not, and to what it cannot understand."""
    with node.inside():
        try:
            with urlopen(f"http://127.0.0.1:9090/api/v1/{what}?{urlencode(words)}", timeout=5) as answer:
                return json.load(answer)["data"]
        except URLError:
            return None


def panels() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each panel of the dashboard, with the queries and legends of its lines, for all nodes."""
    for panel in json.loads((EXAMPLES / "grafana.json").read_text())["panels"]:
        lines = [
            (target["expr"].replace("$node", ".*"), target["legendFormat"]) for target in panel["targets"]
        ]
        yield panel["title"], lines
