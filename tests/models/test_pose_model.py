"""Networks as a whole: shapes, gradients, sizes, official names."""

from __future__ import annotations

import pytest
import torch

from models.build import build_model, cost_of
from models.pose_model import MODEL_NAMES, PoseModelConfig, parse_size


@pytest.mark.parametrize(
    ("name", "size", "millions", "gflops"),
    [
        ("resnet50", (192, 256), 34.0, None),  # its 8.9 count transposed convolutions four times
        ("resnet101", (192, 256), 53.0, None),
        ("resnet152", (288, 384), 68.6, None),
        ("hrnet_w32", (192, 256), 28.5, 7.1),
        ("hrnet_w48", (288, 384), 63.6, 32.9),
    ],
)
def test_parameters_and_flops_are_the_published_ones(
    name: str, size: tuple[int, int], millions: float, gflops: float | None
) -> None:
    cost = cost_of(PoseModelConfig(name=name, input_size_wh=size))
    assert round(cost.parameters / 1e6, 1) == millions
    if gflops is not None:
        assert cost.gflops * 1e9 / 2**30 == pytest.approx(gflops, abs=0.1)  # the papers' unit
        kcam = cost_of(PoseModelConfig(name=f"kcam_{name}", input_size_wh=size))
        assert cost.gflops < kcam.gflops < 1.4 * cost.gflops


@pytest.mark.parametrize(
    "name",
    [
        "kcam_resnet18",
        "resnet34",
        "kcam_hrnet_w18",
        "hrnet_w18",
        "kcam_resnet50",
        "mobilenet_v2",
        "kcam_mobilenet_v2",
    ],
)
@pytest.mark.parametrize(("size", "keypoints"), [((64, 96), 17), ((96, 64), 5)])
def test_shapes(name: str, size: tuple[int, int], keypoints: int) -> None:
    model = build_model(name, num_keypoints=keypoints, input_size_wh=size, deconv_channels=32).eval()
    output = model(torch.randn(2, 3, size[1], size[0]))
    shape = (2, keypoints, size[1] // 4, size[0] // 4)
    assert output.heatmaps.shape == shape
    if name.startswith("kcam_"):
        assert output.coarse_heatmaps.shape == output.areas.shape == output.attention.shape == shape
    else:
        assert output.coarse_heatmaps is None and output.areas is None and output.attention is None


@pytest.mark.parametrize("name", ["kcam_resnet18", "kcam_hrnet_w18", "resnet50", "kcam_mobilenet_v2"])
@pytest.mark.parametrize("normalization", ["sum", "softmax"])
def test_every_parameter_learns(name: str, normalization: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, area_normalization=normalization, deconv_channels=32)
    output = model(torch.randn(2, 3, 64, 64))
    (output.heatmaps - 1).square().mean().backward()
    still = [
        key for key, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum().isfinite()
    ]
    assert still == []
    assert [key for key, value in model.named_parameters() if value.grad is not None and not value.grad.any()] == []


@pytest.mark.parametrize("name", ["kcam_resnet18", "kcam_hrnet_w18", "kcam_mobilenet_v2"])
def test_no_nan_in_bfloat16(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, deconv_channels=64).eval()
    images = torch.randn(2, 3, 96, 64) * 3
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(images)
    pure = model.bfloat16()(images.bfloat16())
    for output in (mixed, pure):
        for value in output:
            assert value is None or torch.isfinite(value).all()


# A few names out of each part of the official files, written down from them, with the shapes they have there.
OFFICIAL = {
    "resnet50": {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer3.5.bn3.running_var": (1024,),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
        "deconv_layers.0.weight": (2048, 256, 4, 4),
        "deconv_layers.7.running_mean": (256,),
        "final_layer.bias": (17,),
    },
    "hrnet_w32": {
        "conv2.weight": (64, 64, 3, 3),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.3.conv3.weight": (256, 64, 1, 1),
        "transition1.0.0.weight": (32, 256, 3, 3),
        "transition1.1.0.0.weight": (64, 256, 3, 3),
        "transition3.3.0.1.running_mean": (256,),
        "stage2.0.branches.1.3.conv2.weight": (64, 64, 3, 3),
        "stage2.0.fuse_layers.0.1.0.weight": (32, 64, 1, 1),
        "stage3.3.branches.2.3.conv2.weight": (128, 128, 3, 3),
        "stage3.3.fuse_layers.2.0.0.0.weight": (32, 32, 3, 3),
        "stage3.3.fuse_layers.2.0.1.0.weight": (128, 32, 3, 3),
        "stage4.2.fuse_layers.0.3.0.weight": (32, 256, 1, 1),
        "stage4.2.fuse_layers.0.3.1.running_var": (32,),
        "final_layer.weight": (17, 32, 1, 1),
    },
}
OFFICIAL_LENGTHS = {"resnet50": 338, "hrnet_w32": 1754}


@pytest.mark.parametrize("name", list(OFFICIAL))
def test_names_are_the_official_ones(name: str) -> None:
    with torch.device("meta"):
        state = build_model(name).state_dict()
        with_head = build_model(f"kcam_{name}").state_dict()
    assert {key: tuple(state[key].shape) for key in OFFICIAL[name]} == OFFICIAL[name]
    assert len(state) == OFFICIAL_LENGTHS[name]
    assert set(state) <= set(with_head)
    assert all(key.startswith("kcam") for key in set(with_head) - set(state))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "kcam_resnet51"}, "kcam_resnet50"),
        ({"name": "resnet50", "input_size_wh": (190, 256)}, "multiples of 32"),
        ({"name": "resnet50", "num_keypoints": 0}, "num_keypoints"),
        ({"name": "resnet50", "fusion": "sum"}, "concat, add or none"),
    ],
)
def test_an_invalid_configuration_names_the_valid_values(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoseModelConfig(**fields)  # type: ignore[arg-type]


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'fusion'"):
        PoseModelConfig.from_dict({"name": "resnet50", "fussion": "add"})


def test_sizes_are_written_height_first() -> None:
    assert parse_size("256x192") == (192, 256)
    with pytest.raises(ValueError, match="256x192"):
        parse_size("256")


def test_every_name_builds() -> None:
    with torch.device("meta"):
        for name in MODEL_NAMES:
            assert build_model(name).config.name == name
