"""Prints what a pipeline of two phases has left in STORAGE, local or remote, and in MLflow at TRACKING_URI, as JSON."""

import hashlib
import json
import sys

from mlflow import MlflowClient

from reid.storage import Place

root, client = Place(sys.argv[1]) / "runs", MlflowClient(tracking_uri=sys.argv[2])
weights, runs = {}, {}
for run in [root / name for name in root.names() if (root / name / "phases.json").exists()]:
    for phase in ("baseline", "final"):
        last = max(name for name in (run / phase).names() if name.startswith("epoch_"))
        content = (run / phase / last / "model.safetensors").read()
        weights[phase] = [last, hashlib.sha256(content).hexdigest()]
experiment = client.get_experiment_by_name("reid")
for recorded in client.search_runs([experiment.experiment_id]):
    points = client.get_metric_history(recorded.info.run_id, "train/total")
    runs[recorded.info.run_name] = [recorded.info.status, [[point.step, point.value] for point in points]]
print(json.dumps({"weights": weights, "runs": runs}))
