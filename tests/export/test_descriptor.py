from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import onnx
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from reid.data.transforms import normalise
from reid.export.descriptor import (
    CARD,
    ONNX,
    PT2,
    TOLERANCE,
    Card,
    Descriptor,
    ExportError,
    example_images,
    export_descriptor,
    load_onnx,
    load_pt2,
    require_agreement,
)
from reid.models import FGSAM

SIZE = (64, 32)  # the trunk's map is 2 × 1 and the pose maps 8 × 4: every filter reaches beyond the border
REFUSED = (RuntimeError, AssertionError, InvalidArgument)
CARD_OF_TEST = Card(
    height=64,
    width=32,
    dim=36,
    phase="final",
    dataset="embedded",
    layout="three_parts",
    checkpoint="somewhere",
    digest="ab",
    mAP=None,
)


def describer(model: FGSAM) -> Descriptor:
    return Descriptor(model, SIZE, stage=model.stage, settings=model.config.model_dump(mode="json"))


@pytest.fixture(scope="module", params=["baseline", "final"])
def descriptor(build: Callable[..., FGSAM], request: pytest.FixtureRequest) -> Descriptor:
    """With statistics of batch norm and a scale of the pose maps that a fresh model lacks."""
    model = build(request.param)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                generator = torch.Generator().manual_seed(len(name))
                module.running_mean.normal_(0, 0.1, generator=generator)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2, generator=generator)  # type: ignore[union-attr]
    return describer(model)


@pytest.mark.slow
def test_both_programs_describe_as_the_model_does(descriptor: Descriptor, tmp_path: Path) -> None:
    distances = export_descriptor(descriptor, CARD_OF_TEST, tmp_path)
    assert set(distances) == {PT2, ONNX}
    assert max(distances.values()) <= TOLERANCE
    assert {file.name for file in tmp_path.iterdir()} == {PT2, ONNX, CARD}
    assert Card.read(tmp_path) == CARD_OF_TEST
    (images,) = onnx.load(tmp_path / ONNX).graph.input
    assert [size.dim_param or size.dim_value for size in images.type.tensor_type.shape.dim] == ["batch", 3, *SIZE]
    images_BCHW = example_images(3, SIZE)
    with torch.no_grad():
        expected_BD = descriptor.model(normalise(images_BCHW.permute(0, 2, 3, 1), SIZE)).descriptor_BD
    for describe in (load_pt2(tmp_path / PT2), load_onnx(tmp_path / ONNX)):
        found_BD = describe(images_BCHW)
        assert not found_BD.requires_grad
        torch.testing.assert_close(found_BD, expected_BD, rtol=0, atol=1e-5)
        torch.testing.assert_close(found_BD.norm(dim=1), torch.ones(3))
        with pytest.raises(REFUSED):
            describe(images_BCHW[:, :, :32])
        with pytest.raises(REFUSED):
            describe(images_BCHW / 255)


def test_another_models_descriptors_do_not_pass(build: Callable[..., FGSAM]) -> None:
    descriptor, other = (describer(build("baseline", seed=seed)) for seed in (0, 1))
    assert require_agreement("here", descriptor, descriptor, SIZE) <= 1e-15
    with pytest.raises(ExportError, match=r"here does not describe images as the model does: cosine distance"):
        require_agreement("here", other, descriptor, SIZE)
    with pytest.raises(ExportError, match=r"here gives torch.float32 \(1, 511\) where the model gives .* \(1, 512\)"):
        require_agreement("here", lambda images: descriptor(images)[:, 1:], descriptor, SIZE)
    with pytest.raises(ExportError, match="cosine distance nan"):
        require_agreement("here", lambda images: descriptor(images) * float("nan"), descriptor, SIZE)


def test_a_model_without_a_program_is_refused(build: Callable[..., FGSAM], tmp_path: Path) -> None:
    class Unpredictable(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    model = build("baseline")
    model.trunk.append(Unpredictable())
    with pytest.raises(ExportError, match=r"the model cannot be exported \(.+\): use the checkpoint itself"):
        export_descriptor(describer(model), CARD_OF_TEST, tmp_path)
    assert not (tmp_path / CARD).exists()


def test_a_program_for_one_batch_size_alone_does_not_pass(build: Callable[..., FGSAM]) -> None:
    descriptor = describer(build("baseline"))

    def first_alone(images_BCHW: torch.Tensor) -> torch.Tensor:
        return descriptor(images_BCHW[:1]).expand(len(images_BCHW), -1)

    with pytest.raises(ExportError, match="does not describe images as the model does"):
        require_agreement("here", first_alone, descriptor, SIZE)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"height": 1}'])
def test_an_unfinished_export_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / CARD).write_text(text)
    with pytest.raises(ExportError, match=r"holds no finished export .*: export again"):
        Card.read(tmp_path)


def test_a_card_shows_no_password() -> None:
    card = replace(CARD_OF_TEST, checkpoint="s3://key:s3/cr et@bucket/final?secret_key=t0p&scheme=http")
    assert card.checkpoint == "s3://key:***@bucket/final?secret_key=***&scheme=http"
    assert "cr et" not in str(asdict(card)) + str(card.described())
