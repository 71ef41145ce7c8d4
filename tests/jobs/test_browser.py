"""What people see of a pipeline and a sweep: MLflow's browser on a moved storage, Optuna's and Ray's dashboards.

`REID_SCREENSHOTS=docs` keeps what is seen there.
"""

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser, Page, sync_playwright

OF_MLFLOW = {(404, "/ajax-api/2.0/mlflow/users/current")}
"""What MLflow's pages ask for and its server has only with accounts."""
OF_RAY = {(404, "/api/v0/platform_events"), (500, "/api/grafana_health"), (500, "/api/prometheus_health")}
"""What Ray's dashboard asks for and has only on Kubernetes or beside Grafana and Prometheus."""
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
PATIENCE_MS = 120_000
SERVE = "import sys; from reid.tracking import serve_ui; serve_ui(sys.argv[1], int(sys.argv[2]), 'reid')"
FINAL = {"phases.pose": "null", "phases.intermediate": "null", "phases.final.epochs": 2, "scaling.num_workers": 0}
SWEEP = {"search.trials": 2, "search.random_trials": 2, "search.retrain": "false", "search.early_stopping": "false"}
PIPELINE, STUDY = re.compile(r"^seen-(?!sweep)"), re.compile(r"\bseen-sweep-")
"""Names of the two runs; a study has that of its sweep."""

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass
class Site:
    """A moved storage, and the address that its browser has printed."""

    storage: Path
    address: str

    @property
    def root(self) -> str:
        return self.address.partition("#")[0]

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=f"sqlite:///{self.storage}/mlflow.db")

    def run(self, condition: str) -> Any:
        """The one run that fulfils a condition."""
        experiment = self.client.get_experiment_by_name("reid").experiment_id
        (run,) = self.client.search_runs([experiment], condition)
        return run

    def page_of(self, run: Any, tab: str = "") -> str:
        where = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{tab}"
        return f"{self.root}{where}?workflowType=machine_learning"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Browser, lacking: set[tuple[int, str]], **context: Any) -> Iterator[Page]:
    """A page to which nothing is refused but what its own server is known to lack."""
    page = chromium.new_page(viewport={"width": 1500, "height": 1000}, **context)
    page.set_default_timeout(PATIENCE_MS)
    refused: set[tuple[int, str]] = set()
    page.on("response", lambda a: refused.add((a.status, urlsplit(a.url).path)) if a.status >= 400 else None)
    try:
        yield page
    finally:
        page.close()
    assert refused <= lacking


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """Of MLflow's browser."""
    with opened(chromium, OF_MLFLOW) as page:
        yield page


@contextmanager
def running(job: Any) -> Iterator[Any]:
    try:
        yield job
    finally:
        job.process.terminate()
        job.process.wait(60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def site(
    chromium: Browser,
    start: Callable[..., Any],
    wait_until: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    before = tmp_path_factory.mktemp("site") / "before"
    for script, settings in {"full_pipeline": FINAL | {"phases.baseline.epochs": 2}, "sweep": FINAL | SWEEP}.items():
        more = settings | {"name": "seen", "storage": before}
        if script == "sweep":
            more["phases.baseline"] = "null"
        overrides = [part for key, value in more.items() for part in ("--set", f"{key}={value}")]
        start(sys.executable, f"jobs/{script}.py", "--preset", "smoke", *overrides).finish()
    storage = before.rename(before.with_name("after"))
    with running(start(sys.executable, "-c", SERVE, storage, str(free_port()))) as job:
        wait_until(lambda: "browse: " in job.output(), 300, "the browser's start", job)
        (address,) = re.findall(r"^browse: (\S+)$", job.output(), re.MULTILINE)
        yield Site(storage, address)


def show(page: Page, name: str) -> None:
    """Keep what is seen, where somebody wants it."""
    if folder := os.environ.get("REID_SCREENSHOTS"):
        close = page.get_by_role("button", name="Close").first
        if close.count():
            close.click()
        page.wait_for_timeout(1000)
        page.screenshot(path=f"{folder}/{name}.png")


def row_of(page: Page, name: re.Pattern[str] | str) -> Any:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name))


def test_the_printed_address_shows_training_runs_as_a_tree_with_scores(page: Page, site: Site) -> None:
    page.goto(site.address)
    row_of(page, PIPELINE).wait_for()
    for metric in ("eval/mAP", "eval/rank1"):
        assert page.get_by_role("columnheader", name=metric).count()
    for parent, children in {PIPELINE: ("baseline", "final"), STUDY: ("trial 0", "trial 1")}.items():
        row_of(page, parent).get_by_role("button").first.click()
        for child in children:
            row_of(page, re.compile(f"^{child}$")).first.wait_for()
    show(page, "browser")


def test_a_phase_has_a_curve(page: Page, site: Site) -> None:
    page.goto(site.page_of(site.run("attributes.run_name = 'baseline'"), "/model-metrics"))
    page.get_by_placeholder("Search metric charts").fill("train/total")
    page.wait_for_function(
        "[...document.querySelectorAll('.scatterlayer .trace')].some(t => t.querySelectorAll('.point').length > 1)"
    )
    show(page, "browser-curves")


@pytest.mark.parametrize(("kind", "child"), [("pipeline", "final"), ("sweep", "trial 0")])
def test_a_run_describes_itself_with_pictures_and_links_to_its_parts(
    page: Page, site: Site, kind: str, child: str
) -> None:
    run = site.run(f"tags.`reid.kind` = '{kind}'")
    page.goto(site.page_of(run))
    page.get_by_text("Show more").first.click()
    assert page.get_by_role("cell", name=re.compile("mean colour|the paper's values")).first.is_visible()
    page.wait_for_function(
        "(() => { const shown = [...document.querySelectorAll('img[src^=get-artifact]')];"
        " return shown.length > 0 && shown.every(image => image.complete && image.naturalWidth > 100) })()"
    )
    show(page, f"browser-{kind}")
    with page.expect_popup() as popup:
        page.get_by_role("link", name=child, exact=True).first.click()
    expected = site.run(f"attributes.run_name = '{child}' AND tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    assert expected.info.run_id in popup.value.url
    popup.value.close()


def test_artifacts_of_a_storage_that_was_moved_are_shown(page: Page, site: Site) -> None:
    page.goto(site.page_of(site.run("tags.`reid.kind` = 'pipeline'"), "/artifacts/pictures/ranked.png"))
    for name in ("config.yaml", "results.md", "cmc.png"):
        page.get_by_text(name).first.wait_for()
    page.wait_for_function("[...document.images].some(image => image.naturalWidth > 500)")


def test_the_node_is_watched_beside_the_run(page: Page, site: Site) -> None:
    run = site.run("tags.`reid.kind` = 'sweep'")
    assert "system/cpu_utilization_percentage" in run.data.metrics
    page.goto(site.page_of(run, "/system-metrics"))
    page.get_by_text("cpu_utilization_perce").first.wait_for()


def test_the_registered_model_says_what_it_is_and_how_good(page: Page, site: Site) -> None:
    page.goto(f"{site.root}#/models/reid-descriptor/versions/1")
    for text in ("Licence of the data", "mean colour", "Inputs (1)", "Outputs (1)"):
        page.get_by_text(text).first.wait_for()
    show(page, "browser-model")
    page.get_by_role("link", name="reid-descriptor").last.click()
    page.get_by_text("eval/mAP").first.wait_for()


def test_optunas_dashboard_opens_the_study(
    chromium: Browser, site: Site, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    (study,) = site.storage.glob("runs/*/study.db")
    port = free_port()
    dashboard = Path(sys.executable).with_name("optuna-dashboard")
    with running(start(dashboard, f"sqlite:///{study}", "--host", "127.0.0.1", "--port", str(port))) as job:
        wait_until(lambda: "Listening" in job.output(), 120, "the dashboard's start", job)
        with opened(chromium, set()) as page:
            page.goto(f"http://127.0.0.1:{port}/")
            page.get_by_text(STUDY).first.click()
            page.get_by_text("Hyperparameter Importance").first.wait_for()
            show(page, "optuna-dashboard")


def test_rays_dashboard_shows_the_cluster(chromium: Browser, cluster: Any, site: Site) -> None:
    token = cluster.environment["RAY_AUTH_TOKEN"]
    with opened(chromium, OF_RAY, extra_http_headers={"Authorization": f"Bearer {token}"}) as page:
        page.goto(f"{cluster.dashboard}/#/cluster")
        page.get_by_text("ALIVE", exact=True).first.wait_for()
        page.goto(f"{cluster.dashboard}/#/jobs")
        page.get_by_text("01000000").first.wait_for()  # the sweep, which has joined it
        show(page, "ray-dashboard")
