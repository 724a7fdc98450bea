"""What a real Prometheus, with Debian's node exporter, makes of `snf-network metrics`, and of the dashboard and
the alerts of examples/.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.netns.lab import Lab, Machine, until
from tests.netns.test_metrics import EXAMPLES, everything, node_and_guest, parsed

DIRECTORY = "/var/lib/prometheus"
COLLECTED = f"{DIRECTORY}/node-exporter/snf-network.prom"
PROMETHEUS = f"""global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{EXAMPLES / "alerts.yaml"}]
scrape_configs: [{{job_name: node, static_configs: [{{targets: ["127.0.0.1:9100"]}}]}}]
"""
EXPORTER = ("--collector.disable-defaults", "--collector.textfile")


@contextmanager
def monitored(node: Machine) -> Iterator[None]:
    """A node exporter and a Prometheus, with the alerts of examples/."""
    node.run("mkdir", "-p", f"{DIRECTORY}/node-exporter")
    node.write(f"{DIRECTORY}/prometheus.yml", PROMETHEUS)
    exporter = (
        *("prometheus-node-exporter", *EXPORTER, "--web.listen-address=127.0.0.1:9100"),
        f"--collector.textfile.directory={DIRECTORY}/node-exporter",
    )
    prometheus = (
        *("prometheus", "--web.listen-address=127.0.0.1:9090", f"--storage.tsdb.path={DIRECTORY}/data"),
        f"--config.file={DIRECTORY}/prometheus.yml",
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen(node.command(*words), **quiet) for words in (exporter, prometheus)]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
            process.wait(30)


def asked(node: Machine, what: str, **words: str) -> Any:
    """What Prometheus answers, by its HTTP API; None while it does not, and to what it cannot understand."""
    with node.inside():
        try:
            with urlopen(f"http://127.0.0.1:9090/api/v1/{what}?{urlencode(words)}", timeout=5) as answer:
                return json.load(answer)["data"]
        except URLError:
            return None


def series(node: Machine, query: str) -> list[Any]:
    answer = asked(node, "query", query=query)
    return list(answer["result"]) if answer else []


def test_prometheus_scrapes_and_judges_them(lab: Lab) -> None:
    """Each panel of the dashboard gets an answer, and each alert can be judged."""
    node, guest = node_and_guest(lab)
    text = everything(node, guest)
    with monitored(node):
        node.write(COLLECTED, text)
        assert until(lambda: series(node, 'rate(snf_network_nics{state="up"}[1m])'), 30), "not twice scraped"
        assert series(node, "node_textfile_scrape_error")[0]["value"][1] == "0"
        scraped = {one["metric"]["__name__"] for one in series(node, '{__name__=~"snf_network.*|nfdhcpd.*"}')}
        assert scraped == parsed(text).keys()
        board = json.loads((EXAMPLES / "grafana.json").read_text())
        empty = [
            panel["title"]
            for panel in board["panels"]
            for target in panel["targets"]
            if not series(node, target["expr"].replace("$node", ".*"))
        ]
        assert empty == []
        assert len(_rules(node)) > 10
        assert until(lambda: all(rule["health"] == "ok" for rule in _rules(node)), 10)
        assert {rule["name"] for rule in _rules(node) if rule["state"] == "firing"} == set()


def _rules(node: Machine) -> list[Any]:
    return [rule for group in asked(node, "rules")["groups"] for rule in group["rules"]]
