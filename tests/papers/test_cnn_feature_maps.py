"""Looking into networks: that nothing is changed by it, and what is found agrees with brute force and known values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from networks import initialized, pretrained_looking, state
from tensors import normal, seeded
from torch import Tensor, nn

from labkit.papers.cnn_feature_maps import (
    FeatureMaps,
    ReceptiveField,
    ablated,
    crops,
    extend_field,
    randomized,
    receptive_field,
    selectivity,
    top_activations,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def images(count: int = 2, colours: int = 3, side: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(count, colours, side, side, generator=seeded(seed))


def small_network() -> nn.Sequential:
    """Nested, with an in-place ReLU, batch normalization and dropout, half of it in training mode."""
    block = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), relu=nn.ReLU(inplace=True), pool=nn.MaxPool2d(2))
    )
    model = nn.Sequential(
        OrderedDict(block=block, conv2=nn.Conv2d(4, 5, 3), drop=nn.Dropout(), flat=nn.Flatten(), out=nn.Linear(125, 6))
    )
    initialized(model).train()
    block.norm.eval()
    block.conv.weight.requires_grad_(False)
    return model


class Calls(nn.Module):
    """A network whose forward pass is a function of itself and the images."""

    def __init__(self, forward: Callable, **layers: nn.Module) -> None:
        super().__init__()
        self.call = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


# ---- feature maps ---------------------------------------------------------------------------------------------------


def test_feature_maps_are_what_the_layers_give_out_by_their_names() -> None:
    model, x = small_network(), images()
    found = FeatureMaps(model, ["block.conv", "block.pool", "out"])(x)
    model.eval()
    assert list(found) == ["block.conv", "block.pool", "out"]
    torch.testing.assert_close(found["block.conv"], model.block.conv(x))
    torch.testing.assert_close(found["block.pool"], model.block(x))
    torch.testing.assert_close(found["out"], model(x))


def test_one_name_may_be_given_alone_and_a_block_has_maps_too() -> None:
    model = small_network()
    assert torch.equal(
        FeatureMaps(model, "block")(images())["block"], FeatureMaps(model, "block.pool")(images())["block.pool"]
    )


def test_a_map_is_kept_as_it_was_before_an_in_place_relu() -> None:
    maps = FeatureMaps(small_network(), ["block.norm", "block.relu"])(images())
    assert (maps["block.norm"] < 0).any()
    assert torch.equal(maps["block.relu"], maps["block.norm"].relu())


def test_maps_carry_no_gradient() -> None:
    assert not FeatureMaps(small_network(), "out")(images().requires_grad_())["out"].requires_grad


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("alexnet", {"features.0": (64, 15, 15), "features.10": (256, 3, 3), "classifier.6": (16,)}),
        ("vgg11", {"features.0": (64, 64, 64), "features.18": (512, 4, 4), "classifier.3": (16,)}),
        ("vgg16", {"features.28": (512, 4, 4), "features.30": (512, 2, 2)}),
        ("squeezenet1_1", {"features.0": (64, 31, 31), "features.3": (128, 15, 15), "classifier.1": (1000, 3, 3)}),
    ],
)
def test_networks_of_torchvision_have_maps_of_known_shapes(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    found = FeatureMaps(pretrained_looking(name), list(shapes))(images(side=64))
    assert {layer: tuple(maps.shape[1:]) for layer, maps in found.items()} == shapes


LOOKS = {
    "FeatureMaps": lambda model: FeatureMaps(model, ["block.conv", "out"])(images()),
    "top_activations": lambda model: top_activations(model, "conv2", images(), 2),
    "receptive_field": lambda model: receptive_field(model, "conv2", (3, 16, 16)),
    "randomized": lambda model: randomized(model, seeded()),
}


@pytest.mark.parametrize("look", LOOKS)
def test_looking_leaves_the_network_as_it_was(look: str) -> None:
    model = small_network()
    before = state(model)
    LOOKS[look](model)
    assert state(model) == before


def test_a_network_is_left_as_it_was_when_it_raises() -> None:
    def fail(self: nn.Module, x: Tensor) -> Tensor:
        self.inner(x)
        raise KeyError("inside the network")

    model = Calls(fail, inner=small_network())
    before = state(model)
    with pytest.raises(KeyError, match="inside the network"):
        FeatureMaps(model, "inner.conv2")(images())
    assert state(model) == before


def test_images_are_left_as_they_were_by_a_network_that_begins_in_place() -> None:
    x = images() - 0.5
    before = x.clone()
    FeatureMaps(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3)), "1")(x)
    assert torch.equal(x, before)


def test_a_name_that_does_not_exist_is_refused_with_near_ones() -> None:
    with pytest.raises(ValueError, match=r"no layer 'block\.conw': near names are 'block\.conv'"):
        FeatureMaps(small_network(), "block.conw")
    with pytest.raises(ValueError, match="near names are 'block', "):
        FeatureMaps(small_network(), "")


RELU, CONV = nn.ReLU(), nn.Conv2d(3, 3, 1)
AGAIN = Calls(lambda self, x: self.relu(self.conv(self.relu(x))), relu=RELU, conv=CONV)


@pytest.mark.parametrize(
    "look",
    [
        lambda: FeatureMaps(AGAIN, "relu")(images()),
        lambda: top_activations(AGAIN, "relu", images(), 1),
        lambda: receptive_field(AGAIN, "relu", (3, 16, 16)),
    ],
    ids=["FeatureMaps", "top_activations", "receptive_field"],
)
def test_a_layer_that_runs_twice_is_refused(look: Callable) -> None:
    with pytest.raises(ValueError, match="'relu' runs more than once"):
        look()


def test_a_layer_without_a_tensor_is_refused() -> None:
    pair = Calls(lambda self, x: (x, x))
    model = Calls(lambda self, x: self.pair(self.conv(x))[0], conv=CONV, pair=pair)
    with pytest.raises(ValueError, match="'pair' gives out a tuple"):
        FeatureMaps(model, "pair")(images())
    with pytest.raises(ValueError, match="'pair' gives out a tuple"):
        receptive_field(model, "pair", (3, 16, 16))
    with ablated(model, "pair", 0), pytest.raises(ValueError, match="a tuple"):
        model(images())


def test_a_layer_that_does_not_run_is_refused() -> None:
    with pytest.raises(ValueError, match="'relu' does not run"):
        FeatureMaps(Calls(lambda self, x: self.conv(x), conv=CONV, relu=RELU), "relu")(images())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: (255 * x).byte(), "must be floats"),
        (lambda x: 255 * x, "not 0 to 255"),
        (lambda x: x.log(), "NaN or infinite"),
        (lambda x: x * torch.nan, "NaN or infinite"),
        (lambda x: x[:, :1], r"takes images of shape \(B, 3, H, W\), got \(2, 1, 16, 16\)"),
        (lambda x: x[0], r"\(B, C, H, W\), got \(3, 16, 16\)"),
    ],
)
def test_images_that_the_network_cannot_take_are_refused(change: Callable, message: str) -> None:
    x = images()
    x[0, 0, 0, 0] = 0
    with pytest.raises(ValueError, match=message):
        FeatureMaps(small_network(), "out")(change(x))


def test_the_first_convolution_to_run_need_not_be_the_first_in_the_network() -> None:
    model = Calls(lambda self, x: self.head(self.stem(x)), head=nn.Conv2d(7, 2, 1), stem=nn.Conv2d(3, 7, 1))
    assert FeatureMaps(model, "head")(images())["head"].shape == (2, 2, 16, 16)


def test_what_fails_behind_a_layer_does_not_matter_but_what_fails_before_it_does() -> None:
    model = small_network()
    assert FeatureMaps(model, "block.conv")(images(side=20))["block.conv"].shape == (2, 4, 18, 18)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        FeatureMaps(model, "out")(images(side=20))


def test_no_images_have_no_maps() -> None:
    assert FeatureMaps(small_network(), "conv2")(images(0))["conv2"].shape == (0, 5, 5, 5)


# ---- receptive fields -----------------------------------------------------------------------------------------------


def test_two_3x3_convolutions_see_5_pixels_and_a_pooling_doubles_the_jump() -> None:
    first = extend_field(1, 1, 0, kernel=3, padding=1)
    second = extend_field(*first, kernel=3, padding=1)
    assert (first, second) == ((3, 1, -1), (5, 1, -2))
    assert extend_field(*second, kernel=2, stride=2) == (6, 2, -2)


def conv(*arguments: int, **keywords: object) -> nn.Conv2d:
    return nn.Conv2d(*arguments, **keywords, bias=False)


STACKS = {
    "convolutions": [conv(1, 2, 3), conv(2, 2, 3)],
    "strides": [conv(1, 2, 5, stride=2), conv(2, 2, 3, stride=3)],
    "paddings": [conv(1, 2, 3, padding=1), conv(2, 2, 3, padding=2, stride=2)],
    "dilations": [conv(1, 2, 3, dilation=2), conv(2, 2, 2, dilation=3, padding=1)],
    "poolings": [conv(1, 2, 3, padding=1), nn.MaxPool2d(3, 2), conv(2, 2, 3, padding=1)],
    "a pooling with padding": [conv(1, 2, 2), nn.MaxPool2d(3, 2, padding=1), nn.AvgPool2d(2)],
    "a pooling with dilation": [conv(1, 2, 2), nn.MaxPool2d(2, 1, dilation=3)],
    "a pooling in ceil mode": [conv(1, 2, 2), nn.MaxPool2d(3, 2, ceil_mode=True), conv(2, 2, 2)],
    "an average of padded windows": [nn.AvgPool2d(3, 2, padding=1), conv(1, 2, 2)],
    "rectangles": [conv(1, 2, (1, 5), padding=(0, 2)), nn.MaxPool2d((3, 1), (2, 1)), conv(2, 2, (2, 3), stride=(1, 2))],
    "same padding": [conv(1, 2, 4, padding="same"), conv(2, 2, 3, padding="same", dilation=2)],
    "no padding": [conv(1, 2, 4, padding="valid")],
    "reflected padding": [conv(1, 2, 3, padding=1, padding_mode="reflect"), conv(2, 2, 3, stride=2)],
    "padding on one side": [nn.ZeroPad2d((2, 0, 1, 0)), conv(1, 2, 3, stride=2), nn.ZeroPad2d((1, 0)), conv(2, 2, 3)],
    "ReLU, norm, dropout": [conv(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Dropout(), conv(2, 2, 3)],
    "an adaptive pooling that changes nothing": [conv(1, 2, 3), nn.AdaptiveAvgPool2d(22), conv(2, 2, 3)],
}  # fmt: skip


def support(model: nn.Module, row: int, column: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the pixels that a place reacts to in any of 400 random images of 24 x 24."""
    x = torch.rand(400, 1, 24, 24, generator=seeded()).requires_grad_()
    for parameter in model.parameters():
        parameter.data.abs_()  # so that nothing cancels
    reacts = torch.autograd.grad(model.eval()(x)[:, :, row, column].sum(), x)[0].abs().amax((0, 1)) > 0
    rows, columns = reacts.any(1).nonzero().flatten(), reacts.any(0).nonzero().flatten()
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("stack", STACKS)
def test_a_receptive_field_is_where_the_gradient_is_not_zero(stack: str) -> None:
    model = initialized(nn.Sequential(*STACKS[stack]))
    field = receptive_field(model, str(len(model) - 1), (1, 24, 24))
    down, right = (side // 2 for side in model.eval()(images(1, 1, 24)).shape[-2:])
    assert field.box(down, right) == support(model, down, right)
    assert field.box(down - 1, right - 1) == support(model, down - 1, right - 1)


@pytest.mark.parametrize(
    ("name", "layer", "size", "jump", "start"),
    [
        ("alexnet", "features.0", 11, 4, -2),
        ("alexnet", "features.10", 163, 16, -66),
        ("alexnet", "features.12", 195, 32, -66),
        ("vgg16", "features.28", 196, 16, -90),
        ("squeezenet1_1", "features.3", 15, 4, -4),
        ("squeezenet1_1", "features.7", 63, 8, -24),
    ],
)
def test_receptive_fields_of_known_networks(name: str, layer: str, size: int, jump: int, start: int) -> None:
    expected = ReceptiveField((size, size), (jump, jump), (start, start))
    assert receptive_field(pretrained_looking(name), layer, (3, 96, 96)) == expected


def test_the_field_of_joined_branches_covers_all_of_them() -> None:
    narrow, wide = conv(1, 2, 1), conv(1, 2, 5, padding=(0, 2))
    model = Calls(
        lambda self, x: self.end(torch.cat([self.narrow(x)[:, :, 4:], self.wide(x)], 1)),
        narrow=narrow,
        wide=wide,
        end=RELU,
    )
    with pytest.raises(ValueError, match="cannot be followed through __getitem__"):
        receptive_field(model, "end", (1, 24, 24))
    model.call = lambda self, x: self.end(self.narrow(F.pad(x, (0, 0, -2, -2))) + self.wide(x))
    assert receptive_field(model, "end", (1, 24, 24)) == ReceptiveField((5, 5), (1, 1), (0, -2))


def test_a_skip_connection_keeps_the_larger_field() -> None:
    block = torchvision.models.resnet.BasicBlock(4, 4)
    assert receptive_field(nn.Sequential(block), "0", (4, 16, 16)) == ReceptiveField((5, 5), (1, 1), (-2, -2))


def test_branches_with_unequal_strides_are_refused() -> None:
    model = Calls(
        lambda self, x: self.end(self.one(x) + self.two(x)), one=conv(1, 1, 5, stride=2), two=nn.AvgPool2d(3), end=RELU
    )
    with pytest.raises(ValueError, match="unequal strides"):
        receptive_field(model, "end", (1, 9, 9))


@pytest.mark.parametrize(
    "tail", [[nn.Flatten(), nn.Linear(36, 2)], [nn.AdaptiveAvgPool2d(1)], [nn.AdaptiveMaxPool2d(2)]]
)
def test_behind_a_linear_layer_or_an_adaptive_pooling_the_whole_image_is_seen(tail: list[nn.Module]) -> None:
    model = nn.Sequential(conv(1, 1, 3), *tail, nn.ReLU())
    assert receptive_field(model, str(len(model) - 1), (1, 8, 8)).box(1, 1) == (0, 8, 0, 8)


def test_a_map_that_is_weighted_by_its_mean_sees_the_whole_image() -> None:
    squeeze = torchvision.ops.SqueezeExcitation(4, 2)  # scale * input: the smaller factor comes first
    assert receptive_field(nn.Sequential(nn.Conv2d(1, 4, 3), squeeze), "1", (1, 8, 8)).box(3, 3) == (0, 8, 0, 8)


def test_functions_called_with_keywords_or_giving_several_maps_are_followed() -> None:
    model = Calls(
        lambda self, x: self.end(F.conv2d(input=torch.chunk(x, 2, dim=1)[1], weight=self.conv.weight, stride=2)),
        conv=conv(1, 1, 5),
        end=RELU,
    )
    assert receptive_field(model, "end", (2, 24, 24)) == ReceptiveField((5, 5), (2, 2), (0, 0))
    model.call = lambda self, x: self.end(F.max_pool2d(self.conv(x), 3, 2, return_indices=True)[0])
    assert receptive_field(model, "end", (1, 24, 24)) == ReceptiveField((7, 7), (2, 2), (0, 0))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.transpose(2, 3),
        lambda x: x.flip(3),
        lambda x: x.view(1, 2, 2, 12, 12).transpose(1, 2).reshape(1, 4, 12, 12),
        lambda x: F.conv_transpose2d(x, torch.ones(4, 4, 3, 3), padding=1),
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.instance_norm(x),
    ],
    ids=["transpose", "flip", "channel shuffle", "transposed convolution", "upsampling", "instance norm"],
)
def test_functions_that_cannot_be_followed_are_refused_by_name(function: Callable) -> None:
    model = Calls(lambda self, x: self.end(function(x)), end=RELU)
    with pytest.raises(ValueError, match=r"cannot be followed through \w+: ask for a layer before it"):
        receptive_field(model, "end", (4, 12, 12))


def test_a_field_is_found_in_any_precision_and_for_images_too_large_for_the_rest_of_the_network() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert receptive_field(model.to(dtype), "0").size == (3, 3)


def test_a_crop_is_what_the_unit_sees_and_beyond_the_edge_it_is_filled() -> None:
    image = torch.arange(48.0).reshape(1, 6, 8)
    field = ReceptiveField(size=(3, 2), jump=(2, 3), start=(-1, -1))
    assert field.box(1, 1) == (1, 4, 2, 4)
    assert torch.equal(field.crop(image, 1, 1), image[:, 1:4, 2:4])
    assert field.crop(image, 0, 0, fill=-1).tolist() == [[[-1, -1], [-1, 0], [-1, 8]]]
    assert field.box(2, 3) == (3, 6, 8, 10)
    assert field.crop(image, 2, 3, fill=-1).tolist() == [[[-1, -1]] * 3]
    assert field.crop(image, 3, 2, fill=-1).tolist() == [[[45, 46], [-1, -1], [-1, -1]]]
    assert field.crop(image, 9, 9).tolist() == [[[0.5, 0.5]] * 3]


def test_crops_of_several_images_are_those_of_each_alone() -> None:
    x, field = images(3, side=8), ReceptiveField(size=(3, 2), jump=(2, 3), start=(-1, -1))
    rows, columns = torch.tensor([0, 1, 3]), torch.tensor([0, 2, 1])
    found = crops(field, x, rows, columns, fill=-1)
    assert found.shape == (3, 3, 3, 2)
    for image, row, column, crop in zip(x, (0, 1, 3), (0, 2, 1), found, strict=True):
        assert torch.equal(crop, field.crop(image, row, column, fill=-1))
    assert (crops(field, x, rows, columns)[0, :, 0] == 0.5).all()  # beyond the edge


def test_crops_need_one_place_for_each_image() -> None:
    with pytest.raises(ValueError, match="shorter"):
        crops(ReceptiveField(), images(3), torch.zeros(2).long(), torch.zeros(2).long())


def test_a_unit_gives_the_same_for_its_crop_as_for_the_whole_image() -> None:
    model, x = initialized(nn.Sequential(conv(3, 4, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), conv(4, 2, 2))), images(1)
    field = receptive_field(model, "3", (3, 16, 16))
    torch.testing.assert_close(model(field.crop(x[0], 1, 0)[None])[0, :, 0, 0], model(x)[0, :, 1, 0])


# ---- the images that a unit likes best ------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("layer", ["conv2", "out"])
def test_top_activations_are_those_of_a_brute_force_search(layer: str, batch: int) -> None:
    model, x = small_network(), images(12)
    found = top_activations(model, layer, x, 5, batch=batch)
    maps = FeatureMaps(model, layer)(x)[layer]
    maps = maps if maps.ndim == 4 else maps[..., None, None]
    for unit in range(maps.shape[1]):
        best = sorted(range(12), key=lambda image: -maps[image, unit].max().item())[:5]
        assert found.images[unit].tolist() == best
        at = maps[found.images[unit], unit, found.rows[unit], found.columns[unit]]
        torch.testing.assert_close(found.values[unit], maps[best, unit].amax((1, 2)))
        torch.testing.assert_close(at, found.values[unit])


def test_of_equal_activations_the_earlier_image_and_the_first_place_come_first() -> None:
    x = torch.zeros(5, 1, 4, 4)
    x[[1, 3], 0, 2] = 1.0
    for batch in (1, 2, 5):
        found = top_activations(nn.Sequential(nn.ReLU()), "0", x, 4, batch=batch)
        assert found.images.tolist() == [[1, 3, 0, 2]]
        assert found.rows.tolist() == [[2, 2, 0, 0]]
        assert found.columns.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("k", [0, 3])
def test_more_or_fewer_images_than_there_are_cannot_be_the_best(k: int) -> None:
    with pytest.raises(ValueError, match="k must lie between 1 and 2"):
        top_activations(small_network(), "out", images(2), k)


# ---- local or distributed? ------------------------------------------------------------------------------------------


def test_selectivity_is_1_for_one_class_only_0_for_all_alike_and_half_for_3_to_1() -> None:
    responses = torch.tensor([[2.0, 1.0, 3.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
    assert selectivity(responses, torch.tensor([4, 7, 9])).tolist() == [1.0, 0.0, 0.5, 0.0]


def test_selectivity_depends_neither_on_the_scale_of_a_unit_nor_on_how_many_images_a_class_has() -> None:
    responses, labels = normal(20, 5).abs(), torch.arange(20) % 4
    found = selectivity(responses, labels)
    torch.testing.assert_close(selectivity(1e-3 * responses, labels), found)
    again = labels == 1
    more = selectivity(torch.cat([responses, responses[again]]), torch.cat([labels, labels[again]]))
    torch.testing.assert_close(more, found)


def test_selectivity_refuses_negative_responses_and_a_single_class() -> None:
    with pytest.raises(ValueError, match="behind the ReLU"):
        selectivity(-torch.ones(2, 1), torch.arange(2))
    with pytest.raises(ValueError, match="at least two"):
        selectivity(torch.ones(2, 1), torch.zeros(2))


def test_ablated_units_are_0_while_it_lasts_even_if_something_fails() -> None:
    model, x = small_network().eval(), images()
    before, untouched = FeatureMaps(model, ["conv2", "out"])(x), state(model)
    with ablated(model, "conv2", [0, 3]):
        inside = FeatureMaps(model, ["conv2", "out"])(x)
    assert (inside["conv2"][:, [0, 3]] == 0).all()
    assert torch.equal(inside["conv2"][:, [1, 2, 4]], before["conv2"][:, [1, 2, 4]])
    assert not torch.allclose(inside["out"], before["out"])
    with pytest.raises(KeyError), ablated(model, "out", 1):
        raise KeyError
    assert state(model) == untouched
    assert torch.equal(model(x), before["out"])


def test_ablating_a_unit_or_a_layer_that_does_not_exist_is_refused() -> None:
    model = small_network().eval()
    with ablated(model, "conv2", 5), pytest.raises(ValueError, match="'conv2' has the units 0 to 4, got"):
        model(images())
    with pytest.raises(ValueError, match="no layer 'conv3'"), ablated(model, "conv3", 0):
        pass


# ---- the control ----------------------------------------------------------------------------------------------------


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.named_parameters() if tensor.ndim > 1}


def test_randomized_shuffles_the_weights_of_each_layer_and_leaves_the_original_alone() -> None:
    model = small_network()
    before = state(model)
    shuffled = randomized(model, seeded(1))
    assert state(model) == before
    for name, weight in weights(shuffled).items():
        assert not torch.equal(weight, weights(model)[name])
        assert torch.equal(weight.flatten().sort().values, weights(model)[name].flatten().sort().values)
    assert state(randomized(model, seeded(1))) == state(shuffled)


def test_randomized_touches_the_layers_that_are_named_and_all_inside_a_named_block() -> None:
    model = nn.Sequential(
        OrderedDict(features=nn.Sequential(conv(1, 4, 3), nn.ReLU(), conv(4, 4, 3)), head=conv(4, 2, 3))
    )
    shuffled = randomized(model, seeded(), ["features"])
    same = {name: torch.equal(weight, weights(model)[name]) for name, weight in weights(shuffled).items()}
    assert same == {"features.0.weight": False, "features.2.weight": False, "head.weight": True}


def test_randomizing_what_has_no_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="a ReLU holds no convolution or linear layer"):
        randomized(small_network(), seeded(), ["block.relu"])
    with pytest.raises(ValueError, match="no layer 'conv'"):
        randomized(small_network(), seeded(), ["conv"])
