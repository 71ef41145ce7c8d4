"""What MLflow's browser shows of an experiment, and addresses within it."""

import json
import re
from collections.abc import Callable
from urllib.parse import quote, urlencode

KEY_TAG = "reid.run"
WORKFLOW = "machine_learning"
"""MLflow's view of runs and models; without it, its browser opens the one for language models."""
VIEW = "reid"
"""Name of the view below, as part of an address."""
COLUMNS = (
    "metrics.`eval/mAP`",
    "metrics.`eval/rank1`",
    "metrics.`eval/people/pck`",
    "metrics.`train/total`",
    "params.`phase.stage`",
    "params.`phase.epochs`",
    "params.`phase.learning_rate`",
)
"""Of the list of runs."""
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "eval/mAP",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
    f"mlflow.sharedViewState.{VIEW}": json.dumps({"selectedColumns": COLUMNS}),
}
"""By which MLflow's browser knows what an experiment is, and which columns to show where an address names the view."""

_LINK = re.compile(r"(?P<shows>!)?\[(?P<text>[^\]]*)\]\((?P<kind>run|file):(?P<what>[^)\s]+)\)")


def experiment_page(experiment: str) -> str:
    """Path and fragment of the list of an experiment's runs; `experiment` is MLflow's id, as all ids here."""
    return f"#/experiments/{experiment}/runs?{urlencode({'workflowType': WORKFLOW, 'viewStateShareKey': VIEW})}"


def run_page(experiment: str, run: str, tab: str = "") -> str:
    """Path and fragment of a run's page, or of one of its tabs."""
    return f"#/experiments/{experiment}/runs/{run}{tab and '/'}{tab}?{urlencode({'workflowType': WORKFLOW})}"


def linked(note: str, experiment: str, run: str, id_of: Callable[[str], str | None]) -> str:
    """A note, see `RunRecord.note`, with addresses within the browser.

    Args:
        run: the run whose note it is.
        id_of: the id of the run with a key, None where it is not there yet: its link is a search for it.
    """

    def address(match: re.Match[str]) -> str:
        shows, text, kind, what = match.group("shows", "text", "kind", "what")
        if kind == "file" and shows:
            where = f"get-artifact?{urlencode({'path': what, 'run_uuid': run})}"
        elif kind == "file":
            where = run_page(experiment, run, f"artifacts/{quote(what)}")
        elif (other := id_of(what)) is not None:
            where = run_page(experiment, other)
        else:
            search = {"searchFilter": f"tags.`{KEY_TAG}` = '{what}'"}
            where = f"{experiment_page(experiment)}&{urlencode(search)}"
        return f"{shows or ''}[{text}]({where})"

    return _LINK.sub(address, note)
