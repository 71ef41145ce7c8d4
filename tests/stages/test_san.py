"""SAN's stages on a real store: what they take over, what they learn from, and what they refuse."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from reid.config import ConfigError, RunConfig, load_config, with_settings
from reid.data import ReIDBatches, open_dataset, prepare
from reid.losses import OneRank
from reid.models import SAN
from reid.stages import STAGES, check_phases, load_describer, load_model, score_checkpoint, stage_of
from reid.stages.textures import check_textures
from reid.training import (
    CheckpointError,
    Labels,
    PhaseJob,
    PhaseState,
    Save,
    load_state,
    load_weights,
    make_optimizer,
    require_trainable,
    run_phase,
)

CPU = torch.device("cpu")
PAIRS = {"train": 24, "val": 8}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of images whose upper and lower half have a colour each, which are those of the texture's too; the upper
    half of a texture is what its image shows."""
    folder = tmp_path_factory.mktemp("pairs")
    source = folder / "source"
    rng = np.random.default_rng(0)
    for split, count in PAIRS.items():
        for kind in ("images", "textures", "seen"):
            (source / split / kind).mkdir(parents=True)
        for number in range(count):
            colours = rng.integers(0, 256, (2, 3), np.uint8)
            halves = colours[:, None, None].repeat(32, axis=1).reshape(64, 1, 3)
            Image.fromarray(halves.repeat(32, axis=1)).save(source / split / "images" / f"{number}.png")
            Image.fromarray(halves.repeat(64, axis=1)).save(source / split / "textures" / f"{number}.png")
            seen = np.zeros((64, 64), np.uint8)
            seen[:32] = 255
            Image.fromarray(seen).save(source / split / "seen" / f"{number}.png")
    return prepare("texture_pairs", source, folder / "store", height=64, width=32).path


def smallest(storage: Path, **settings: Any) -> RunConfig:
    config = load_config(
        preset="san_smoke", overrides=[f"storage={storage}", "scaling.num_workers=0", "precision=fp32"]
    )
    return with_settings(config, {"phases.texture_generator.epochs": 1, "phases.san.epochs": 1, **settings})


def train(
    config: RunConfig, phase: str, store: Path, place: Path, start_from: tuple[str, ...] = (), **job: Any
) -> dict[str, float]:
    """Metrics of the last epoch; its checkpoint is in `place`."""
    states: list[PhaseState] = []

    def report(state: PhaseState, save: Any) -> None:
        states.append(state)
        if state.epoch == config.phases[phase].epochs:
            place.mkdir(parents=True)
            save(place)

    stage = stage_of(config, phase)
    run_phase(
        PhaseJob(config=config, phase=phase, stage=stage, store=str(store), start_from=start_from, **job),
        device=CPU,
        evaluate=stage.evaluate,
        report=report,
    )
    return states[-1].history[-1].metrics


@pytest.fixture(scope="module")
def generator(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """The checkpoint of a generator that has learnt something, and what it measured."""
    folder = tmp_path_factory.mktemp("generator")
    config = smallest(folder, **{"phases.texture_generator.epochs": 40, "phases.texture_generator.batch_size": 8})
    return folder / "generator", train(config, "texture_generator", pairs, folder / "generator")


@pytest.fixture(scope="module")
def san(
    generator: tuple[Path, dict[str, float]], stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, float], RunConfig]:
    folder = tmp_path_factory.mktemp("san")
    config = smallest(folder / "storage")
    metrics = train(config, "san", stores["reid"], folder / "san", (str(generator[0]),))
    return folder / "san", metrics, config


def test_a_generator_is_judged_where_the_image_shows_and_where_not(generator: tuple[Path, dict[str, float]]) -> None:
    place, metrics = generator
    for whose in ("", "mean/", "grey/"):
        visible, hidden, both = (metrics[f"eval/textures/{whose}{where}"] for where in ("visible", "hidden", "all"))
        assert both == pytest.approx((visible + hidden) / 2)
    visible, mean = metrics["eval/textures/visible"], metrics["eval/textures/mean/visible"]
    assert metrics["eval/textures/below_mean"] == pytest.approx(1 - visible / mean)
    assert visible < 0.8 * mean, "it has learnt"
    assert (place / "pictures" / "textures.png").stat().st_size > 1000
    assert json.loads((place / "phase.json").read_text())["num_identities"] == 1


def test_errors_of_textures_are_those_of_a_loop(pairs: Path, generator: tuple[Path, dict[str, float]]) -> None:
    place, metrics = generator
    state = load_state(str(place))
    model = load_model(str(place), state.config, CPU).model
    assert isinstance(model, SAN)
    dataset = open_dataset(pairs)
    batches, train_ = (ReIDBatches(dataset, split, state.config.data, device=CPU) for split in ("val", "train"))
    everyone = np.arange(len(batches))
    true, seen = batches.textures(everyone), batches.split.seen(everyone)
    mean = train_.textures(np.arange(len(train_))).mean(dim=0)
    with torch.no_grad():
        found = model.reconstruct(batches.inference(everyone))
    visible = [
        (found[i, :, y, x] - true[i, :, y, x]).abs().mean().item()
        for i in everyone
        for y, x in seen[i].nonzero().tolist()
    ]
    assert metrics["eval/textures/visible"] == pytest.approx(np.mean(visible), rel=1e-4)
    assert metrics["eval/textures/mean/all"] == pytest.approx((mean - true).abs().mean().item(), rel=1e-4)
    assert metrics["eval/textures/grey/all"] == pytest.approx(true.abs().mean().item(), rel=1e-4)


def test_pseudo_textures_are_what_the_generator_says_of_each_training_image_once(
    generator: tuple[Path, dict[str, float]], stores: dict[str, Path], tmp_path: Path
) -> None:
    config = smallest(tmp_path / "storage")
    dataset = open_dataset(stores["reid"])
    stage = STAGES["san"]
    model = stage.build(config, Labels.of(dataset), pretrained=False)
    known = stage.known(model, config, {}, dataset, {"texture_generator": str(generator[0])})
    assert known is not None
    assert (known.kind, known.layout) == ("textures", None)
    batches = ReIDBatches(dataset, "train", config.data, device=CPU)
    writer = load_model(str(generator[0]), config, CPU).model
    assert isinstance(writer, SAN)
    indices = np.array([3, 0, 7])
    with torch.no_grad():
        expected = writer.reconstruct(batches.inference(indices))
        written = known.compute(batches, indices)
    assert written.dtype == torch.uint8
    assert written.shape == (3, 64, 64, 3)
    torch.testing.assert_close(written.permute(0, 3, 1, 2) / 127.5 - 1, expected, atol=1 / 127.5, rtol=0)


def test_san_learns_from_them_and_takes_no_weight_of_the_generator(
    generator: tuple[Path, dict[str, float]], san: tuple[Path, dict[str, float], RunConfig], stores: dict[str, Path]
) -> None:
    place, metrics, config = san
    made = list(Path(config.storage, "maps").rglob("*.arrow"))
    assert [file.name.partition("-")[0] for file in made] == ["train"], "query and gallery have none"
    assert {
        "train/identity",
        "train/triplet",
        "train/reconstruction",
        "train/map_triplet",
        "eval/mAP",
    } <= metrics.keys()
    assert 0 <= metrics["train/map_triplet/active"] <= 1
    assert metrics["train/total"] == pytest.approx(
        sum(metrics[f"train/{term}"] for term in ("identity", "triplet", "reconstruction", "map_triplet"))
    )
    dataset = open_dataset(stores["reid"])
    fresh = STAGES["san"].build(config, Labels.of(dataset), pretrained=False).state_dict()
    left = load_weights(str(place))
    before = load_weights(str(generator[0]))
    for name in ("trunk.conv1.weight", "decoder.texture.1.weight"):
        moved, away = ((left[name] - other[name]).abs().max() for other in (fresh, before))
        assert moved < 0.1 < away or moved < away, name


def test_the_same_model_with_and_without_its_decoder_describes_bit_by_bit_alike(
    san: tuple[Path, dict[str, float], RunConfig], stores: dict[str, Path]
) -> None:
    place, metrics, config = san
    whole = STAGES["san"].build(config, load_state(str(place)).labels, pretrained=False)
    whole.load_state_dict(load_weights(str(place)))
    used = load_describer(str(place), config, CPU).model
    assert not any(name.startswith("decoder.") for name in used.state_dict())
    images = ReIDBatches(open_dataset(stores["reid"]), "query", config.data, device=CPU).inference([0, 1, 2])
    with torch.no_grad():
        assert torch.equal(whole.eval()(images).descriptor_BD, used(images).descriptor_BD)
    scored = score_checkpoint(config, checkpoint=str(place), store=str(stores["reid"]), device=CPU)
    assert scored.metrics["eval/mAP"] == pytest.approx(metrics["eval/mAP"])
    assert "textures.png" not in scored.pictures
    assert (place / "pictures" / "textures.png").stat().st_size > 1000


def test_a_generator_of_another_run_can_be_named(
    generator: tuple[Path, dict[str, float]],
    san: tuple[Path, dict[str, float], RunConfig],
    stores: dict[str, Path],
    tmp_path: Path,
) -> None:
    named = smallest(tmp_path / "storage", **{"models.san.generator": str(generator[0])})
    named = named.model_copy(update={"phases": {"san": named.phases["san"]}})
    check_phases(named)
    metrics = train(named, "san", stores["reid"], tmp_path / "san")
    for name in ("train/reconstruction", "train/map_triplet", "eval/mAP"):
        assert metrics[name] == san[1][name]


def test_true_textures_are_learnt_from_where_the_dataset_has_them(
    stores: dict[str, Path], san: tuple[Path, dict[str, float], RunConfig], tmp_path: Path
) -> None:
    config = smallest(tmp_path / "storage", **{"models.san.textures": "own"})
    metrics = train(config, "san", stores["reid"], tmp_path / "san")
    assert not Path(config.storage, "maps").exists()
    assert metrics["train/reconstruction"] != san[1]["train/reconstruction"]
    dataset = open_dataset(stores["reid"])
    dataset._manifest = dataset._manifest.model_copy(update={"texture_side": 0})
    with pytest.raises(ValueError, match=r"models\.san\.textures: embedded has no textures of its people"):
        require_trainable(STAGES["san"], config, "san", dataset)


def test_without_reconstruction_nothing_is_generated(stores: dict[str, Path], tmp_path: Path) -> None:
    config = smallest(
        tmp_path / "storage", **{"models.san.reconstruction_weight": 0.0, "phases.texture_generator": None}
    )
    check_phases(config)
    metrics = train(config, "san", stores["reid"], tmp_path / "san")
    assert "train/reconstruction" not in metrics
    assert "train/map_triplet" in metrics


def test_the_decoder_can_be_slower_than_all_else(tmp_path: Path) -> None:
    config = smallest(tmp_path, **{"models.san.decoder_rate": 0.1})
    model = STAGES["san"].build(config, Labels(num_identities=3, attributes={}), pretrained=False)
    optimizer = make_optimizer(model, config.phases["san"], STAGES["san"].rates(config))
    assert sorted(group["multiple"] for group in optimizer.param_groups) == [0.1, 1.0]
    slow = next(group for group in optimizer.param_groups if group["multiple"] == 0.1)
    assert sum(p.numel() for p in slow["params"]) == sum(p.numel() for p in model.decoder.parameters())  # type: ignore[union-attr]


def overridden(**settings: Any) -> RunConfig:
    config = load_config(preset="san_smoke")
    order = settings.pop("order", None)
    config = config if order is None else config.model_copy(update={"phases": {n: config.phases[n] for n in order}})
    return with_settings(config, settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"models.san.last_stride": 2}, "models.san.last_stride = 2, data.height × data.width = 64 × 32"),
        (
            {"data.width": 64},
            "data.height × data.width = 64 × 64: the texture decoder needs last_stride=1 and an input",
        ),
        ({"data.height": 48, "data.width": 24}, "its width a multiple of 16"),
        ({"models.san.trunk": "vgg11"}, r"models\.san\.trunk: .*ResNet"),
        ({"models.san.trunk": "resnet5"}, r"models\.san\.trunk: invalid trunk 'resnet5'"),
        ({"models.san.weights": "/nowhere.pth"}, "models.san.weights"),
        ({"phases.san.images_per_identity": 2}, r"phases\.san\.images_per_identity: .* need 4"),
        ({"phases.san.images_per_identity": None}, r"phases\.san\.images_per_identity: .* need 4"),
        (
            {"phases.texture_generator": None},
            "models.san.textures: nothing generates them for phase san: add a phase of stage",
        ),
        (
            {"order": ("san_baseline", "san", "texture_generator")},
            "nothing generates them for phase san: add a phase of stage texture_generator before",
        ),
        ({"models.san.generator": "/nowhere"}, "models.san.generator: .*nowhere"),
    ],
)
def test_settings_that_cannot_fit_are_one_clear_error_before_anything_is_rendered(
    settings: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        check_phases(overridden(**settings))
    assert len(str(caught.value).splitlines()) == 2


def test_a_pickled_generator_is_never_loaded(tmp_path: Path) -> None:
    """As the authors released theirs: a pickled module."""
    released = tmp_path / "SAN-PG.pth.tar"
    torch.save(torch.nn.Linear(1, 1), released)
    with pytest.raises(ConfigError, match=r"models\.san\.generator: .*SAN-PG\.pth\.tar"):
        check_phases(overridden(**{"models.san.generator": str(released)}))
    config = overridden(**{"models.san.weights": str(released)})
    with pytest.raises(ValueError, match=r"SAN-PG\.pth\.tar"):
        STAGES["san"].build(config, Labels(num_identities=2, attributes={}), pretrained=True)


def test_a_checkpoint_of_another_stage_is_no_generator(tmp_path: Path) -> None:
    config = overridden()
    model = STAGES["san_baseline"].build(config, Labels(num_identities=2, attributes={}), pretrained=False)
    state = PhaseState(phase="san_baseline", config=config, num_identities=2, attributes={}, history=())
    Save.of(model, make_optimizer(model, config.phases["san_baseline"]), state, {})(tmp_path)
    with pytest.raises(ConfigError, match="is of stage san_baseline, not texture_generator"):
        check_phases(overridden(**{"models.san.generator": str(tmp_path)}))


def test_a_generator_describes_nobody(generator: tuple[Path, dict[str, float]]) -> None:
    with pytest.raises(CheckpointError, match="of stage texture_generator, which has no descriptor"):
        load_describer(str(generator[0]), load_state(str(generator[0])).config, CPU)


def test_the_baseline_is_identity_and_triplet_alone(stores: dict[str, Path], tmp_path: Path) -> None:
    config = smallest(tmp_path / "storage", **{"phases.san_baseline.epochs": 1})
    metrics = train(config, "san_baseline", stores["reid"], tmp_path / "baseline")
    terms = {name for name in metrics if name.startswith("train/")}
    assert terms == {f"train/{n}" for n in ("identity", "triplet", "total", "learning_rate", "images_per_second")}


def test_a_flipped_image_has_the_mirrored_texture(stores: dict[str, Path], tmp_path: Path) -> None:
    config = smallest(tmp_path, **{"data.augmentation": {"flip": 1.0, "pad": 0, "colour": 0.0}})
    batches = ReIDBatches(open_dataset(stores["reid"]), "train", config.data, device=CPU, textures=True)
    indices = np.arange(len(batches))
    batch = batches.training(indices, slice(0, len(indices)), seed=0, epoch=0, step=0)
    torch.testing.assert_close(batch.images_BCHW, batches.inference(indices).flip(3))
    torch.testing.assert_close(batch.textures_BCHW, batches.textures(indices).flip(3))
    assert not torch.equal(batch.textures_BCHW, batches.textures(indices))  # type: ignore[arg-type]


def test_what_is_recorded_alone_has_no_gradient(stores: dict[str, Path], tmp_path: Path) -> None:
    config = smallest(tmp_path)
    dataset = open_dataset(stores["reid"])
    batches = ReIDBatches(dataset, "train", config.data, device=CPU, textures=True)
    model = STAGES["san"].build(config, Labels.of(dataset), pretrained=False)
    order = np.argsort(batches.labels_N, kind="stable")
    batch = batches.training(order[:16], slice(0, 16), seed=0, epoch=0, step=0)
    terms = STAGES["san"].loss(model(batch.images_BCHW), batch, config, OneRank())
    assert [name for name, term in terms.items() if not term.requires_grad] == [
        "map_triplet/active",
        "map_triplet/positive_distance",
        "map_triplet/negative_distance",
    ]
    raw = replace(batch, textures_BCHW=None)
    with pytest.raises(AssertionError):
        STAGES["san"].loss(model(batch.images_BCHW), raw, config, OneRank())


def test_the_dataset_s_own_textures_are_asked_for_on_the_command_line() -> None:
    """A word that YAML takes for a truth value would not do."""
    config = load_config(preset="san_smoke", overrides=["models.san.textures=own"])
    assert config.models["san"].textures == "own"  # type: ignore[attr-defined]


def test_where_everyone_has_the_same_texture_nothing_is_compared_with_the_mean(
    pairs: Path, generator: tuple[Path, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = load_model(str(generator[0]), load_state(str(generator[0])).config, CPU)
    config = load_state(str(generator[0])).config
    monkeypatch.setattr(ReIDBatches, "textures", lambda self, indices: torch.zeros(len(indices), 3, 64, 64))
    scored = check_textures(trained.model, open_dataset(pairs), config, CPU, torch.float32, illustrated=False)
    assert scored.metrics["eval/textures/mean/all"] == 0
    assert "eval/textures/below_mean" not in scored.metrics
