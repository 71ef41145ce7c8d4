"""The workers of a Ray Train run, which do one work after another."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Self

import ray.train
from ray import cloudpickle
from ray.exceptions import RayActorError
from ray.train.torch import get_device
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reid.cluster import desk
from reid.cluster import ray_internals as ray_train
from reid.cluster.desk import Desk
from reid.cluster.placement import uses_gpu, worker_resources
from reid.cluster.process_group import NoGroup, from_rank_zero, process_group
from reid.cluster.relay import hear_out, relaying
from reid.cluster.restarts import Restarts
from reid.config import JobStoppedError, ScalingConfig, environment
from reid.progress import track
from reid.storage import DiskFullError, Place, room_for
from reid.training import rank_and_world

COLLECTIVE_TIMEOUT_S = 1800
"""Seconds after which a rank that others wait for in vain becomes an error; an evaluation of Market's size fits in."""
ELASTIC_S = 30
"""In which an elastic run's workers are placed, or it looks anew how many can be: a node may have gone unnoticed."""
SECONDS_TO_END = 60
"""Of workers that have nothing to do."""
SECONDS_TO_BREAK_OFF = 5
"""Of those whose work nobody waits for any more."""

Tell = Callable[[str], None]
"""Brings a text to the driver, from rank 0."""
Work = Callable[[Tell], Any]
"""What every rank does; what rank 0 returns is the result."""

# Else the desk's process would import this package, which takes seconds and a gigabyte.
cloudpickle.register_pickle_by_value(desk)  # type: ignore[no-untyped-call]


class PhaseFailedError(JobStoppedError):
    """A phase stopped for a reason that a restart would not cure."""


class NoRoomError(PhaseFailedError):
    """A phase stopped as a disk is full; where there is room, it goes on."""


class Workers:
    """The workers of one Ray Train run. They start with their first work, and end with the context.

    Ray starts a controller and workers for each run, which takes 10 to 20 seconds where torch is imported as slowly as
    on two cores; those of one run serve all phases that have the same scaling. A work that was interrupted as a worker
    was lost is begun again by those that are started anew.

    Args:
        place: the run's folder. Ray leaves a mark there, and is told of no checkpoint: what it would note of them, a
            kill or a full disk leaves half written, and then it refuses to go on.
    """

    def __init__(self, scaling: ScalingConfig, place: Place) -> None:
        self.scaling, self.place = scaling, place
        self._desk: Any = None
        self._ended: Future[None] = Future()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._desk is None:
            return
        if kind is None or issubclass(kind, Exception):  # else this process is about to end, and they with it
            with suppress(RayActorError):
                ray.get(self._desk.close.remote())
            wait([self._ended], SECONDS_TO_END if kind is None else SECONDS_TO_BREAK_OFF)
        ray.kill(self._desk)

    def do(self, work: Work, *, what: str, hear: Tell = lambda _: None) -> Any:
        """Have all workers do something.

        Args:
            what: it is, for messages.
            hear: called here with what rank 0 tells.

        Returns:
            What rank 0 returns.

        Raises:
            PhaseFailedError: more workers were lost than `scaling.max_failures`, they could not be placed, or the desk
                has died.
        """
        try:
            with track(what):
                if self._desk is None:
                    self._start()
                return self._result_of(self._put(what, work), hear)
        except DiskFullError as error:
            raise NoRoomError(f"{what} stopped: {error}") from error
        except ray.train.TrainingFailedError as error:
            raise PhaseFailedError(f"{what} failed: {error}") from error
        except RayActorError as error:
            raise PhaseFailedError(
                f"{what} stopped: ray::Desk, the process that hands out its work, has died; give the same command "
                "again, which goes on from the last checkpoint"
            ) from error
        finally:
            hear_out()

    def _start(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()
        threading.Thread(target=self._run, daemon=True).start()

    def _put(self, what: str, work: Work) -> int:
        task: bytes = cloudpickle.dumps(work)  # type: ignore[no-untyped-call]
        number: int = ray.get(self._desk.put.remote(what, task))
        return number

    def _result_of(self, number: int, hear: Tell) -> Any:
        while True:
            told, result = self._news_of(number)
            for text in told:
                hear(text)
            if result is not None:
                return cloudpickle.loads(result)

    def _news_of(self, number: int) -> tuple[list[str], bytes | None]:
        if self._ended.done():
            self._ended.result()
        news: tuple[list[str], bytes | None] = ray.get(self._desk.news.remote(number))
        return news

    def _run(self) -> None:
        """Drive the run to its end, in a thread."""
        try:
            ray_train.hand_on("RAY_ADDRESS")
            restarts = Restarts(partial(_last, self._desk), self.scaling)
            with _limits_of(self.scaling), room_for(self.place):
                ray_train.TorchTrainer(
                    _serve,
                    train_loop_config={"desk": self._desk},
                    torch_config=NoGroup(),
                    scaling_config=ray_train.ScalingConfig(
                        num_workers=self.scaling.num_workers,
                        use_gpu=uses_gpu(self.scaling),
                        resources_per_worker=worker_resources(self.scaling),
                    ),
                    run_config=_run_config(self.scaling, self.place, [restarts]),
                ).fit()
            self._ended.set_result(None)
        except BaseException as error:  # for the thread that waits
            self._ended.set_exception(error)


def _run_config(scaling: ScalingConfig, place: Place, callbacks: list[Any]) -> ray_train.RunConfig:
    filesystem, folder = place.resolve()
    return ray_train.RunConfig(
        name=PurePosixPath(folder).name,
        storage_path=str(PurePosixPath(folder).parent),
        storage_filesystem=None if place.is_local else filesystem,
        failure_config=ray_train.FailureConfig(max_failures=-1),  # counted by work, see `Restarts`
        callbacks=callbacks,
        logging_config=ray_train.LoggingConfig(log_level="WARNING"),
        worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": str(max(1, int(scaling.cpus_per_worker)))}},
    )


@contextmanager
def _limits_of(scaling: ScalingConfig) -> Iterator[None]:
    is_elastic = scaling.min_workers < scaling.max_workers
    placing = min(ELASTIC_S, scaling.start_timeout) if is_elastic else scaling.start_timeout
    limits = {
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(placing),
        "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": str(COLLECTIVE_TIMEOUT_S),
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
    }
    with environment(limits):
        yield


def _last(desk: Any) -> tuple[int, str]:
    last: tuple[int, str] = ray.get(desk.last.remote())
    return last


def _serve(config: dict[str, Any]) -> None:
    """On every worker: one work after another, until no more comes."""
    desk = config["desk"]
    with _as_rank():
        number = from_rank_zero(lambda: ray.get(desk.first_unfinished.remote()))
        while (task := ray.get(desk.task.remote(number))) is not None:
            is_first = rank_and_world()[0] == 0
            result = cloudpickle.loads(task)(partial(_tell, desk, number) if is_first else lambda _: None)
            if is_first:
                ray.get(desk.finish.remote(number, cloudpickle.dumps(result)))  # type: ignore[no-untyped-call]
            number += 1


def _tell(desk: Any, number: int, text: str) -> None:
    ray.get(desk.tell.remote(number, text))


@contextmanager
def _as_rank() -> Iterator[None]:
    """Within the block, this worker is one of its run's ranks, and what rank 0 says reaches the job."""
    backend = "nccl" if get_device().type == "cuda" else "gloo"
    with process_group(backend, COLLECTIVE_TIMEOUT_S), relaying(silent=rank_and_world()[0] > 0):
        yield
