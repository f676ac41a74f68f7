"""How a model is adapted to an image size: which arguments, which changes, in which order."""

from types import SimpleNamespace

import pytest
import timm
from torch import nn

from proxy_attention.errors import ConfigError
from proxy_attention.models.input_size import ANY, FAMILIES, family_of


def adaptations(name, size, *, pretrained=False):
    return list(family_of(name)(name, size, pretrained))


def only(name, size, *, pretrained=False):
    (adaptation,) = adaptations(name, size, pretrained=pretrained)
    return adaptation


def test_a_model_has_the_row_of_the_timm_module_that_defines_it():
    assert family_of("wide_resnet50_2") is FAMILIES["resnet"]
    assert family_of("mobilenetv2_100") is FAMILIES["efficientnet"]
    assert family_of("deit_tiny_patch16_224") is ANY
    assert family_of("convnext_atto") is ANY


def test_an_unknown_model_is_answered_with_one_that_is_near():
    with pytest.raises(
        ConfigError, match=r"model must be one of \d+ known names; got 'resnet81'; did you mean .*resnet18"
    ):
        family_of("resnet81")


@pytest.mark.parametrize(
    ("size", "pretrained", "stride", "note"),
    [
        (224, False, 32, "output stride 32"),
        (112, False, 32, "output stride 32"),  # 3.5 positions, rounded up
        (64, False, 16, "output stride 16"),
        (64, True, 16, "output stride 16"),
        (32, True, 8, "output stride 8"),
        (32, False, 32, "small-image stem, output stride 8"),
        (16, False, 16, "small-image stem, output stride 4"),
        (16, True, 16, "small-image stem, output stride 4"),
    ],
)
def test_a_resnet_keeps_its_stem_as_long_as_strides_will_do(size, pretrained, stride, note):
    found = only("resnet18", size, pretrained=pretrained)

    assert (found.arguments, found.note) == ({"output_stride": stride}, note)


@pytest.mark.parametrize(("pretrained", "kernel"), [(False, (3, 3)), (True, (7, 7))])
def test_the_small_stem_has_no_stride_and_no_pool_and_keeps_a_trained_kernel(pretrained, kernel):
    module = timm.create_model("resnet18")

    only("resnet18", 16, pretrained=pretrained).adapt(module)

    assert (module.conv1.stride, module.conv1.kernel_size) == ((1, 1), kernel)
    assert isinstance(module.maxpool, nn.Identity)


def test_a_deep_stem_keeps_its_convolutions_and_loses_its_stride():
    module = timm.create_model("test_resnet")

    only("test_resnet", 16).adapt(module)

    assert module.conv1[0].stride == (1, 1)
    assert isinstance(module.maxpool, nn.Identity)


@pytest.mark.parametrize(
    ("size", "stride", "stem", "note"),
    [
        (224, 32, (2, 2), "output stride 32"),
        (32, 8, (2, 2), "output stride 8"),
        (16, 8, (1, 1), "stem stride 1, output stride 4"),
    ],
)
def test_an_efficientnet_changes_strides_and_at_last_its_stem(size, stride, stem, note):
    found, module = only("efficientnet_b0", size), SimpleNamespace(conv_stem=SimpleNamespace(stride=(2, 2)))

    found.adapt(module)

    assert (found.arguments, found.note) == ({"output_stride": stride}, note)
    assert module.conv_stem.stride == stem


@pytest.mark.parametrize(("size", "pools"), [(224, 5), (128, 5), (127, 4), (64, 4), (32, 3), (16, 2)])
def test_a_vgg_loses_its_last_pools(size, pools):
    layers = [nn.Conv2d(1, 1, 1), nn.MaxPool2d(2)] * 5
    module, found = SimpleNamespace(features=nn.Sequential(*layers)), only("vgg11", size)

    found.adapt(module)

    kept = [isinstance(layer, nn.MaxPool2d) for layer in module.features[1::2]]
    assert kept == [True] * pools + [False] * (5 - pools)
    assert found.note == f"{pools} of 5 pools, output stride {2**pools}"


@pytest.mark.parametrize(("size", "patch"), [(224, 16), (64, 16), (48, 12), (32, 8), (36, 9), (16, 4)])
def test_a_transformer_has_the_largest_patch_that_leaves_four_positions(size, patch):
    assert only("vit_tiny_patch16_224", size).arguments == {"img_size": size, "patch_size": patch}


@pytest.mark.parametrize("size", [37, 15])
def test_a_size_that_no_patch_fits_is_refused(size):
    with pytest.raises(ConfigError, match=f"image_size must be a multiple of a patch of 4 to 16 pixels; got {size}"):
        only("vit_tiny_patch16_224", size)


def test_any_other_model_is_tried_with_an_image_size_then_patches_then_strides_then_as_it_is():
    tried = [found.arguments for found in adaptations("convnext_atto", 64)]

    assert tried == [
        {"img_size": 64},
        {"img_size": 64, "patch_size": 16},
        {"output_stride": 16},
        {"output_stride": 8},
        {},
    ]


def test_a_model_whose_name_tells_its_patch_is_tried_with_a_finer_one_first():
    tried = [found.arguments for found in adaptations("deit_tiny_patch16_224", 32)]

    assert tried[:2] == [{"img_size": 32, "patch_size": 8}, {"img_size": 32}]
