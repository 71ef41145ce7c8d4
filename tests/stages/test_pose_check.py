import json
import multiprocessing
import re
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reid.config import JOINTS, RunConfig, load_config
from reid.data import Dataset, PoseBatches, ReIDBatches, open_dataset, prepare
from reid.evaluation import Evaluation
from reid.evaluation.pose import judge_joints
from reid.losses import pose_targets
from reid.models import FGSAM, Output, PoseMaps
from reid.stages.pose_check import check_pose

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


class Knowing(nn.Module):
    """Recognises the images of splits, and sees in them the joints of the subject, moved by some pixels."""

    def __init__(self, *splits: PoseBatches | ReIDBatches, moved: tuple[float, float] = (0, 0)) -> None:
        super().__init__()
        self.images_NCHW = torch.cat([batches.inference(range(len(batches))) for batches in splits])
        self.maps = torch.cat([self.maps_of(batches, moved) for batches in splits])

    def maps_of(self, batches: PoseBatches | ReIDBatches, moved: tuple[float, float]) -> Tensor:
        subject_N1J3 = batches.keypoints(range(len(batches)))[:, :1] + torch.tensor([*moved, 0])
        return pose_targets(subject_N1J3, *batches.map_size).channels()

    def forward(self, images_BCHW: Tensor) -> Output:
        rows = [int((self.images_NCHW - image).abs().sum(dim=(1, 2, 3)).argmin()) for image in images_BCHW]
        maps = PoseMaps.of(self.maps[rows])
        nothing = PoseMaps.of(torch.zeros_like(self.maps[rows]))
        return Output(pose=(nothing, maps))


@pytest.fixture(scope="module")
def tall(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """Scenes, crops of them and whole, large enough to measure by; person images, with joints and without."""
    source, folder = stores["pose"].parent / "coco", tmp_path_factory.mktemp("tall")
    scenes = {name: prepare(name, source, folder / name, height=256, width=128) for name in ("coco", "coco_whole")}
    manifest = (ROOT / "datasets" / "embedded.yaml").read_text()
    (folder / "jointless.yaml").write_text(re.sub("keypoints: .*", "", manifest))
    jointless = prepare(f"{folder}/jointless.yaml", stores["reid"].parent / "market1501", folder / "jointless")
    return scenes | {"people": open_dataset(stores["reid"]), "jointless": jointless}


@pytest.fixture
def tall_config(storage: Path) -> RunConfig:
    return load_config(
        preset="smoke",
        overrides=["data.height=256", "data.width=128", "scaling.num_workers=0", "evaluation.batch_size=5"],
    )


def check(model: nn.Module, dataset: Dataset, config: RunConfig, **beside: Dataset) -> Evaluation:
    return check_pose(model, dataset, config, CPU, torch.float32, beside=beside)


def pck_of(maps_BJhw: Tensor, keypoints_BMJ3: Tensor, prefix: str) -> dict[str, float]:
    """The metrics of maps that are judged all at once."""
    judged = judge_joints(PoseMaps.of(maps_BJhw).confidence_BJhw, keypoints_BMJ3)
    metrics = {}
    for number, joint in enumerate(JOINTS):
        correct, counted = (field[:, number].sum().item() for field in (judged.correct_BJ, judged.counted_BJ))
        if counted:
            metrics[f"{prefix}/pck/{joint}"] = correct / counted
    return metrics | {f"{prefix}/pck": sum(metrics.values()) / len(metrics)}


@pytest.mark.parametrize("name", ["coco", "coco_whole"])
def test_who_knows_the_joints_finds_them(name: str, tall: dict[str, Dataset], tall_config: RunConfig) -> None:
    batches = PoseBatches(tall[name], "val", tall_config.data, device="cpu")
    right = check(Knowing(batches), tall[name], tall_config).metrics
    wrong = check(Knowing(batches, moved=(0, 100)), tall[name], tall_config).metrics
    assert right["eval/pck"] > 0.95
    assert wrong["eval/pck"] < 0.3


def test_the_split_is_judged_as_a_whole_whatever_the_batches(tall: dict[str, Dataset], tall_config: RunConfig) -> None:
    batches = PoseBatches(tall["coco"], "val", tall_config.data, device="cpu")
    assert len(batches) % 5 != 0
    knowing = Knowing(batches, moved=(9, 8))
    keypoints_BMJ3 = batches.validation(range(len(batches))).keypoints_BMJ3
    metrics = check(knowing, tall["coco"], tall_config).metrics
    expected = pck_of(knowing.maps, keypoints_BMJ3, "eval")
    train = PoseBatches(tall["coco"], "train", tall_config.data, device="cpu")
    mean_1Jhw = pose_targets(train.keypoints(range(len(train))), *train.map_size).channels().mean(dim=0, keepdim=True)
    rivals = {
        "eval/mean_map": mean_1Jhw.expand(len(batches), -1, -1, -1),
        "eval/true_joints": pose_targets(keypoints_BMJ3, *batches.map_size).channels(),
    }
    reached = {f"{name}/pck": pck_of(maps, keypoints_BMJ3, name)[f"{name}/pck"] for name, maps in rivals.items()}
    assert metrics == pytest.approx(expected | reached)
    assert 0.05 < metrics["eval/pck"] < 0.95, "some are right and some are wrong"


def test_person_images_are_checked_too_where_their_joints_are_known(
    tall: dict[str, Dataset], tall_config: RunConfig
) -> None:
    scenes = PoseBatches(tall["coco"], "val", tall_config.data, device="cpu")
    people = ReIDBatches(tall["people"], "gallery", tall_config.data, device="cpu")
    knowing = Knowing(scenes, people, moved=(9, 8))
    alone = check(knowing, tall["coco"], tall_config).metrics
    metrics = check(knowing, tall["coco"], tall_config, reid=tall["people"]).metrics
    of_people = pck_of(knowing.maps[len(scenes) :], people.keypoints(range(len(people))), "eval/people")
    mean, true = (metrics.pop(f"eval/people/{rival}/pck") for rival in ("mean_map", "true_joints"))
    assert metrics == pytest.approx(alone | of_people)
    assert 0 < mean < true <= 1
    assert check(knowing, tall["coco"], tall_config, reid=tall["jointless"]).metrics == alone


def test_the_picture_is_a_png_of_several_people(tall: dict[str, Dataset], tall_config: RunConfig) -> None:
    batches = PoseBatches(tall["coco"], "val", tall_config.data, device="cpu")
    pictures = check(Knowing(batches), tall["coco"], tall_config).pictures
    assert list(pictures) == ["pose_maps.png"]
    with Image.open(BytesIO(pictures["pose_maps.png"])) as image:
        assert image.format == "PNG"
        assert image.width > 8 * 96
        assert image.height > 4 * 192


def test_nobody_to_measure_by_is_no_metric(stores: dict[str, Path], config: RunConfig, tmp_path: Path) -> None:
    copy = tmp_path / "coco"
    shutil.copytree(stores["pose"].parent / "coco", copy)
    for file in (copy / "annotations").iterdir():
        content = json.loads(file.read_text())
        names = content["categories"][0]["keypoints"]
        for annotation in content["annotations"]:
            for hip in (names.index("left_hip"), names.index("right_hip")):
                annotation["keypoints"][3 * hip : 3 * hip + 3] = [0, 0, 0]
        file.write_text(json.dumps(content))
    dataset = prepare("coco", copy, tmp_path / "store", height=32, width=16)
    model = FGSAM(config.model, stage="pose", num_identities=0, attributes={}).eval()
    evaluation = check(model, dataset, config)
    assert evaluation.metrics == {}
    assert list(evaluation.pictures) == ["pose_maps.png"]


def test_two_ranks_find_what_one_finds(
    tall: dict[str, Dataset], tall_config: RunConfig, tmp_path: Path, on_two_ranks: Callable[..., None]
) -> None:
    batches = PoseBatches(tall["coco"], "val", tall_config.data, device="cpu")
    knowing = Knowing(batches, moved=(9, 8))
    forking = multiprocessing.get_context("fork")
    found = forking.SimpleQueue()

    def as_rank(rank: int) -> None:
        evaluation = check(knowing, tall["coco"], tall_config)
        found.put((rank, evaluation.metrics, list(evaluation.pictures)))

    on_two_ranks(as_rank)
    alone = check(knowing, tall["coco"], tall_config).metrics
    assert sorted(found.get() for _ in range(2)) == [(0, alone, ["pose_maps.png"]), (1, alone, [])]
