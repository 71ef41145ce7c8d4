"""The pipeline's command, whose elastic runs look for new nodes every few seconds."""

from reid.cluster import runner
from reid.jobs import pipeline

runner.RESIZE_S = 3

if __name__ == "__main__":
    pipeline()
