"""The pipeline's command, whose elastic runs look for new nodes every few seconds; by default once a minute."""

from functools import partial

from reid.cluster import ray_internals
from reid.jobs import pipeline

ray_internals.ScalingConfig = partial(ray_internals.ScalingConfig, elastic_resize_monitor_interval_s=3)  # type: ignore[misc,assignment]

if __name__ == "__main__":
    pipeline()
