"""Settings of the models, by family."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from reid.config.body import LAYOUTS, Layout
from reid.config.san import SANConfig
from reid.config.section import Section

DATASET_LAYOUT = "dataset"

UNION_TAGS = ("<named>", "<written out>")
"""How pydantic names the two ways to give a layout within the place of an error."""


def _way_to_give_layout(layout: Any) -> str:
    return UNION_TAGS[isinstance(layout, dict | Layout)]


class PoseNetConfig(Section):
    """The pose resolve net."""

    front_end: Literal["vgg", "pyramid"] = "vgg"
    """VGG-19's first ten layers, as in the paper, or a small feature pyramid, which learns sooner from scratch."""
    width: float = Field(1.0, gt=0, le=4)
    """Channels as a multiple of the paper's."""
    stages: int = Field(3, ge=1, le=6)
    """Two-stream stages behind the front end."""
    norm: Literal["auto", "batch", "none"] = "auto"
    """Batch normalisation after every convolution; `auto` = where there are no pre-trained weights, which know none."""
    parse_blocks: bool = True
    """Channel parse blocks after every stage (Table V)."""
    weights: str | None = None
    """A safetensors or torch file of an OpenPose COCO body model, for the whole net, or of a VGG-19, for its front end;
    `imagenet` for torchvision's VGG-19; none = from scratch."""

    @property
    def normalised(self) -> bool:
        """Whether its convolutions are batch-normalised."""
        return self.norm == "batch" or (self.norm == "auto" and self.weights is None)

    @model_validator(mode="after")
    def _weights_fit(self) -> "PoseNetConfig":
        if self.weights is not None and (self.front_end != "vgg" or self.norm == "batch"):
            what = "front_end: pyramid" if self.front_end != "vgg" else "norm: batch"
            raise ValueError(f"{what} has no pre-trained weights: set weights to none, or leave this out")
        return self


class ModelConfig(Section):
    """FGSAM."""

    trunk: str = "resnet50"
    """Any torchvision classification trunk by name."""
    weights: str | None = "imagenet"
    """`imagenet` for torchvision's default weights, a local weights file, or none = from scratch."""
    trunk_stages: int = Field(4, ge=1, le=4)
    """Stages of a ResNet that are kept: 4 is all, 3 ends with a finer map of fewer channels."""
    last_stride: Literal[1, 2] = 2
    """Stride of a ResNet's last stage."""
    pooling: Literal["average", "gem"] = "average"
    """How the baselines pool the trunk's map: its mean, or its generalised mean with a learnt exponent."""
    neck: Literal["none", "bnneck"] = "none"
    """Batch normalisation between the baselines' pooled vector and the identity classifier, and the descriptor."""
    pose: bool = True
    """Whether pose maps are fused in; without, every branch sees the trunk alone (Table IV)."""
    maps: Literal["net", "mean", "joints"] = "net"
    """Whose pose maps are fused: the pose resolve net's; for comparison, the mean of everyone's joints in the training
    split for every image, or what the dataset's own joints give, which a real camera does not know."""
    pose_net: PoseNetConfig = PoseNetConfig()
    sketch_dim: int = Field(8192, ge=16, le=65536)
    """Length of the compact bilinear sketch."""
    layout: Annotated[
        Annotated[str, Tag(UNION_TAGS[0])] | Annotated[Layout, Tag(UNION_TAGS[1])], Discriminator(_way_to_give_layout)
    ] = "six_parts"
    """A named branch layout, one written out, or `dataset`: the one that the dataset's manifest names."""
    batch_norm: Literal["local", "synchronised", "frozen"] = "local"
    """Statistics per worker, over all workers (GPU only), or not updated at all."""

    @field_validator("layout")
    @classmethod
    def _layout_exists(cls, layout: str | Layout) -> str | Layout:
        known = (DATASET_LAYOUT, *LAYOUTS)
        if isinstance(layout, str) and layout not in known:
            raise ValueError(f"invalid layout '{layout}', expected one of {', '.join(known)}, or parts written out")
        return layout

    def resolved_layout(self) -> Layout:
        """The branches.

        Raises:
            ValueError: `layout` is still `dataset`, which `load_config` replaces by the layout that the manifest names.
        """
        if self.layout == DATASET_LAYOUT:
            raise ValueError(f"model.layout: {DATASET_LAYOUT} is of no dataset here: name a layout, or use load_config")
        return LAYOUTS[self.layout] if isinstance(self.layout, str) else self.layout


MODELS: dict[str, type[Section]] = {"san": SANConfig}
"""Settings of the families beside FGSAM, whose own are `model`: they stand under `models.<family>`."""
