"""Safety of the whole session: one thread, no writing outside a temporary folder, no process left behind."""

import io
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import psutil
import pyarrow.fs
import pytest

if TYPE_CHECKING:
    import sqlalchemy

    from reid.config import RunConfig
    from reid.models import FGSAM

HEIGHT, WIDTH = 32, 16
"""Of images in the smallest stores."""

NOTHING_SKIPPED = "REID_NOTHING_SKIPPED"
"""Environment variable that `.ci/run` sets, so that no check is left out there without a word."""
SESSION = "REID_TEST_SESSION"
"""Environment variable that every process started by a test inherits, also one that left our process tree."""


POSTGRES_PASSWORD = "s3cr et/@:"  # noqa: S105 - of this test alone


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Where everything that tests need is to be there, a test that is skipped has failed."""
    report = yield
    if report.skipped and os.environ.get(NOTHING_SKIPPED) and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though {NOTHING_SKIPPED} is set: {report.longrepr[-1]}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    os.environ[SESSION] = str(os.getpid())
    yield
    left = [process for process in psutil.process_iter() if _is_ours(process)]
    _, alive = psutil.wait_procs(left, timeout=5)
    if alive:
        commands = [" ".join(process.cmdline())[:120] for process in alive]
        pytest.fail("the tests left processes running:\n" + "\n".join(commands), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def _session_storage(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["REID_STORAGE"] = str(tmp_path_factory.mktemp("storage"))


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `$REID_STORAGE` for one test."""
    folder = tmp_path / "storage"
    monkeypatch.setenv("REID_STORAGE", str(folder))
    return folder


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Makes an empty bucket of a local S3 server; its URI has the options by which alone the server is found."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    here = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}

    def bucket(name: str) -> str:
        filesystem, _ = pyarrow.fs.FileSystem.from_uri(f"s3://{name}?{options}&allow_bucket_creation=true")
        filesystem.create_dir(name)
        return f"s3://{name}/reid?{options}"

    with pytest.MonkeyPatch.context() as patch:
        for variable, value in here.items():
            patch.setenv(variable, value)
        yield bucket
    server.stop()


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Arrow stores of the embedded benchmark at its smallest: `reid`, `pose` and `textures`."""
    from reid.data import map_in_process, prepare
    from reid.embedded import SIZES, render_coco, render_market1501, render_pairs

    root = tmp_path_factory.mktemp("stores")
    render_market1501(root / "market1501", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    render_coco(root / "coco", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    render_pairs(root / "pairs", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    return {
        kind: prepare(name, root / source, root / kind, height=HEIGHT, width=WIDTH).path
        for kind, name, source in (
            ("reid", "embedded", "market1501"),
            ("pose", "coco", "coco"),
            ("textures", "texture_pairs", "pairs"),
        )
    }


@pytest.fixture(scope="session")
def build() -> Callable[..., "FGSAM"]:
    """Builds FGSAM on a ResNet-18 with a pose net of 1/16 width; keywords go to the configuration."""
    from reid.config import LAYOUTS, Attribute, Layout, ModelConfig, PoseNetConfig
    from reid.models import FGSAM

    attributes = {
        name: Attribute(name=name, classes=classes, region=region, fields=(name,))
        for name, classes, region in (
            ("hat", ("no", "yes"), "head"),
            ("upper_colour", ("red", "green", "blue"), "upper_body"),
            ("shoes", ("dark", "light"), "lower_leg"),
        )
    }

    def build(stage: str, *, layout: str = "three_parts", seed: int = 0, **changes: Any) -> FGSAM:
        parts = tuple(part.model_copy(update={"dim": 8}) for part in LAYOUTS[layout].parts)
        config = ModelConfig(
            trunk="resnet18",
            weights=None,
            sketch_dim=64,
            layout=Layout(parts=parts, plenary_dim=12),
            pose_net=PoseNetConfig(width=1 / 16, stages=2, parse_blocks=changes.pop("parse_blocks", True)),
            **changes,
        )
        return FGSAM(config, stage=stage, num_identities=5, attributes=attributes, seed=seed)

    return build


@pytest.fixture(scope="session")
def save_untrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a checkpoint of a phase whose model was never trained."""
    import torch

    from reid.config import load_config, load_manifest
    from reid.models import FGSAM
    from reid.training import EpochRecord, PhaseState, Save

    def save_untrained(phase: str, *, seed: int = 0, overrides: Sequence[str] = (), run: str | None = "walk-1") -> Path:
        config = load_config(preset="smoke", overrides=["scaling.num_workers=0", "precision=fp32", *overrides])
        attributes = {attribute.name: attribute for attribute in load_manifest("embedded").attributes}
        stage = config.phases[phase].stage
        model = FGSAM(config.model, stage=stage, num_identities=12, attributes=attributes, seed=seed)
        epoch = EpochRecord(epoch=1, time=1.5, metrics={} if stage == "pose" else {"eval/mAP": 0.25})
        state = PhaseState(
            phase=phase,
            config=config,
            num_identities=12,
            attributes=attributes,
            history=(epoch,),
            run=None if run is None else f"{run}.{phase}",
        )
        folder = tmp_path_factory.mktemp("checkpoints") / phase / "epoch_0001"
        folder.mkdir(parents=True)
        Save.of(model, torch.optim.Adam(model.parameters()), state, {})(folder)
        return folder

    return save_untrained


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._folder),)


@pytest.fixture
def plant_pickle() -> Callable[[Path, Path], None]:
    """Makes a `torch.export` program one that creates a folder when torch loads it."""
    import torch

    def plant_pickle(program: Path, folder: Path) -> None:
        with zipfile.ZipFile(program) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        torch.save(Planted(folder), planted := io.BytesIO())
        with zipfile.ZipFile(program, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, planted.getvalue() if name.endswith("sample_inputs/model.pt") else content)

    return plant_pickle


@pytest.fixture
def on_two_ranks(tmp_path: Path, in_processes: "InProcesses") -> Callable[[Callable[[int], None]], None]:
    """Calls a function with the number of each rank of a process group, in two forked processes."""
    import torch.distributed as dist

    def on_two_ranks(as_rank: Callable[[int], None]) -> None:
        def member(rank: int) -> None:
            dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=rank, world_size=2)
            as_rank(rank)
            dist.destroy_process_group()

        assert in_processes(2, member) == [0, 0]

    return on_two_ranks


InProcesses = Callable[[int, Callable[[int], None]], list[int]]


@pytest.fixture
def in_processes() -> InProcesses:
    """Calls a function in several forked processes at the same moment, with the number of each; their exit codes."""
    forking = multiprocessing.get_context("fork")

    def in_processes(count: int, function: Callable[[int], None]) -> list[int]:
        all_there = forking.Barrier(count)

        def member(number: int) -> None:
            all_there.wait()
            function(number)

        processes = [forking.Process(target=member, args=(number,)) for number in range(count)]
        try:
            for process in processes:
                process.start()
            for process in processes:
                process.join(timeout=120)
        finally:
            for process in processes:
                process.kill()
                process.join()
        return [process.exitcode or 0 for process in processes]

    return in_processes


SMALL_DISK = 'mount -t tmpfs -o size="$1k" none "$2" && shift 2 && exec "$@"'


@pytest.fixture
def on_a_small_disk(tmp_path: Path) -> Callable[..., str]:
    """Runs a Python script on a disk of so many kB, its first argument, in a namespace that may mount it anew.

    Returns what it has printed.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", disk], capture_output=True)
    if tried.returncode:  # of the machine's leave alone: what is wrong with our own script fails
        pytest.skip(f"a namespace with a disk of its own is not permitted: {tried.stderr.decode().strip()}")

    def on_a_small_disk(script: Path, kilobytes: int, *arguments: object) -> str:
        ended = subprocess.run(
            ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", str(kilobytes), disk, sys.executable, script, disk]
            + [str(argument) for argument in arguments],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "platform")},
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    return on_a_small_disk


@pytest.fixture
def mean_over_ranks() -> Callable[..., Any]:
    """Evaluates `loss(shard, ranks)` on every rank and averages: a tensor, or a dict of them, per rank."""
    import torch

    def mean(loss: Callable[..., dict[str, Any]], shards: Sequence[Any]) -> dict[str, Any]:
        ranks = [SimulatedRank(rank, len(shards)) for rank in range(len(shards))]
        for rank, shard in zip(ranks, shards, strict=True):
            loss(shard, rank)
        for rank in ranks:
            rank.peers = ranks
        results = [loss(shard, rank) for rank, shard in zip(ranks, shards, strict=True)]
        return {name: torch.stack([result[name] for result in results]).mean(dim=0) for name in results[0]}

    return mean


class SimulatedRank:
    """One of several ranks in one process whose collectives are resolved between two passes.

    In the first pass every rank records what it contributes, in the order of its calls; in the second, each gets what
    all have contributed, with the graph, so gradients flow between the ranks as through a real gather.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.recorded: list[Any] = []
        self.peers: Sequence[SimulatedRank] = ()
        self.calls = 0

    def _exchange(self, tensor: Any) -> list[Any]:
        if not self.peers:
            self.recorded.append(tensor)
            return [tensor] * self.world_size
        self.calls += 1
        return [peer.recorded[self.calls - 1] for peer in self.peers]

    def gather(self, tensor: Any) -> Any:
        import torch

        return torch.cat(self._exchange(tensor))

    def gather_one(self, tensor: Any) -> Any:
        import torch

        return torch.stack(self._exchange(tensor))

    def total(self, count: Any) -> Any:
        import torch

        return torch.stack(self._exchange(count)).sum(dim=0).detach()


@pytest.fixture(scope="session")
def postgres() -> Iterator["sqlalchemy.URL"]:
    """A PostgreSQL server of our own that asks for a password, on loopback."""
    import sqlalchemy
    from bed.cluster import free_port
    from bed.machine import Loopback
    from bed.services import POSTGRES, start_postgres

    if not POSTGRES:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    folder, machine = Path(tempfile.mkdtemp(prefix="pg")), Loopback("postgres", "127.0.0.1")
    folder.chmod(0o711)  # PostgreSQL's user reaches its own folder
    try:
        server = start_postgres(machine, free_port(), folder, os.environ, password=POSTGRES_PASSWORD)
        yield sqlalchemy.make_url(server.address)
        first = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(first, signal.SIGQUIT)  # so that it frees its shared memory
        server.process.wait(30)
    finally:
        machine.switch_off()
        shutil.rmtree(folder)


@pytest.fixture
def config(storage: Path) -> "RunConfig":
    """The smoke preset, smaller still, on one rank in this process."""
    from reid.config import load_config

    return load_config(
        preset="smoke",
        overrides=[f"data.height={HEIGHT}", f"data.width={WIDTH}", "scaling.num_workers=0", "precision=fp32"],
    )


def _is_ours(process: psutil.Process) -> bool:
    try:
        return (
            process.pid != os.getpid()
            and process.environ().get(SESSION) == os.environ[SESSION]
            and "multiprocessing.resource_tracker" not in " ".join(process.cmdline())  # ends with the interpreter
        )
    except psutil.Error:  # ended meanwhile, or another user's
        return False
