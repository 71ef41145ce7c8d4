"""Prints what a pipeline of two phases has left in STORAGE, local or remote, and in MLflow at TRACKING_URI, as JSON."""

import hashlib
import json
import sys

from mlflow import MlflowClient

from reid.storage import Place

root, client = Place(sys.argv[1]) / "runs", MlflowClient(tracking_uri=sys.argv[2])
weights, runs = {}, {}
for key in root.names():
    for phase in ("baseline", "final"):
        last = max(name for name in (root / key / phase).names() if name.startswith("epoch_"))
        content = (root / key / phase / last / "model.safetensors").read()
        weights[phase] = [last, hashlib.sha256(content).hexdigest()]
experiment = client.get_experiment_by_name("reid")
for run in client.search_runs([experiment.experiment_id]):
    points = client.get_metric_history(run.info.run_id, "train/total")
    runs[run.info.run_name] = [run.info.status, [[point.step, point.value] for point in points]]
print(json.dumps({"weights": weights, "runs": runs}))
