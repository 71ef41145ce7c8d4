"""What people read of an epoch as it ends."""

from reid.config import RunConfig
from reid.training.stage import Stage
from reid.training.state import EpochRecord


def epoch_line(record: EpochRecord, title: str, stage: Stage, config: RunConfig, epochs: int) -> str:
    """Loss, speed and score.

    Args:
        title: of the training.
        epochs: that it has in all.
    """
    metrics = record.metrics
    metric, name = stage.headline
    few = metric.replace("eval/", "sample/")
    sample = f"{config.evaluation.sample} people alone" if stage.describes else "a sample"
    score = f", {name} {metrics[few]:.1%} among {sample}" if few in metrics else ""
    score = f", {name} {metrics[metric]:.1%}" if metric in metrics else score
    return (
        f"{title}: epoch {record.epoch}/{epochs}, loss {metrics['train/total']:.3f}, "
        f"{metrics['train/images_per_second']:.0f} images/s{score}"
    )
