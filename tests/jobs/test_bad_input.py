"""What a user can get wrong: one clear error with place and remedy, before any training, and nothing half-written."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import scipy.io

from reid import jobs
from reid.data import map_in_process
from reid.embedded import EDITION, SIZES, render_market1501

evaluate = partial(jobs.evaluate.main, standalone_mode=False)
full_pipeline = partial(jobs.pipeline.main, standalone_mode=False)
prepare_data = partial(jobs.prepare.main, standalone_mode=False)


ROOT = Path(__file__).parents[2]
SMALL = ("data.height=32", "data.width=16", "scaling.num_workers=0", "phases.pose=null", "phases.intermediate=null")
TINY = (*SMALL, "phases.final=null", "phases.baseline.epochs=1", "phases.baseline.batch_size=36")
TRAIN = "bounding_box_train"


def arguments(*overrides: str) -> list[str]:
    return ["--preset", "smoke", *(part for override in (*TINY, *overrides) for part in ("--set", override))]


def refused(job: Callable[[list[str]], None], argv: list[str]) -> str:
    """The message with which a job exits; the interpreter prints it on stderr and exits with status 1."""
    with pytest.raises(SystemExit) as caught:
        job(argv)
    message = caught.value.code
    assert isinstance(message, str)
    assert message.startswith("error: ")
    assert "Traceback" not in message
    return message


def left(storage: Path) -> list[str]:
    """What lies in the storage beside the rendered sources and locks."""
    return sorted(
        str(path.relative_to(storage))
        for path in storage.rglob("*")
        if path.is_file() and path.suffix != ".lock" and "sources" not in path.parts
    )


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rendered") / "market1501"
    render_market1501(root, size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    return root


@pytest.fixture
def source(rendered: Path, storage: Path) -> Path:
    """The embedded benchmark where the jobs look for it, ours to break."""
    return Path(shutil.copytree(rendered, storage / "sources" / f"embedded-{EDITION}-smoke-0" / "market1501"))


@pytest.fixture
def store(source: Path, storage: Path) -> Path:
    """The prepared benchmark."""
    prepare_data(arguments())
    (store,) = (path for path in (storage / "stores").iterdir() if path.is_dir())
    return store


@pytest.mark.slow
def test_the_command_line_says_all_settings_that_are_wrong_and_no_more(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [
            *(
                sys.executable,
                ROOT / "jobs" / "full_pipeline.py",
                "--preset",
                "smoke",
                "--set",
                f"storage={tmp_path}/s",
            ),
            *("--set", "phases.final.epoch=3", "--set", "loss.alpha=-1", "--set", "loss.mining=some"),
            *("--set", "lossy.gamma=2", "--set", "data.height=100", "--set", "scaling.num_workers=-1"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    lines = outcome.stderr.splitlines()
    assert lines[0] == "error: the configuration has errors:"
    for key, remedy in {
        "phases.final.epoch": "did you mean 'epochs'",
        "loss.alpha": "greater than or equal to 0",
        "loss.mining": "'batch_all' or 'batch_hard'",
        "lossy": "did you mean 'loss'",
        "data.height": "multiple of 8",
        "scaling.num_workers": "whole number from 0",
    }.items():
        (line,) = [line for line in lines if line.startswith(f"  {key}: ")]
        assert remedy in line
    assert len(lines) == 7
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.name=market1501"], "data.source: is missing; set it to the folder where market1501 was unpacked"),
        (["data.name=market1501", "data.source=/nowhere"], "data.source: there is no folder /nowhere; set it to"),
        (["data.name=market", "data.source=."], "invalid dataset 'market', expected one of "),
        (["data.source=/nowhere"], "data.source: the embedded benchmark has none; set data.name"),
        (["phases.baseline.batch_size=73"], "72 images do not fill a batch of 73: lower batch_size"),
        (["model.batch_norm=synchronised"], "model.batch_norm: synchronised needs GPUs; set it to local or frozen"),
    ],
)
def test_settings_that_do_not_fit_the_data_or_the_machine(
    source: Path, storage: Path, overrides: list[str], message: str
) -> None:
    assert message in refused(full_pipeline, arguments(*overrides))
    assert not [path for path in left(storage) if path.endswith("safetensors")]


@pytest.mark.parametrize(
    ("overrides", "what"), [((), "is missing"), (("data.source=/no", "data.pose_source=/no"), "there is no folder /no")]
)
def test_all_sources_that_are_missing_are_named_at_once(storage: Path, overrides: Sequence[str], what: str) -> None:
    pose = "phases.pose={stage: pose, epochs: 1, learning_rate: 0.1, halve_every: 1}"
    settings = [setting for setting in TINY if not setting.startswith("phases.pose")]
    settings += ["data.name=market1501", pose, *overrides]
    message = refused(full_pipeline, ["--preset", "smoke", *(part for s in settings for part in ("--set", s))])
    assert f"data.source: {what}; set it to the folder where market1501 was unpacked" in message
    assert f"data.pose_source: {what}; set it to a COCO folder with annotations/ and train2017/" in message


def test_a_folder_without_one_split(rendered: Path, storage: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(rendered, tmp_path / "market"))
    shutil.rmtree(folder / "query")
    message = refused(full_pipeline, arguments("data.name=market1501", f"data.source={folder}"))
    assert f"{folder} lacks query/: point data.source at the folder of" in message
    assert left(storage) == []


def cut_short(source: Path) -> str:
    image = min((source / TRAIN).glob("*.jpg"))
    image.write_bytes(image.read_bytes()[:300])
    return f"unreadable images: .*{image.name}"


def no_image(source: Path) -> str:
    image = min((source / "query").glob("*.jpg"))
    image.write_text("<html>not found</html>")
    return f"unreadable images: .*{image.name}"


def single_image(source: Path) -> str:
    first, *others = sorted((source / TRAIN).glob("0*.jpg"))
    pid = first.name[:4]
    for image in others:
        if image.name.startswith(pid):
            image.unlink()
    return f"train identities {int(pid)} have a single image, .*: remove them or add images"


def unanswerable_query(source: Path) -> str:
    pid = min((source / "query").glob("*.jpg")).name[:4]
    for image in (source / "bounding_box_test").glob(f"{pid}_*"):
        image.unlink()
    return f"query identities {int(pid)} have no image in the gallery: .*remove them from query"


def annotated(source: Path, change: Callable[[dict[str, Any]], None]) -> None:
    (file,) = source.rglob("market_attribute.mat")
    content = scipy.io.loadmat(file, simplify_cells=True)["market_attribute"]
    change(content["train"])
    scipy.io.savemat(file, {"market_attribute": content})


def identity_not_annotated(source: Path) -> str:
    def change(train: dict[str, Any]) -> None:
        for field in train:
            train[field] = train[field][1:]

    pid = min((source / TRAIN).glob("0*.jpg")).name[:4]
    annotated(source, change)
    return rf"market_attribute.mat lacks identities {int(pid)}: use the annotation file of this dataset"


def field_not_annotated(source: Path) -> str:
    annotated(source, lambda train: train.pop("upred"))
    return r"market_attribute.mat: market_attribute.train lacks the fields upred: use the annotation file"


@pytest.mark.parametrize(
    "damage",
    [cut_short, no_image, single_image, unanswerable_query, identity_not_annotated, field_not_annotated],
    ids=lambda damage: damage.__name__,
)
def test_a_source_that_is_damaged(source: Path, storage: Path, damage: Callable[[Path], str]) -> None:
    expected = damage(source)
    message = refused(full_pipeline, arguments())
    assert re.search(expected, message), message
    assert str(source) in message
    assert "\n" not in message
    assert left(storage) == []


def flipped(store: Path) -> str:
    shard = store / "train-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    return rf"the shard {shard} is damaged .*: delete the folder {store} and prepare again"


def missing(store: Path) -> str:
    (store / "query-00000.arrow").unlink()
    return rf"the shard {store}/query-00000.arrow is missing: delete the folder {store} and prepare again"


def newer(store: Path) -> str:
    manifest = json.loads((store / "manifest.json").read_text())
    (store / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    return rf"{store} has schema version 99, and this version of reid reads up to \d+: upgrade reid"


@pytest.mark.parametrize("damage", [flipped, missing, newer], ids=lambda damage: damage.__name__)
def test_a_store_that_is_damaged(store: Path, storage: Path, damage: Callable[[Path], str]) -> None:
    expected = damage(store)
    before = left(storage)
    message = refused(full_pipeline, arguments())
    assert re.search(expected, message), message
    assert "\n" not in message
    assert left(storage) == before


def test_a_storage_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = refused(full_pipeline, arguments(f"storage={tmp_path}/file/reid"))
    assert re.search(rf"storage: cannot write to {tmp_path}/file/reid \(.*\); set storage=… or REID_STORAGE", message)


def test_a_remote_storage_needs_a_tracking_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    message = refused(full_pipeline, arguments(f"storage={tmp_path.as_uri()}/remote"))
    assert "tracking.uri: is needed, since no database file can lie at" in message
    assert "MLFLOW_TRACKING_URI" in message


def test_a_password_in_the_storage_is_refused_unseen() -> None:
    message = refused(full_pipeline, arguments("storage=s3://key:s3cret@bucket/reid"))
    assert "storage: holds a password" in message
    assert "s3cret" not in message


@pytest.mark.slow
def test_a_checkpoint_of_another_architecture(store: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    full_pipeline(arguments())
    (checkpoint,) = (storage / "runs").glob("*/baseline/epoch_0001")
    argv = [*arguments("model.trunk=resnet34"), "--checkpoint", str(checkpoint)]
    message = refused(evaluate, argv)
    assert f"{checkpoint} is of another architecture" in message
    assert "use the configuration that wrote it" in message
    (checkpoint / "model.safetensors").write_bytes(b"cut short")
    assert f"{checkpoint}/model.safetensors is damaged" in refused(evaluate, argv)
    nowhere = refused(evaluate, [*arguments(), "--checkpoint", f"{storage}/nowhere"])
    assert f"{storage}/nowhere is no checkpoint: it has no phase.json" in nowhere


@pytest.mark.cluster
def test_more_workers_than_the_cluster_can_place(start: Callable[..., Any], shared_storage: Path) -> None:
    job = start(
        *(sys.executable, "jobs/full_pipeline.py", "--preset", "smoke", "--set", "name=toomany"),
        *("--set", "scaling.num_workers=3", "--set", "scaling.start_timeout=2"),
    )
    assert job.process.wait(400) == 1
    (line,) = [line for line in job.output().splitlines() if line.startswith("error: ")]
    assert "scaling.num_workers: 3 workers of 1 CPU each could not be placed within 2 s, the cluster has 2 CPU" in line
    assert "lower scaling.num_workers" in line
    assert "Traceback" not in job.output()
    assert not list(shared_storage.glob("runs/toomany-*"))
