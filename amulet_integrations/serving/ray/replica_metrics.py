"""The metrics of all replicas on one page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

METRICS_TYPE = CONTENT_TYPE_LATEST


def merge_pages(pages: Mapping[str, bytes]) -> bytes:
    """Joins pages of metrics; every sample gets the label `replica`.

    Args:
        pages: The pages in Prometheus' text format, by the replicas' ids.
    """
    families: dict[str, Metric] = {}
    for replica, page in sorted(pages.items()):
        for family in text_string_to_metric_families(page.decode()):
            merged = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            for it in family.samples:
                merged.add_sample(it.name, {**it.labels, "replica": replica}, it.value)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families.values()))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
