"""What people read of an epoch as it ends."""

from reid.training.job import PhaseJob
from reid.training.state import EpochRecord


def epoch_line(job: PhaseJob, record: EpochRecord) -> str:
    """Loss, speed and score."""
    metrics, stage = record.metrics, job.stage
    metric, name = stage.headline
    few = metric.replace("eval/", "sample/")
    sample = f"{job.config.evaluation.sample} people alone" if stage.describes else "a sample"
    score = f", {name} {metrics[few]:.1%} among {sample}" if few in metrics else ""
    score = f", {name} {metrics[metric]:.1%}" if metric in metrics else score
    return (
        f"{job.title}: epoch {record.epoch}/{job.settings.epochs}, loss {metrics['train/total']:.3f}, "
        f"{metrics['train/images_per_second']:.0f} images/s{score}"
    )
