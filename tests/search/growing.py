"""A cluster of one CPU that a second node joins while trials, and then other trainings, run: how many ran at once?

The folder is this process's own.
"""

import json
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import ray
from ray import tune
from ray.cluster_utils import Cluster

import reid
from reid.cluster import Started, as_result, background, concurrent_runs, run_in_order
from reid.config import RunConfig, load_config
from reid.search import Trials, open_study, run_trials
from reid.search.chosen import ChosenSpace
from reid.storage import Holder
from reid.training import EpochRecord

FOLDER = Path(sys.argv[1])
SECONDS, LONGEST = 0.6, 90


def space(trial: optuna.Trial, config: RunConfig) -> dict[str, Any]:
    return {"loss.alpha": trial.suggest_float("loss.alpha", 0.0, 1.0)}


def work(kind: str, name: str, folder: Path) -> None:
    """Take a moment; once a node has joined, until another one runs beside it, for which Tune starts a process."""
    began, running = time.time(), folder / f"running-{kind}-{name}"
    running.touch()
    time.sleep(SECONDS)
    while (folder / f"joined-{kind}").exists() and time.time() < began + LONGEST:
        if len(list(folder.glob(f"running-{kind}-*"))) > 1:
            (folder / f"joined-{kind}").unlink(missing_ok=True)
        time.sleep(0.1)
    running.unlink()
    (folder / f"{kind}-{name}.json").write_text(json.dumps([began, time.time()]))


def stub(config: dict[str, Any]) -> None:
    work("trial", str(config["number"]), FOLDER)
    tune.report(as_result((EpochRecord(epoch=1, time=time.time(), metrics={"eval/mAP": 0.5}),)))


class Step:
    after: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name


def at_once(kind: str, joined: float) -> tuple[int, int]:
    """Most that ran at a time, of those that ended before the node joined, and in all."""
    spans = [json.loads(file.read_text()) for file in FOLDER.glob(f"{kind}-*.json")]

    def most(spans: list[list[float]]) -> int:
        return max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)

    return most([span for span in spans if span[1] < joined]), most(spans)


def join_after(cluster: Cluster, kind: str, joined: list[float]) -> None:
    while len(list(FOLDER.glob(f"{kind}-*.json"))) < 2:
        time.sleep(0.05)
    joined.append(time.time())
    cluster.add_node(num_cpus=1)
    (FOLDER / f"joined-{kind}").touch()


def while_a_node_joins(cluster: Cluster, kind: str, run: Any) -> tuple[int, int]:
    joined: list[float] = []
    joining = threading.Thread(target=join_after, args=(cluster, kind, joined))
    joining.start()
    run()
    joining.join()
    return at_once(kind, joined[0])


def search(config: RunConfig) -> None:
    study = open_study(f"sqlite:///{FOLDER}/study.db", "x", ("mAP",))
    driver = Holder.here("sweep")
    trials = Trials(study, ChosenSpace(name="x", draw=space), config, first={"loss.alpha": 0.5}, driver=driver)
    with trials.holding:
        run_trials(trials, stub, scaling=config.scaling, at_once=partial(concurrent_runs, config.scaling))


def train(config: RunConfig) -> None:
    background.LOOK_EVERY_S = 0.2
    task = ray.remote(num_cpus=1)(work)
    finished: dict[str, object] = {}

    def start(step: Step) -> Started:
        return Started(future=task.remote("training", step.name, FOLDER).future())

    steps = [Step(str(number)) for number in range(24)]
    for step, ended in run_in_order(steps, finished, start, at_once=partial(concurrent_runs, config.scaling)):
        finished[step.name] = ended


settings = ["search.trials=12", "phases.final.epochs=1", "scaling.num_workers=0", "scaling.accelerator=cpu"]
config = load_config(preset="smoke", overrides=settings)
head = {"num_cpus": 1, "include_dashboard": False, "gcs_server_port": int(sys.argv[2]), "temp_dir": str(FOLDER / "ray")}
cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)  # threads may add nodes then
try:
    ray.init(
        address=cluster.address,
        runtime_env={"py_modules": [str(Path(reid.__file__).parent)]},
        logging_level="ERROR",
        log_to_driver=False,
    )
    result = {"trial": while_a_node_joins(cluster, "trial", partial(search, config))}
    result["training"] = while_a_node_joins(cluster, "training", partial(train, config))
    print(json.dumps(result))
finally:
    ray.shutdown()
    cluster.shutdown()
