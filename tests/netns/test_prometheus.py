"""What a real Prometheus, with Debian's node exporter, makes of `snf-network metrics`, and of the dashboard and
the alerts of examples/.
"""

from __future__ import annotations

from typing import Any

from lab.monitoring import COLLECTED, asked, monitored, panels
from tests.netns.lab import Lab, Machine, until
from tests.netns.test_metrics import everything, node_and_guest, parsed


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
        empty = [title for title, lines in panels() for query, _ in lines if not series(node, query)]
        assert empty == []
        assert len(_rules(node)) > 10
        assert until(lambda: all(rule["health"] == "ok" for rule in _rules(node)), 10)
        assert {rule["name"] for rule in _rules(node) if rule["state"] == "firing"} == set()


def _rules(node: Machine) -> list[Any]:
    return [rule for group in asked(node, "rules")["groups"] for rule in group["rules"]]
