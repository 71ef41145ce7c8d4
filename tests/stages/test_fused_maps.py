"""Maps that FGSAM fuses and a phase leaves as they are: whose, when, and that training with them changes nothing."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from reid.config import AFFINITY_CHANNELS, CONFIDENCE_CHANNELS, DataError, RunConfig, load_config, with_settings
from reid.data import HoldOut, PoseBatches, open_dataset, prepare
from reid.models import FGSAM
from reid.stages import STAGES, load_model, stage_of
from reid.stages.fused_maps import frozen_pose_net, known_maps
from reid.training import Labels, PhaseJob, PhaseState, Save, load_weights, make_optimizer, run_phase

CPU = torch.device("cpu")
NOT_AUGMENTED = {f"data.augmentation.{name}": 0 for name in ("flip", "pad", "colour", "erase")}
PARSE = "pose_net.stages.1.parse."


@dataclass(frozen=True, kw_only=True)
class Left:
    """What a phase of one epoch leaves."""

    place: str
    metrics: dict[str, float]

    @property
    def weights(self) -> dict[str, Tensor]:
        return load_weights(self.place)


def train(
    config: RunConfig, phase: str, store: Path, folder: Path, former: tuple[str, ...] = (), **job: object
) -> Left:
    """Train a phase into a folder."""
    states: list[PhaseState] = []

    def report(state: PhaseState, save: object) -> None:
        folder.mkdir(parents=True)
        save(folder)  # type: ignore[operator]
        states.append(state)

    given = {"stage": stage_of(config, phase), "scoring": "plain"} | job
    settings = PhaseJob(config=config, phase=phase, store=str(store), start_from=former, **given)  # type: ignore[arg-type]
    run_phase(settings, device=CPU, evaluate=settings.stage.evaluate, report=report)
    return Left(place=str(folder), metrics=states[-1].history[-1].metrics)


def smallest(storage: Path, changes: dict[str, object] | None = None) -> RunConfig:
    settings = ["data.height=32", "data.width=16", "scaling.num_workers=0", "precision=fp32", f"storage={storage}"]
    epochs = [f"phases.{phase}.epochs=1" for phase in ("pose", "baseline", "intermediate", "final")]
    return with_settings(load_config(preset="smoke", overrides=[*settings, *epochs]), changes or {})


@pytest.fixture(scope="module")
def pose_net(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Left:
    """As a pose phase could leave it: statistics of real images, maps as high as those of joints."""
    folder = tmp_path_factory.mktemp("pose")
    config, dataset = smallest(folder), open_dataset(stores["pose"])
    model = STAGES["pose"].build(config, Labels.of(dataset), pretrained=False)
    batches = PoseBatches(dataset, "train", config.data, device=CPU)
    for start in range(0, 40, 8):
        model(batches.inference(range(start, start + 8)))
    for weight in model.parameters():
        if weight.shape[0] in (CONFIDENCE_CHANNELS, AFFINITY_CHANNELS):
            weight.data *= 100
    state = PhaseState(phase="pose", config=config, num_identities=0, attributes={}, history=())
    Save.of(model, make_optimizer(model, config.phases["pose"]), state, {})(folder)
    return Left(place=str(folder), metrics={})


def files(config: RunConfig) -> dict[Path, int]:
    """Of maps, with the times of their last change."""
    return {file: file.stat().st_mtime_ns for file in Path(config.storage, "maps").rglob("*.arrow")}


@pytest.mark.parametrize("phase", ["intermediate", "final"])
def test_training_with_known_maps_is_training_with_the_frozen_net(
    phase: str, pose_net: Left, stores: dict[str, Path], tmp_path: Path
) -> None:
    config = smallest(tmp_path / "storage", {f"phases.{phase}.learning_rate": 1e-6, **NOT_AUGMENTED})
    live = replace(STAGES[phase], known=lambda *_: None)
    seen = train(config, phase, stores["reid"], tmp_path / "live", (pose_net.place,), stage=live)
    assert not files(config)
    known = train(config, phase, stores["reid"], tmp_path / "known", (pose_net.place,))
    assert files(config)
    losses = {name: value for name, value in seen.metrics.items() if name.startswith("train/") and "images" not in name}
    assert {name: known.metrics[name] for name in losses} == pytest.approx(losses, rel=1e-3)
    assert known.weights["confidence_norm.running_var"].max() > 0.69, "the maps vary"
    for name, expected in seen.weights.items():
        if name.startswith(("confidence_norm.running", "affinity_norm.running")):
            torch.testing.assert_close(known.weights[name], expected, rtol=1e-4, atol=1e-6)
        if name.startswith(PARSE):  # Adam makes whole steps of gradients that are nothing but rounding
            assert known.weights[name].isclose(expected, rtol=0, atol=2e-7).float().mean() > 0.9, name


def test_phases_with_one_pose_net_share_its_maps_and_leave_it_as_it_is(
    pose_net: Left, stores: dict[str, Path], tmp_path: Path
) -> None:
    config = smallest(tmp_path / "storage")
    first = train(config, "intermediate", stores["reid"], tmp_path / "intermediate", (pose_net.place,))
    made = files(config)
    former, scenes = (pose_net.place, first.place), {"pose": str(stores["pose"])}
    second = train(config, "final", stores["reid"], tmp_path / "final", former, beside=scenes)
    assert files(config) == made
    assert {file.name.partition("-")[0] for file in made} == {"train", "query", "gallery"}
    assert "eval/pck" in second.metrics.keys() - first.metrics.keys(), "it is checked on the scenes beside"
    for before, after in ((pose_net.weights, first.weights), (first.weights, second.weights)):
        moved = [name for name in before.keys() & after.keys() if not torch.equal(after[name], before[name])]
        of_pose_net = [name for name in moved if name.startswith("pose_net.")]
        assert of_pose_net
        assert all(name.startswith(PARSE) for name in of_pose_net)


@pytest.mark.parametrize("rates", [{"pose_net": 1.0}, {"pose_net.stages.0": 0.5}])
def test_a_pose_net_that_is_trained_after_all_has_no_known_maps(
    rates: dict[str, float], pose_net: Left, stores: dict[str, Path], tmp_path: Path
) -> None:
    config = smallest(tmp_path / "storage", {"phases.final.rates": rates})
    left = train(config, "final", stores["reid"], tmp_path / "final", (pose_net.place,), scoring="off")
    assert not files(config)
    (trained,), weights = rates, left.weights
    for name, before in pose_net.weights.items():
        assert torch.equal(weights[name], before) != name.startswith((f"{trained}.", PARSE)), name


def test_whoever_is_held_out_is_scored_with_maps_that_serve_the_whole_dataset(
    pose_net: Left, stores: dict[str, Path], tmp_path: Path
) -> None:
    config = smallest(tmp_path / "storage")
    rule = HoldOut(fraction=0.5, seed=0)
    trial = train(config, "final", stores["reid"], tmp_path / "trial", (pose_net.place,), hold_out=rule)
    assert {"eval/mAP", "eval/people/pck"} <= trial.metrics.keys()
    made = files(config)
    assert [file.name.partition("-")[0] for file in made] == ["train"]
    train(config, "final", stores["reid"], tmp_path / "whole", (pose_net.place,))
    assert made.items() < files(config).items()


@pytest.mark.parametrize("maps", ["mean", "joints"])
def test_maps_that_stand_in_for_the_nets_train_a_model_without_one(
    maps: str, stores: dict[str, Path], tmp_path: Path
) -> None:
    config = smallest(tmp_path / "storage", {"model.maps": maps})
    left = train(config, "final", stores["reid"], tmp_path / "final")
    assert not any(name.startswith("pose_net.") for name in left.weights)
    own, mean = (left.metrics[f"eval/people/{name}"] for name in ("pck", "mean_map/pck"))
    assert own == mean if maps == "mean" else own > mean
    assert "eval/mAP" in left.metrics
    trained = load_model(left.place, config, CPU).model
    with pytest.raises(ValueError, match=f"model.maps: {maps} needs maps made from a dataset's joints"):
        trained(torch.zeros(1, 3, 32, 16))


@pytest.fixture
def jointless(tmp_path: Path) -> Path:
    """A dataset that does not say where anybody's joints are."""
    source = tmp_path / "source"
    source.mkdir()
    rows = [("train", pid, cam) for pid in (1, 2) for cam in (1, 2)] + [("query", 3, 1), ("gallery", 3, 2)]
    labels = ["path,split,pid,camid"]
    for number, (split, pid, camid) in enumerate(rows):
        Image.new("RGB", (16, 32), (40 * number, 100, 200)).save(source / f"{number}.png")
        labels.append(f"{number}.png,{split},{pid},{camid}")
    (source / "labels.csv").write_text("\n".join(labels))
    return prepare("folder", source, tmp_path / "store", height=32, width=16).path


@pytest.mark.parametrize("maps", ["mean", "joints"])
def test_maps_of_joints_that_nobody_knows_are_an_error(maps: str, jointless: Path, tmp_path: Path) -> None:
    config = smallest(tmp_path / "storage", {"model.maps": maps})
    with pytest.raises(DataError, match="folder has no joints of its people: name a file of them as `keypoints`"):
        train(config, "final", jointless, tmp_path / "final")


def test_known_maps_depend_on_all_of_the_net_but_the_last_parse_block(stores: dict[str, Path], tmp_path: Path) -> None:
    config, dataset = smallest(tmp_path), open_dataset(stores["reid"])
    model = STAGES["final"].build(config, Labels.of(dataset), pretrained=False)
    assert isinstance(model, FGSAM)

    def key() -> str:
        known = known_maps(model, config, frozen_pose_net(config), dataset, {})
        assert known is not None
        return known.key

    before = key()
    for name, tensor in model.pose_net.state_dict(prefix="pose_net.").items():
        kept = tensor.clone()
        tensor.view(-1)[0] += 1
        assert (key() == before) == name.startswith(PARSE), name
        tensor.copy_(kept)
    assert key() == before


@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({}, True),
        ({"model.pose": False}, False),
        ({"model.maps": "mean"}, False),
        ({"phases.pose.stage": "baseline"}, False),
    ],
)
def test_a_pose_net_is_frozen_where_a_phase_of_its_own_has_trained_it(
    changes: dict[str, object], frozen: bool, tmp_path: Path
) -> None:
    rates = STAGES["final"].rates(smallest(tmp_path, changes))
    assert rates == ({"pose_net": 0.0, "pose_net.stages.1.parse": 1.0} if frozen else {})
