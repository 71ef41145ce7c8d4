"""The Ray cluster: joining it, what it can place, and phases, trials, evaluations and tasks on it."""

from reid.cluster.background import Started, fit_here, run_in_order, start_fit
from reid.cluster.connection import connect, on_several_nodes
from reid.cluster.databases import require_lockable
from reid.cluster.placement import (
    PlacementError,
    concurrent_runs,
    require_placeable,
    require_precision,
    uses_gpu,
    worker_resources,
)
from reid.cluster.runner import EpochObserver, Stopped, evaluate, fit
from reid.cluster.tasks import map_on_cluster, map_on_workers, nodes_that_see
from reid.cluster.trials import TrialJob, as_result, records_of, train_trial
from reid.cluster.workers import NoRoomError, PhaseFailedError, Workers

__all__ = [
    "EpochObserver",
    "NoRoomError",
    "PhaseFailedError",
    "PlacementError",
    "Started",
    "Stopped",
    "TrialJob",
    "Workers",
    "as_result",
    "concurrent_runs",
    "connect",
    "evaluate",
    "fit",
    "fit_here",
    "map_on_cluster",
    "map_on_workers",
    "nodes_that_see",
    "on_several_nodes",
    "records_of",
    "require_lockable",
    "require_placeable",
    "require_precision",
    "run_in_order",
    "start_fit",
    "train_trial",
    "uses_gpu",
    "worker_resources",
]
