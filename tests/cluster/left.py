"""Prints what a pipeline has left in a storage, local or remote, and in MLflow, as JSON: STORAGE TRACKING_URI."""

import hashlib
import json
import sys

from mlflow import MlflowClient

from reid.storage import Place

root, client = Place(sys.argv[1]) / "runs", MlflowClient(tracking_uri=sys.argv[2])
weights, runs = {}, {}
for key in root.names():
    for phase in (root / key).names():
        epochs = [name for name in (root / key / phase).names() if name.startswith("epoch_")]
        if epochs:
            content = (root / key / phase / max(epochs) / "model.safetensors").read()
            weights[phase] = [max(epochs), hashlib.sha256(content).hexdigest()]
experiment = client.get_experiment_by_name("reid")
for run in client.search_runs([experiment.experiment_id]):
    points = client.get_metric_history(run.info.run_id, "train/total")
    runs[run.info.run_name] = [run.info.status, [[point.step, point.value] for point in points]]
print(json.dumps({"weights": weights, "runs": runs}))
