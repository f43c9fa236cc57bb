# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lesson 04 · What a CNN has learned
#
# | | |
# |---|---|
# | **For** | whoever has trained a convolutional network and would like to look inside |
# | **Afterwards you can** | look at filters and feature maps of any network, find what a unit detects and test that it does, draw an image that a unit likes, project an activation back to the pixels in three ways, and tell a picture that explains a decision from one that merely looks good |
# | **You need** | convolution, max pooling, the chain rule; a first idea of PyTorch's autograd |
# | **Time** | core: 120 minutes with the exercises; further: 60 minutes |
# | **Level** | intermediate |
# | **Paper** | M. D. Zeiler, R. Fergus, *Visualizing and Understanding Convolutional Networks*, ECCV 2014; J. Yosinski, J. Clune, A. Nguyen, T. Fuchs, H. Lipson, *Understanding Neural Networks Through Deep Visualization*, ICML Deep Learning Workshop 2015 |
# | **The review** | slides on both papers, in Korean, after a textbook of machine learning, whose equation numbers are given here in brackets |
#
# **Claims that you will test.** Some hold, some do not, some depend on how one measures. (The words are explained in their sections.)
#
# | claim | source | section |
# |---|---|---|
# | The first layer learns edges and blobs, whatever the data and the task | review | 1 |
# | A unit tells its pattern whatever its size, its direction, the light, the background | review | 2 |
# | After a few layers the representation is local; whoever loses the three most selective units loses the class | review; ours | 3 |
# # | Without regularization, ascent draws what photographs are not like; four regularizers mend that, and newer ones do more | Yosinski; ours | 4 |
# # | Deconvnet and guided backpropagation mark what counts for the decision; occlusion knows what it was asked for | ours | 5 |
# | The nine strongest images of a unit differ more than their projections | Zeiler & Fergus | 5 |
# | A picture made by guided backpropagation shows what the last layer has learned | after Adebayo and others, 2018 | 5 |
# | What the first layer learned serves another task; a deconvnet is backpropagation with another rule for the ReLU; a projection shows what a unit fires on; lower layers settle first; a pixel's contribution is its value times its gradient | ours; Zeiler & Fergus; Yosinski | Further |

# %% [markdown]
# New to these lessons? The learner's guide, `docs/learner.md` (*Learn alone* on the course's site), says how exercises, predictions, claims and profiles work.
#
# `profile` chooses the network that you look into.
# At `quick` you train it yourself, in seconds: digits on photographs.
# At `full` it is SqueezeNet, at `paper` AlexNet, both trained on the 1.2 million photographs of ImageNet.
# The configuration says what each profile takes; you can pass over it, as each value is explained where it is used.
# What SqueezeNet shows stands below five of the figures, and every claim says what was found with it.

# %% tags=["parameters"]
profile = "quick"  # "quick" (a network that you train), "full" (SqueezeNet) or "paper" (AlexNet)
seed = 0  # another seed: other initial weights, other scenes, other noise to start from

# %%
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

# %%
import labkit
import labkit.data
from labkit.data import backgrounds, digit_patterns, digit_scenes, face_patterns, pretrained, resnet20_weights
from labkit.lab.evaluate import accuracy, knn_accuracy, predict, roc_auc
from labkit.lab.figures import bars, beside, image_rows, in_numbers, panels
from labkit.lab.speed import channels_last
from labkit.lab.training import fit_drawn
from labkit.lab.widgets import image_choices
from labkit.papers import cnn_visualization as paper
from labkit.papers.cnn_occlusion import cell_means, correspondence, deletion, occlusion, share_on_half
from labkit.papers.cnn_pictures import edge_share, fine_detail, flat_share, likeness
from labkit.papers.cnn_pictures import nearest, outlines, rank_correlation, signed
from labkit.papers.cnn_visualization import Deconvnet, FeatureMaps, Regularizers
from labkit.papers.feature_visualization import Diverse, FrequencyPreconditioner, Jitter, OwnUnit, Readout
from labkit.papers.self_routing_capsules import resnet20_capsules

step_length = paper.step_length  # you will write it in Further
lab = labkit.start("04_cnn_visualization", profile=profile, seed=seed)


# %%
@dataclass(frozen=True)
class Config:
    network: str  # whose inside we look at: "digits" is the one that is trained here
    side: int  # pixels of a scene, and of the images that ascent draws
    layers: tuple[str, ...]  # hidden layers, behind their ReLU, from the first to the last
    hidden: str  # the convolution before the last of them, for ascent
    output: str  # the layer of the classes, one number for each
    places: str  # the same before its mean over places, where there are places; for the deconvnet
    nine: str  # the layer whose units' nine best images are shown
    scenes: int  # digits on photographs, drawn anew for each pass of a training
    epochs: tuple[int, int, int]  # passes: digit network, photograph network, half network
    positives: int  # patterns with which a detector is found, and again tested; each time as many others
    pool: int  # images among which each unit finds its nine best
    desired: float  # what a step of ascent should add to the activation
    classes: tuple[int, ...]  # output units whose image is drawn
    jitter: int  # pixels by which the image is moved, a tenth of the side or less
    cell: int  # pixels along a cell of the grid that occlusion covers, about a seventh of the side
    covered: tuple[int, int]  # images with one object, and pairs of two side by side, for occlusion
    steps: int = 64  # of gradient ascent, until a small network's pictures hardly change
    labels: int = 200  # images with a label of the other task: few, or nobody would need transfer
    lr: float = 1e8  # the largest eta of ascent, so large that it is no limit
    sizes: tuple[float, ...] = (0.35, 0.5, 0.65, 0.8, 0.95)  # shares of the scene's side that a pattern takes
    angles: tuple[int, ...] = (-180, -90, -45, -20, 0, 20, 45, 90)  # in degrees, counter-clockwise
    lights: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)  # factors of the brightness


# %%
squeezenet = ("features.1", "features.4", "features.7", "features.10", "features.12")
alexnet = ("features.1", "features.4", "features.7", "features.9", "features.11")
quick = Config(
    network="digits",
    side=28,
    layers=("relu1", "relu2", "relu3"),
    hidden="conv3",
    output="logits",
    places="logits",
    nine="relu3",
    scenes=2100,
    epochs=(10, 6, 7),
    positives=80,
    pool=1200,
    desired=1.0,
    classes=(0, 1, 2, 3),
    jitter=2,
    cell=4,
    covered=(60, 30),
)

# %%
full = Config(
    network="squeezenet1_0",
    side=128,
    layers=squeezenet,
    hidden="features.12.expand3x3",
    output="classifier.3",
    places="classifier.1",
    nine="features.7",
    scenes=4000,
    epochs=(30, 15, 12),
    positives=50,
    pool=1000,
    desired=5.0,
    classes=(404, 281, 30, 817),
    jitter=8,
    cell=16,
    covered=(18, 12),
)

# %%
at_paper = {"network": "alexnet", "layers": alexnet, "hidden": "features.10", "nine": "features.7"}
at_paper |= {"output": "classifier.6", "places": "classifier.6", "side": 224, "pool": 2000}
at_paper |= {"steps": 500, "jitter": 16, "cell": 28, "covered": (60, 30)}
config = lab.choose(quick=quick, full=full, paper=replace(full, **at_paper))

# %% [markdown]
# **Why look inside?** As long as nobody knows what a layer represents, nobody can say which layers to keep when few images have labels, or when the task changes (*transfer learning*).
# The review names three ways to look.
#
# ![Three ways to look into a convolutional network: the filters of its first layer as pictures, the feature maps that a layer gives out, and, by a red arrow from one unit back to the image, two pictures in pixel space.](figures/04_cnn_visualization/ways.svg)
#
# ## 1 · Filters
#
# **Intuition.** The first layer of a convolutional network works on pixels.
# So its weights *are* small pictures, and one can simply look at them.
# For deeper layers that is lost: their weights mix channels that have no color.
#
# **Mathematics.** A filter $w$ has $3 \times h \times h$ numbers: three colors, $h \times h$ pixels.
# It is laid on each place of the image, and with the patch that it covers it makes one number, the sum of all products and a bias $b$: $z = \langle w, \text{patch} \rangle + b$.
# Among patches of one norm, $z$ is largest for the one that *looks like* the filter.
#
# ### A network to look into
#
# Its task: name a handwritten digit of any color, size and place on a piece of a color photograph.
# Whoever solves that has something to be *invariant* to: size, direction, light and background, which this lesson will change one by one.
# The same architecture learns two tasks on the same scenes: **which digit** is it (the *digit network*), and **which photograph** is behind it (the *photograph network*)?

# %%
mnist, photographs = labkit.data.load("mnist", profile=profile), labkit.data.load("photos", profile=profile)
print(mnist.source, photographs.source, sep="\n")


@lru_cache(maxsize=12)  # all networks see the same scenes
def scenes(part, count, name):
    """Digits on photographs: images (count, 3, 28, 28), the digits, and which photograph is behind."""
    digits = mnist.train if part == "train" else mnist.test
    return digit_scenes(
        digits, photographs, side=28, part=part, count=count, sizes=(18, 28), generator=lab.generator(name)
    )


test_scenes = scenes("test", 1000, "test scenes")  # on other halves of the photographs than for training
lab.show(
    image_rows({"": test_scenes.images[:10]}, columns=[str(int(y)) for y in test_scenes.labels[:10]], size=0.9),
    alt="Ten test scenes with their labels below: handwritten digits in various colors, sizes and directions, on pieces of color photographs.",
)


# %%
def small_cnn(classes, name):
    """Three convolutions with ReLU and max pooling, for images of any size: (B, 3, H, W) -> (B, classes)."""
    with lab.seeded(name):
        net = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 16, 5, padding=2),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),  # 28 -> 14
                conv2=nn.Conv2d(16, 32, 3, padding=1),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),  # 14 -> 7
                conv3=nn.Conv2d(32, 64, 3, padding=1),
                relu3=nn.ReLU(),
                pool3=nn.AdaptiveMaxPool2d(1),  # 7 -> 1: is it anywhere?
                flatten=nn.Flatten(),
                logits=nn.Linear(64, classes),
            )
        )
    # faint, so that what was learned is seen and not the noise of the start
    nn.init.normal_(net.conv1.weight, std=0.05, generator=lab.generator(name))
    return net


# %%
def standard(images):
    """Pixels from [0, 1] to about [-2, 2], as these networks are trained."""
    return (images - 0.5) / 0.25


def train(model, draw, epochs, name, batch_size=64, after=None):
    """Train on the images and answers of draw(pass), and do something `after` each pass."""
    loss = lambda model, x, y, _: F.cross_entropy(model(x), y)  # noqa: E731
    options = {"lr": 5e-3, "weight_decay": 0.02, "after": after, "label": name, "generator": lab.generator(name)}
    fit_drawn(model, loss, draw, epochs=epochs, batch_size=batch_size, **options)
    return model.to(memory_format=torch.contiguous_format)  # faster for gradients with respect to images


# %%
def drawn(answer):
    """A function of the pass: new scenes each time, and the digits ("labels") or the photographs ("backgrounds")."""

    def draw(epoch):
        found = scenes("train", config.scenes, f"pass {epoch}")
        return standard(found.images), getattr(found, answer)

    return draw


# %%
history = []  # of the digit network: its filters before and after each pass, and what its layers say; see Further
test_x = standard(test_scenes.images)


def remember(net):
    maps = FeatureMaps(net, ("relu1", "relu2", "relu3"))(test_x[:300])
    history.append((net.conv1.weight.detach().clone(), [found.amax((2, 3)) for found in maps.values()]))


# %%
digit_net, photo_net = channels_last(small_cnn(10, "digits")), channels_last(small_cnn(6, "photographs"))
remember(digit_net)  # before the first pass
digit_net = train(digit_net, drawn("labels"), config.epochs[0], "digit network", after=remember)
photo_net = train(photo_net, drawn("backgrounds"), config.epochs[1], "photograph network")
lab.record("digit network/accuracy", accuracy(digit_net, test_x, test_scenes.labels), unit="share of 1,000 test scenes")
lab.record("photograph network/accuracy", accuracy(photo_net, test_x, test_scenes.backgrounds), unit="share")

# %% [markdown]
# From here on, `model` is the network under study: the digit network at `quick`, a network trained on ImageNet otherwise.
# `untrained` is its twin: the same weights, shuffled within each layer (biases stay).
# Whatever we see in `model` and see in `untrained` as well is not what was learned.
#
# Below, each filter is stretched from its own smallest to its own largest weight, since weights have no natural brightness.

# %%
if config.network == "digits":
    model, mean, std = digit_net, torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)
    class_names = [f"digit {d}" for d in range(10)]
else:
    imagenet = pretrained(config.network)
    print(imagenet.source)
    model, class_names = imagenet.model, [name.split(",")[0] for name in imagenet.categories]
    mean, std = imagenet.mean[:, None, None], imagenet.std[:, None, None]
if config.network == "squeezenet1_0":
    model.classifier[2] = nn.Identity()  # instead of the ReLU in which it ends: behind it no score could fall below 0
untrained = paper.randomized(model, lab.generator("untrained"))


def prepare(images):
    """Images in [0, 1] as `model` takes them."""
    return (images - mean) / std


# %%
tasks = ["digits", "photographs", "untrained"]
lab.predict("edges", "Which of the first layers will have the most filters like edges?", choices=tasks)

# %%
nets = {"digits": digit_net, "photographs": photo_net, "untrained": untrained}
if model is not digit_net:
    nets = {config.network: model} | nets
filters = lambda net: next(m for m in net.modules() if isinstance(m, nn.Conv2d)).weight.detach()  # noqa: E731
first = {name: filters(net) for name, net in nets.items()}
figure, axes = panels(1, len(nets), width=3, height=3.1)
for ax, (name, weight) in zip(axes, first.items(), strict=True):
    grid = paper.filter_grid(weight, columns=4 if len(weight) == 16 else 10)
    ax.imshow(grid.permute(1, 2, 0))
    ax.set_title(f"{name}: {len(weight)} of {weight.shape[2]} x {weight.shape[3]}", fontsize=11)
    ax.set_axis_off()
lab.show(
    figure,
    alt="The filters of the first layers as small color pictures, one panel for each network: "
    + ", ".join(nets)
    + ". Untrained filters are noise. In the digits panel most have a light and a dark side; in the photographs panel many have one tint.",
    headline="filters",
)
lab.at_full("filters")

# %% [markdown]
# "Edges and blobs" is easily said of any picture with some structure, so measure it.
# An **edge** is a Gabor function, a sine wave that fades out like a Gaussian bell; with a long wavelength only the bell remains, a **blob**.
# `edge_share` subtracts each filter's mean color, and returns the share of the squared weights that the best Gabor function in one color explains.
# `flat_share` says how much was even color.

# %%
for name in tasks:
    lab.record(f"filters/{name}, edges", edge_share(first[name]).median(), unit="median share")
    lab.record(f"filters/{name}, flat", flat_share(first[name]).median(), unit="median share")
for name, net in {"model": model, "digits": digit_net, "photographs": photo_net}.items():
    weight, shuffled = (filters(each) for each in (net, paper.randomized(net, lab.generator("untrained"))))
    lab.record(
        f"filters/{name}, above noise", edge_share(weight).median() - edge_share(shuffled).median(), unit="share"
    )

# %%
if model is not digit_net:  # ResNet-20, trained on CIFAR-10, has filters of 3 x 3: is noise of that size an edge?
    tiny, noise = resnet20_weights().state["0.0.weight"], torch.randn(64, 3, 3, 3, generator=lab.generator("tiny"))
    lab.record("filters/ResNet-20, above noise", edge_share(tiny).median() - edge_share(noise).median(), unit="share")
train_scenes = scenes("train", 1000, "colors")
known, new = ((each.images.mean((2, 3)), each.backgrounds) for each in (train_scenes, test_scenes))
lab.record("photographs/by mean colors", knn_accuracy(*known, *new), unit="accuracy of 5 nearest neighbors")
lab.reveal("edges", max(tasks, key=lambda name: lab.metrics[f"filters/{name}, edges"]))
lab.claim("edges")

# %% [markdown]
# Five nearest neighbors by mean color alone name most photographs, and the network that learned this task has filters with far more even color, and hardly any shape.

# %% [markdown]
# ## 2 · Feature maps, and what a unit detects
#
# **Intuition.** From the second layer on, look at what a layer *gives out* instead.
# For each of its $K$ filters ("channels", "units") that is a **feature map**: a small gray picture that is bright where the filter found what it looks for.
#
# `FeatureMaps(model, layers)` fetches them from any network, by the names of its layers, and leaves the network as it was.
# In Jupyter, browse them below the figure.


# %%
square = [image[None, :, : min(image.shape[1:]), : min(image.shape[1:])] for image in photographs.colour.values()]
gallery = torch.cat([F.interpolate(image, (config.side,) * 2, mode="bilinear", antialias=True) for image in square])
gallery = test_scenes.images[:8] if model is digit_net else gallery.clamp(0, 1)  # (B, 3, side, side)
maps = FeatureMaps(model, config.layers)(prepare(gallery))
print({layer: tuple(found.shape[1:]) for layer, found in maps.items()}, "channels, rows, columns")
bare_axes = {"xticks": [], "yticks": []}
figure, axes = panels(len(config.layers), 9, width=1.15, height=1.25, subplot_kw=bare_axes)
for row, layer in zip(axes, config.layers, strict=True):
    inner = maps[layer][0, :, 1:-1, 1:-1]  # the rim sees padding
    strongest = inner.amax((1, 2)).topk(8).indices  # the eight channels that fire most
    row[0].imshow(gallery[0].permute(1, 2, 0))
    row[0].set_ylabel(layer, fontsize=10)
    for ax, channel in zip(row[1:], strongest, strict=True):
        ax.imshow(maps[layer][0, channel], cmap="gray")
        ax.set_title(f"{int(channel)}", fontsize=9)
lab.show(
    figure,
    alt=f"One image at the left of each row, and in the row the eight feature maps of a layer that fire most, {' then '.join(config.layers)}. "
    "Each map is scaled to its own largest value; from row to row the maps never get finer. Black is an activation of 0.",
)


# %%
def browse(layer, channel, image):
    """An image and what a channel of a layer makes of it, side by side."""
    return beside(gallery[image], maps[layer][image, channel])


# %% tags=["widget"]
first_channels = range(min(found.shape[1] for found in maps.values()))
image_choices(
    browse,
    {"layer": config.layers, "channel": first_channels, "image": range(len(gallery))},
    scale=max(1, 224 // config.side),
)

# %% [markdown]
# How coarse is a map, and how many places light up?
# With each pooling a map gets coarser, and its units see more of the image: their **receptive field**, which *Further* works out.
#
# ### Find a detector, then doubt it
#
# The review shows a feature map of a network trained on ImageNet.
# It fires on faces of people and animals, whatever their size, direction (which way up), light or background, although none of the 1,000 classes is called "face".
# Let us take the four one by one.
#
# 1. **Find.** Show the network patterns of one kind and of others on random pieces of photographs: at `quick` each digit against the other nine, otherwise faces against patches without a face.
#    Which channel's strongest response separates patterns from others best?
#    Measure by the **AUC** (area under the ROC curve): the probability that an image with the pattern excites it more than one without; 1/2 is chance.
# 2. **Test** on patterns and backgrounds that were not used to find it: the best of many channels is flattered by luck.
# 3. **Doubt**: search for the same pattern in the untrained network.
#
# Here every digit is white, in the middle, and takes 0.8 of the side; on something white it vanishes, so that no detector is perfect.


# %%
if model is digit_net:
    patterns = digit_patterns(mnist, photographs)
else:
    patterns = face_patterns(labkit.data.load("faces", profile=profile), photographs)


def scenes_with(part, kind, **changes):
    """Patterns of a kind (a digit, faces) and others on photographs (N, 3, side, side), and which is which."""
    generator = lab.generator(f"behind {part}")
    return patterns.on_photographs(part, kind, config.positives, config.side, generator, **changes)


def responses(net, layers, images):
    """The strongest response of each channel in each image of [0, 1]: {layer: (N, K)}."""
    parts = [FeatureMaps(net, layers)(prepare(part)) for part in images.split(100)]
    return {layer: torch.cat([part[layer].amax((2, 3)) for part in parts]) for layer in layers}


# %%
def find_detector(net, kinds):
    """The channel of the hidden layers, and the kind of pattern, with the highest AUC on the images for finding."""
    best = (0.0,)
    for kind in kinds:
        images, positive = scenes_with("find", kind)
        for layer, found in responses(net, config.layers, images).items():
            separates = roc_auc(found, positive)
            best = max(best, (separates.max().item(), layer, separates.argmax().item(), kind))
    return best


auc_found, layer, channel, kind = find_detector(model, patterns.kinds)
untrained_auc_found, untrained_layer, untrained_channel, _ = find_detector(untrained, [kind])
what = patterns.kinds[kind]
print(f"channel {channel} of layer {layer} is the best detector of {what}")
lab.record_all({"detector/AUC when found": auc_found, "untrained/AUC when found": untrained_auc_found}, unit="AUC")

# %%
shown, positive = scenes_with("test", kind)
detector = FeatureMaps(model, layer)(prepare(shown))[layer][:, channel]  # (N, h, w)
figure, axes = panels(2, 8, width=1.3, height=1.35, subplot_kw=bare_axes)
for i, column in zip([*torch.where(positive)[0][:4], *torch.where(~positive)[0][:4]], axes.T, strict=True):
    column[0].imshow(shown[i].permute(1, 2, 0))
    column[1].imshow(detector[i], cmap="gray", vmin=0, vmax=detector.max())
    column[0].set_title(f"{detector[i].max():.1f}", fontsize=10)
lab.show(
    figure,
    alt=f"Above, eight scenes: the first four hold {what}, the others do not. Below, the feature map of channel {channel} of {layer} for each, all on one scale. The strongest response "
    f"stands over each scene; it is {detector[positive].amax((1, 2)).median():.1f} in the median over all with {what} and {detector[~positive].amax((1, 2)).median():.1f} over the others.",
    headline="detector",
)
lab.at_full("detector")

# %% [markdown]
# Now change one thing at a time, over a range that goes beyond what the network was trained with (at `quick`: sizes of 0.64 to 1 of the side, turns up to 15 degrees, brightness of 0.75 to 1.25).

# %%
lab.predict(
    "whatever",
    "Over which change will the detector's AUC fall lowest?",
    choices=["size", "direction", "light", "background"],
)

# %%
gray = torch.full(shown.shape, 0.5)
noise = torch.rand(gray.shape, generator=lab.generator("noise"))
other, _ = backgrounds(patterns.photographs, config.side, len(shown), lab.generator("other"), part="test")
harsh = (3 * other - 1).clamp(0, 1)  # of three times the contrast
changes = {
    "size": {size: {"size": size} for size in config.sizes},
    "direction": {angle: {"angle": angle} for angle in config.angles},
    "light": {light: {"light": light} for light in config.lights},
    "background": {
        "other": {"behind": other},
        "harsh": {"behind": harsh},
        "gray": {"behind": gray},
        "noise": {"behind": noise},
    },
}
detectors = {"detector": (model, layer, channel), "untrained": (untrained, untrained_layer, untrained_channel)}
curves = {}  # (name, change): AUCs

# %%
for change, values in changes.items():
    for options in values.values():
        images, positive = scenes_with("test", kind, **options)
        for name, (net, where, unit) in detectors.items():
            found = responses(net, [where], images)[where][:, [unit]]
            curves.setdefault((name, change), []).append(roc_auc(found, positive).item())
lab.record_all({f"{name}/unchanged": curves[name, "direction"][config.angles.index(0)] for name in detectors}, "AUC")
lab.record_all({f"{name}/{change}, lowest": min(found) for (name, change), found in curves.items()}, unit="AUC")

# %%
lowest, lowest_untrained = ({change: min(curves[name, change]) for change in changes} for name in detectors)
units = {"size": "share of the side", "direction": "degrees", "light": "times as bright", "background": ""}
figure, axes = panels(1, 4, width=3.2, height=3, sharey=True)
for ax, (change, values) in zip(axes, changes.items(), strict=True):
    numbers = list(values) if change in ("size", "direction", "light") else range(len(values))
    for name, marker in zip(detectors, "os", strict=True):
        ax.plot(numbers, curves[name, change], marker=marker, label=name)
    if change == "background":
        ax.set_xticks(numbers, list(values), rotation=30)
    ax.axhline(0.5, color="gray", linewidth=0.8, linestyle=":")
    ax.set(title=change, ylim=(0, 1.05), xlabel=units[change])
axes[1].set_xticks([-180, -90, 0, 90])
axes[0].set_ylabel("AUC")
axes[0].legend(frameon=False, loc="lower right")
lab.show(
    figure,
    alt=f"How well the detector of {what} separates, as one thing changes, and the best channel of the untrained network. Lowest AUC of the detector: {in_numbers(lowest)}; of the untrained: {in_numbers(lowest_untrained)}.",
)
lab.reveal("whatever", min(lowest, key=lowest.get))
lab.claim("whatever")

# %% [markdown]
# Read each "whatever" off its curve: where does it break?
# In photographs a face rarely stands on its head, and no digit of the training scenes was turned by more than 15 degrees.
# Invariance is a fact about the training data, too.
# (Zeiler and Fergus ask the same of whole layers: they move, scale and turn images, and follow how far the layers change.)
# And the AUC does not say whether the unit still *fires*, only whether it still tells patterns from others.
#
# ## 3 · Local or distributed?
#
# **Intuition.** Do single units stand for things (a *local* representation), or does only the pattern over all units (a *distributed* one)?
# The review concludes from the face unit that, against what had been believed, a representation becomes local after a few layers, and takes this as a guide for transfer learning.
# One unit that works well is no proof: compare it with all units together, and see what is lost without it.
#
# ### What one unit knows, and what all know
#
# Take labeled images of ten classes (at `full` CIFAR-10, real photographs), half for finding and half for testing.
# For each class, a linear readout (logistic regression) of all channels of a layer tells it from the other nine; the rival is the channel that does so best.
# How much larger is the error of one unit, $1 - \text{AUC}$?

# %%
if model is digit_net:
    (labelled, fresh), (labels, fresh_labels) = test_scenes.images[:600].split(300), test_scenes.labels[:600].split(300)
else:  # real photographs in ten classes, small but with labels
    cifar = labkit.data.load("cifar10", profile=profile)
    chosen = torch.randperm(len(cifar.test), generator=lab.generator("labeled"))[:400]
    small, (labels, fresh_labels) = cifar.test.images[chosen], cifar.test.labels[chosen].split(200)
    labelled, fresh = F.interpolate(small, (config.side,) * 2, mode="bilinear", antialias=True).split(200)


# %%
def one_and_all(net, layer):
    """1 - AUC on fresh images, mean of ten classes: of the best single channel and of a readout of all channels."""
    found, later = (responses(net, [layer], images)[layer] for images in (labelled, fresh))
    one, every = [], []
    for c in range(10):
        best = roc_auc(found, labels == c).argmax()
        readout = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(found, labels == c)
        one.append(1 - roc_auc(later[:, [best]], fresh_labels == c).item())
        every.append(1 - roc_auc_score(fresh_labels == c, readout.decision_function(later)))
    return np.mean(one), np.mean(every)


# %%
last, lines = config.layers[-1], {}
for name, net in {"trained": model, "untrained": untrained}.items():
    errors = np.array([one_and_all(net, each) for each in config.layers])  # (layers, 2)
    lines |= {f"{name}, one unit": errors[:, 0], f"{name}, all units": errors[:, 1]}
lab.record_all({f"local/{name}": line[-1] for name, line in lines.items()}, unit="1 - AUC in the last hidden layer")
figure, ax = panels(width=6, height=3.2)
for (name, line), look in zip(lines.items(), ("o-", "s-", "o:", "s:"), strict=True):
    ax.plot(config.layers, line, look, label=name)
ax.set(ylabel="1 - AUC", ylim=(0, 0.5))
ax.tick_params(axis="x", rotation=30 if len(config.layers) > 3 else 0)
ax.legend(frameon=False, fontsize=10, loc="center left", bbox_to_anchor=(1, 0.5))
lab.show(figure, alt=f"Error, 1 - AUC, of a class against nine others, from layer to layer: {in_numbers(lines)}.")
lab.claim("local")

# %% [markdown]
# ### What is lost without a unit?
#
# A unit's **selectivity** for its favorite class compares its mean response there, $m$, with its mean response to the other classes, $r$: $(m - r)/(m + r)$, from 0 to 1.
# Silence units of the last hidden layer: set their maps to 0.
# Take images that did not serve to choose the units, and count how many decisions change.
# If the representation were local, whoever silenced the three most selective units for a class would lose that class, and no other.
# (At `full` the images are of the ten classes of CIFAR-10; the network decides among the 1,000 of ImageNet.)

# %%
found = responses(model, [last], labelled)[last]  # (N, K)
selective = paper.selectivity(found, labels)  # (K,)
favorite = torch.stack([found[labels == c].mean(0) for c in range(10)]).argmax(0)  # (K,)


# %%
def decisions(silent=()):
    """What the network says of fresh images when these units of its last hidden layer are silent, (N,)."""
    with paper.ablated(model, last, list(silent)):
        return predict(lambda x: model(prepare(x)), fresh, batch_size=100).argmax(1)


whole, lost = decisions(), {"its class": [], "other classes": [], "its class, random units": []}
for c in range(10):
    order = torch.where(favorite == c, selective, -1.0).argsort(descending=True)
    three = order[: min(3, int((favorite == c).sum()))].tolist()
    at_random = torch.randperm(len(favorite), generator=lab.generator(f"silence {c}"))[: len(three)].tolist()
    if three:
        changed, changed_at_random = decisions(three) != whole, decisions(at_random) != whole
        lost["its class"].append(changed[fresh_labels == c].float().mean())
        lost["other classes"].append(changed[fresh_labels != c].float().mean())
        lost["its class, random units"].append(changed_at_random[fresh_labels == c].float().mean())
lab.record_all({f"lost/{name}": np.mean(values) for name, values in lost.items()}, unit="share of decisions")
lab.claim("three-units")

# %% [markdown]
# Being selective is one thing, being needed another: most decisions survive without the three, so other units carry the class as well.
# Mind the random units: at `full` they cost nearly as many.
# (Morcos and others, 2018, found selectivity a poor predictor of what a unit is worth to the whole task.)
# What this means for transfer learning, the review's "why", is put to a test in *Further*.
#
# ## 4 · Draw what a unit likes: activation maximization
#
# **Intuition.** So far a unit could only choose among images that we had.
# Now let it make its own.
# Start from noise, ask how each pixel should change so that the unit fires more, change it a little that way, repeat.
# It is training with the roles exchanged: the weights stay, the image learns.
#
# ![A loop: a noise image enters a network whose weights stay; one unit's gradient comes back, a step adds it to the image, a regularizer cleans the image, and it starts again; dashed: jitter in front, 1/f² on the gradient's way back.](figures/04_cnn_visualization/ascent.svg)
#
# **Mathematics.** For the activation $a_i(x)$ of unit $i$, hidden or output (or the sum over a group of units), one looks for (7.1) $\hat x = \arg\max_x a_i(x)$, and gradient ascent (7.2) goes $x \leftarrow x + \eta\, \partial a_i / \partial x$.
# Yosinski et al. add a regularizer $r_\theta$ that pulls the image back to what photographs are like (7.5):
#
# $$ x \leftarrow r_\theta\!\left(x + \eta\, \frac{\partial a_i}{\partial x}\right). $$
#
# Here $x$ is an image minus the mean color.
# How long a step?
# Were the unit linear, a step would raise it by $\eta \lVert g \rVert^2$, with $g$ the gradient.
# So for a gain of `desired`, take $\eta = \text{desired} / \lVert g \rVert^2$, but never more than a limit, `lr`.

# %% [markdown]
# ### Exercise 1 · The ascent
#
# The whole loop, for a batch of images; `x` holds images minus the mean color `mean`.
# `step_length(gradient, lr, desired)` gives one $\eta$ for each of them, (B, 1, 1, 1); *Further* has you write it.
# Before each look put the images into the box of possible pixels, $0 \le x + \text{mean} \le 1$; note the activation; step; then call `regularize(x, gradient, step)`, if given, with the moved images, the gradient that the step was made with and the number of the step from 0.
# After the last step put them into the box and look once more: `steps` + 1 activations.
# Return the images of the last look and the activations, both detached.


# %% tags=["exercise"]
def ascend(model, unit, x, *, steps, lr, desired=None, regularize=None, mean=0.5):
    """Images x minus mean, (B, C, H, W), climb a unit of model(x), (B, K) -> images minus mean, activations (steps + 1, B)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
ascend = lab.check(ascend)


# %%
climb = {"steps": config.steps, "lr": config.lr, "desired": config.desired, "mean": mean}


def start(count):
    """Faint noise, the same whatever is drawn: images minus the mean color."""
    noise = torch.randn(count, 3, config.side, config.side, generator=lab.generator("start"))
    return 2 / 255 * noise


def draw(units, front=None, regularize=None, hidden=False):
    """An image for each unit, in [0, 1], by your `ascend`, and the activations. `front` stands before the network."""
    front = front or nn.Identity()
    network = lambda x: model(front(x) / std)  # noqa: E731
    if hidden:  # units of a convolution, in the middle of their maps
        directions = torch.eye(maps_of_hidden)[list(units)]
        network, units = lambda x: Readout(model, config.hidden, directions)(front(x) / std), range(len(units))
    network = OwnUnit(network, units)  # each image of the batch has a unit of its own
    x, way = ascend(network, 0, start(len(units)), regularize=regularize, **climb)
    return x + mean, way


# %%
looks = ["this network and another are sure of its class", "only this network is sure", "not even this network is sure"]
lab.predict("sure", "Without a regularizer: who is sure to see the class in the image after the ascent?", choices=looks)

# %%
maps_of_hidden = FeatureMaps(model, config.hidden)(prepare(gallery[:1]))[config.hidden].shape[1]
bare, way = draw(config.classes)
with torch.no_grad():
    own = model(prepare(bare)).softmax(1)[range(len(bare)), config.classes]
lab.record("none/own probability", own.mean(), unit="probability")
lab.record("none/detail", fine_detail(signed(bare - mean)).mean(), unit="share of power")
names = [class_names[c].removeprefix("digit ") for c in config.classes]
figure, axes = panels(1, 5, width=2.4, height=2.6)
for ax, image, name, sure in zip(axes, bare, names, own, strict=False):
    ax.imshow(signed(image[None] - mean)[0].permute(1, 2, 0))
    ax.set_title(f"{name}: {sure:.2f}", fontsize=11)
    ax.set_axis_off()
axes[4].plot(way)
axes[4].set(xlabel="step", title="activations")
axes[4].legend(names, frameon=False, fontsize=8)
lab.show(
    figure,
    alt=f"Images that gradient ascent makes for {', '.join(names)} without regularization, contrast stretched: fine fringes on gray, at quick around parts of a digit. Over each the network's probability of its class, in the mean {own.mean():.2f}. Right, "
    f"their activations, from {way[0].mean():.1f} to {way[-1].mean():.1f} in {config.steps} steps.",
)

# %% [markdown]
# ### Four regularizers, and two newer ways
#
# Yosinski et al. apply, after each step:
#
# 1. **L2 decay**: $x \leftarrow (1 - \theta_\text{decay})\, x$. Keeps a few extreme pixels from dominating.
# 2. **Gaussian blur** every few steps: removes fine detail, and what needs it does not come back.
# 3. **Small norm**: pixels whose norm over the colors lies below a percentile become 0. The picture shows the main object only.
# 4. **Small contribution**: pixels that contribute little to the activation become 0. Setting pixel $p$ to zero changes $a_i$ by about $-x_p \cdot g_p$, where $x_p$ holds its three colors and $g_p$ the gradient there.
#
# Olah and others (2017) add two things that are done *in front of* the network:
#
# 5. **Jitter** (transformation robustness): the network sees the image moved by a few random pixels, each time others, so that patterns as fine as a pixel cancel out.
# 6. **Frequencies** (preconditioning): on its way back the gradient is taken apart into waves, and each is divided by the square of its frequency, so that coarse patterns grow first.
#
# All climb equally many steps from the same noise.
# Strengths are our choice: three for each of the four, of which the one that serves each yardstick best will count.
# The trivial rival is the bare picture, *blurred afterwards*.

# %%
alone = {  # each regularizer at three strengths
    "L2 decay": [Regularizers(decay=strength) for strength in (0.01, 0.05, 0.2)],
    "blur": [Regularizers(blur_width=strength, blur_every=4) for strength in (0.4, 0.7, 1.0)],
    "small norm": [Regularizers(small_norm=strength) for strength in (10, 30, 80)],
    "small contribution": [Regularizers(small_contribution=strength) for strength in (10, 30, 80)],
}
four = Regularizers(decay=0.02, blur_width=0.4, blur_every=4, small_norm=10, small_contribution=10)
decay_and_blur = Regularizers(decay=0.02, blur_width=0.4, blur_every=4)


def jitter():
    return Jitter(config.jitter, lab.generator("jitter"))


# %%
ways = {
    "none": {},
    "all four": {"regularize": four},
    "jitter": {"front": jitter()},
    "frequencies": {"front": FrequencyPreconditioner()},
    "both": {"front": nn.Sequential(jitter(), FrequencyPreconditioner())},
    "both, decay, blur": {
        "front": nn.Sequential(jitter(), FrequencyPreconditioner()),
        "regularize": decay_and_blur,
    },
}
images = {name: [draw(config.classes, **options)[0]] for name, options in ways.items()}
images |= {name: [draw(config.classes, regularize=each)[0] for each in row] for name, row in alone.items()}
images["blurred afterwards"] = [mean + paper.blur(images["none"][0] - mean, 1.5)]  # the rival: no ascent knows of it
order = ["none", "blurred afterwards", *alone, *list(ways)[1:]]

# %% [markdown]
# What is "like a photograph"?
# One number would be a poor judge, so take three, all of the pictures as they are shown, with their contrast stretched.
#
# - **Fine detail**: an image is a sum of waves, and its power at a frequency is the squared strength of that wave. Which share of the power have waves shorter than four pixels? Photographs are smooth: theirs is small.
# - **Another network**: how sure is a network that had no part in the ascent that it sees the class in the picture? At `quick` it is a network that learns the digits 0 to 4 only, so that chance is 0.2. At `full` it is ResNet-20, which was trained on the small photographs of CIFAR-10, for an airliner, a tabby, a bullfrog and a sports car.
# - **Nearest real images**: the correlation of its outlines (blurred by a pixel; color does not count) with those of the most similar real image of the class, less the mean of the same for the other three classes, so that being smooth is no merit.


# %%
def half(part, upper, name="half"):
    """Standardized images and answers 0 to 4, of the classes 0 to 4 or of the `upper` ones, 5 to 9."""
    if model is digit_net:
        found = scenes(part, config.scenes if part == "train" else 1000, name)
    else:
        found = cifar.train if part == "train" else cifar.test
    chosen = torch.where((found.labels >= 5) == upper)[0]
    return standard(found.images[chosen]), found.labels[chosen] % 5


half_net = channels_last(small_cnn(5, "half"))
half_net = train(half_net, lambda epoch: half("train", False, f"pass {epoch}"), config.epochs[2], "half network")
lab.record("half network/accuracy", accuracy(half_net, *half("test", False)), unit="share")


# %%
if model is digit_net:
    judge, judged, real, of_class = half_net, standard, test_scenes, config.classes
else:
    weights, judge = resnet20_weights(), resnet20_capsules("average").eval()
    judge.load_state_dict(weights.state)
    judged = lambda x: (x - weights.mean[:, None, None]) / weights.std[:, None, None]  # noqa: E731
    real, of_class = cifar.test, (0, 3, 6, 1)  # CIFAR-10's name for each class


# %%
def yardsticks(images):
    """Fine detail, probability by the other network, nearest real images: of pictures as they are shown, (4, 3, H, W)."""
    small = F.interpolate(images, real.images.shape[2:], mode="bilinear", antialias=True)
    with torch.no_grad():
        probability = judge(judged(small)).softmax(1)[range(4), of_class]
    lines_of = lambda x: paper.blur(outlines(x).sum(1, keepdim=True), 1.0)  # noqa: E731
    others = [lines_of(real.images[500:][real.labels[500:] == c][:50]) for c in of_class]
    likest = torch.stack([nearest(lines_of(small), each) for each in others])  # (4 classes, 4 pictures)
    own_class = likest.diag().mean() - likest[~torch.eye(4, dtype=torch.bool)].mean()
    return {"detail": fine_detail(images).mean(), "other network": probability.mean(), "nearest": own_class}


pieces, _ = backgrounds(photographs, config.side, 60, lab.generator("pieces"), part="test")
photo_detail = fine_detail(pieces).mean()
lab.record("photographs/detail", photo_detail, unit="share of power")
examples = torch.stack([real.images[:500][real.labels[:500] == c][:20] for c in of_class], 1)  # (20, 4, 3, h, w)
for key in ("other network", "nearest"):  # what real images reach by them
    lab.record(f"real images/{key}", np.mean([yardsticks(four_images)[key] for four_images in examples]))

# %%
said_of = {}
for name in order:
    found = [yardsticks(signed(each - mean)) for each in images[name]]
    off = [(each["detail"] / photo_detail).log().abs() for each in found]  # from the fine detail of photographs
    probability, likest = (max(each[key] for each in found) for key in ("other network", "nearest"))
    lab.record(f"{name}/off", min(off), unit="|log ratio|")
    lab.record_all({f"{name}/other network": probability, f"{name}/nearest": likest})
    said_of[name] = [found[np.argmin(off)]["detail"], probability, likest]

# %%
seen_by_another = lab.metrics["none/other network"] > 0.5
lab.reveal("sure", looks[0] if seen_by_another else looks[1 if own.mean() > 0.9 else 2])
shown = {name: signed(images[name][len(images[name]) // 2] - mean) for name in order}
inches = 0.7 if model is digit_net else 1.0  # inches an image


def thumbnails(images):
    """No larger than needed for a small picture."""
    return images if images.shape[-1] <= 96 else F.interpolate(images, (96, 96), mode="bilinear", antialias=True)


lab.show(
    image_rows({name: thumbnails(row) for name, row in shown.items()}, size=inches, columns=names),
    alt=f"Images made by gradient ascent for {', '.join(names)}, contrast stretched, a row for each way: {', '.join(order)}. The first rows are fine patterns on gray; the last three are smooth, and parts of their class can be made out.",
    headline="ascent",
)
lab.at_full("ascent")

# %%
figure, axes = panels(1, 3, width=2.9, height=3.6, sharey=True)
titles = ("fine detail", "other network", "nearest real images")
reached = [photo_detail, lab.metrics["real images/other network"], lab.metrics["real images/nearest"]]
for ax, title, values, level in zip(axes, titles, zip(*said_of.values(), strict=True), reached, strict=True):
    ax.barh(order, values, height=0.6)
    ax.set(title=title)
    ax.axvline(level, color="black", linestyle="--", linewidth=1)
axes[0].invert_yaxis()
lab.show(
    figure,
    alt=f"Three yardsticks as bars (fine detail, probability by another network, likeness of the nearest real images of the class), a row for each way to draw: {in_numbers(said_of)}. Dashed, what real images have: {in_numbers({'': reached})}.",
)

# %%
lab.claim("ascent-unlike")
lab.claim("four-regularizers")
lab.claim("two-newer")

# %% [markdown]
# The yardsticks disagree, and each says something.
# A relative of the small network, trained on the same scenes, recognizes most of its bare pictures, in which one can make out parts of a digit.
# At `full` ResNet-20 sees next to nothing in those of SqueezeNet, and mostly more once they are blurred: fine noise lies on top of what is there.
# Of the four regularizers the blur alone is aimed at fine detail.
# Frequencies change most of what one sees; with decay and blur on top, pictures are smoother than photographs.
# Nearness to a real image is a weak judge: real images have little of it themselves (dashed).
# A picture made by ascent shows the regularizer as much as the unit.
#
# ## 5 · From a unit back to the pixels
#
# **Intuition.** Take a real image instead, and one activation in it.
# Which pixels made it large?
# Send a signal back through the network, from that unit to the image.
# At a convolution it goes back by the same weights.
# The question is what a ReLU and a max pooling do with a signal that comes from above.
#
# ![Left, a convnet upwards, from an image to one activation; right, a deconvnet back down to a picture in pixel space: unpooling at the switches that a dashed line brings, the ReLU's own rule, and a transposed convolution with the same filters.](figures/04_cnn_visualization/deconvnet.svg)
#
# **Max pooling.** Going forward, note where each maximum was: the **switches**.
# Going back, put each value there and 0 elsewhere.
#
# ### Exercise 2 · Unpool
#
# `switches` come from `F.max_pool2d(..., return_indices=True)`: for each pooled value the index of its place in the flattened map of `size` = (H, W).
# Where windows overlap and share a maximum, their values do not add up: one of them stays, whichever you like. (The library keeps the strongest: were it the last, as in PyTorch's `max_unpool2d`, the 0 of one window could wipe out what another sent.)


# %% tags=["exercise"]
def unpool(pooled, switches, size):
    """Each value back to its place, all else 0: (B, K, h, w), (B, K, h, w), (H, W) -> (B, K, H, W)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
unpool = lab.check(unpool)

# %% tags=["nbval-check-output"]
tiny = torch.tensor([[[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 0.0, 7.0]]]])
pooled, switches = F.max_pool2d(tiny, 2, return_indices=True)
print(pooled.tolist(), switches.tolist(), unpool(pooled, switches, (2, 4)).tolist(), sep="\n")

# %% [markdown]
# **ReLU.** Going forward, $h = \max(z, 0)$.
# A signal $s$ comes back from above.
# With $1[z > 0]$, which is 1 where $z > 0$ and 0 elsewhere, three methods differ in this one line:
#
# | method | what goes on | in words |
# |---|---|---|
# | gradient | $s \cdot 1[z > 0]$ | what reaches an open ReLU |
# | deconvnet (Zeiler & Fergus) | $\max(s, 0)$ | a ReLU on the way back, as on the way forth |
# | guided backpropagation (Springenberg et al.) | $\max(s, 0) \cdot 1[z > 0]$ | both |
#
# ### Exercise 3 · Three rules
#
# The table as a function of `signal` $s$ and `z`, tensors of one shape.
# Mind $z = 0$: nothing passes there, except by the deconvnet's rule.


# %% tags=["exercise"]
def backward_relu(signal, z, rule="gradient"):
    """What a ReLU with input z sends back of a signal, by the rule "gradient", "deconvnet" or "guided"."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
backward_relu = lab.check(backward_relu)

# %% tags=["nbval-check-output"]
z, s = torch.tensor([-1.0, -1.0, 2.0, 2.0]), torch.tensor([-3.0, 3.0, -3.0, 3.0])
for rule in ("gradient", "deconvnet", "guided"):
    print(f"{rule:10}", (backward_relu(s, z, rule) + 0.0).tolist())  # + 0.0: no "-0.0"

# %% [markdown]
# ### Exercise 4 · The way back
#
# Your two functions and a transposed convolution are all that a deconvnet needs.
# Go forward through the `layers` (convolutions, ReLUs, max poolings) and keep what each was given.
# Then start at the strongest place of the unit, for all three rules with its activation there and 0 everywhere else, and go back layer by layer.
# A ReLU goes back by `backward_relu`; a max pooling by `unpool`, with the switches of its own window, into the size of what it was given.
# A convolution goes back by `F.conv_transpose2d` with its own weight, stride and padding, and without its bias.
# A stride may leave pixels over, $(n + 2p - k) \bmod s$ of $n$ for a kernel $k$, padding $p$ and stride $s$: that is its `output_padding`.


# %% tags=["exercise"]
def back_project(layers, image, unit, rule="deconvnet"):
    """From the strongest place of a unit of the last of `layers` back to the image, (1, C, H, W) -> (1, C, H, W)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
back_project = lab.check(back_project)

# %% [markdown]
# The library's `Deconvnet(model)` does the same for networks that are no plain sequence, by backpropagation with another rule for ReLU and pooling; *Further* says how exactly the two agree.
#
# ### Three pictures of one decision, and an arbiter
#
# For each image, take the output unit of the class that `model` names, and go back from it by each of the three rules.
# (SqueezeNet's score is a mean over places. The deconvnet starts from one activation, so there it starts where the class is seen best. From all places at once nothing comes back.)
# Guided backpropagation draws outlines, and so does the deconvnet (SqueezeNet's only around the place where it starts); the gradient draws noise.
# Which one shows what the decision rests on?
#
# Zeiler and Fergus have a test that needs no rule at all, **occlusion**: cover a square of the image with the mean color, ask the network again, and note how much the unit loses; move the square; repeat.
# What costs the class when it is covered, counts for it.

# %%
rules = ("gradient", "deconvnet", "guided")
grid = {"size": 2 * config.cell, "stride": config.cell}  # squares twice as wide as the cells they are moved by
looked_at = prepare(gallery)
with torch.no_grad():
    said, second = model(looked_at).topk(2).indices.T


def back(net, images, unit, rule):
    """Pictures of prepared images: gradient and guided from the score of a class, the deconvnet from one place of it."""
    if rule != "deconvnet":
        return paper.back_project(net, images, config.output, unit, rule=rule)
    scores, place = FeatureMaps(model, config.places)(images)[config.places], None
    if scores.ndim == 4:  # where `model` sees the class best
        strongest = scores[range(len(images)), unit].flatten(1).argmax(1)
        place = strongest // scores.shape[3], strongest % scores.shape[3]
    return paper.back_project(net, images, config.places, unit, rule=rule, place=place, start=1.0)


# %%
pictures = {rule: back(model, looked_at, said, rule) for rule in rules}
drops = occlusion(model, looked_at, said, **grid)  # (B, rows, columns)
rows = {"image": gallery} | {rule: signed(found) for rule, found in pictures.items()}
large = F.interpolate(drops[:, None], gallery.shape[2:]).expand(-1, 3, -1, -1)
rows["occlusion"] = signed(large)
lab.show(
    image_rows(
        {label: thumbnails(row) for label, row in rows.items()},
        columns=[class_names[c].removeprefix("digit ").replace(" ", "\n")[:17] for c in said],
        size=inches,
    ),
    alt="Images in the first row, with the class that the network names below; then, for that class, the gradient, the deconvnet projection, guided backpropagation and occlusion, mid-gray for zero. The gradient is noise around the object; deconvnet and guided backpropagation are clear outlines; occlusion is coarse squares, lighter where covering costs the class most.",
    headline="pictures",
)
lab.at_full("pictures")

# %% [markdown]
# Now let the arbiter judge.
# Divide each image into cells; let each picture rank them by its strength there, the mean of its absolute values; **blur away the cells that it ranks first**, 5 to 20 % of them, and see how probable the class is then.
# Whoever marks what counts makes it fall most.
# (Blur, since occlusion covers with gray and would be judged by itself.)
# The rival that costs nothing is the gradient times the image, which says to first order what is lost when a pixel becomes 0.
# Rivals that know no network: outlines (how much each pixel differs from its right and its lower neighbor), and cells at random.

# %%
lab.predict(
    "arbiter",
    "Whose cells, blurred away, make the class least probable?",
    choices=["gradient", "deconvnet", "guided", "outlines"],
)

# %%
one_count, pair_count = config.covered
pool = test_scenes.images
if model is not digit_net:
    chosen = torch.randperm(len(cifar.test), generator=lab.generator("single"))[:400]
    pool = F.interpolate(cifar.test.images[chosen], (config.side,) * 2, mode="bilinear", antialias=True)
certainty, named = predict(nn.Sequential(model, nn.Softmax(1)), prepare(pool), batch_size=100).max(1)
sure_of = torch.where(certainty > 0.5)[0][: one_count + 2 * pair_count]  # images in which the network sees something
single, named = prepare(pool[sure_of]), named[sure_of]
x, y = single[:one_count], named[:one_count]
lab.record("covered/nothing", certainty[sure_of][:one_count].mean(), unit="probability")


marks = {rule: lambda x, y, rule=rule: cell_means(back(model, x, y, rule), config.cell) for rule in rules}
times_image = lambda x, y: x * back(model, x, y, "gradient")  # noqa: E731
marks["gradient x image"] = lambda x, y: cell_means(times_image(x, y), config.cell, signed=True).clamp(min=0)
marks["occlusion"] = lambda x, y: occlusion(model, x, y, **grid).clamp(min=0)
marks["outlines"] = lambda x, y: cell_means(outlines(x), config.cell)
rankings = {name: mark(x, y) for name, mark in marks.items()}
rankings["random"] = torch.rand(rankings["guided"].shape, generator=lab.generator("random cells"))

# %%
sure = nn.Sequential(model, nn.Softmax(1))
blurred = paper.blur(x, config.cell)  # not the gray that occlusion covers with
shares, falls = (0.0, 0.05, 0.1, 0.2, 0.4), {}
for name, ranking in rankings.items():
    falls[name] = deletion(sure, x, y, ranking, stride=config.cell, shares=shares, fill=blurred).mean(0)
    lab.record(f"covered/{name}", falls[name][1:4].mean(), unit="mean probability")
lab.reveal("arbiter", min((*rules, "outlines"), key=lambda name: lab.metrics[f"covered/{name}"]))

# %% [markdown]
# That was with one object in the image.
# A picture that marks whatever stands out does well there.
# So put **two** side by side, ask for the class of one of them, and see which share of the picture lies on the half that was asked for.
# At 1/2 the picture does not care what it was asked.

# %%
pairs, classes = single[one_count:].unflatten(0, (-1, 2)), named[one_count:].unflatten(0, (-1, 2))  # two by two
unlike = classes[:, 0] != classes[:, 1]
two, classes = torch.cat([*pairs[unlike].unbind(1)], dim=3), classes[unlike]  # (B, 3, H, 2 W), (B, 2)


def on_the_asked(mark):
    """The share that mark(images, classes) puts on the half that was asked for, first the left ones, then the right."""
    left = torch.full((len(two),), True)
    shares = [share_on_half(mark(two, classes[:, 0]), left), share_on_half(mark(two, classes[:, 1]), ~left)]
    return torch.cat(shares).mean()


# %%
if config.network == "squeezenet1_0":
    one_place = lambda x, y: paper.back_project(model, x, config.places, y, rule="guided")  # noqa: E731
    marks["guided, from one place"] = lambda x, y: cell_means(one_place(x, y), config.cell)
for name, mark in marks.items():
    lab.record(f"two/{name}", on_the_asked(mark), unit="share on the asked half")

# %%
figure, (left_ax, right_ax) = panels(1, 2, width=4.2, height=3)
for (name, found), look in zip(falls.items(), ("-", "--", "-.", "-s", "-o", ":", "k:"), strict=True):
    left_ax.plot(shares, found, look, label=name, markersize=4)
left_ax.set(xlabel="share of the image blurred", ylabel="probability of the class", ylim=(0, 1))
left_ax.legend(frameon=False, fontsize=9)
on_asked = {name: lab.metrics[f"two/{name}"] for name in marks if name != "guided, from one place"}
right_ax.barh(list(on_asked), list(on_asked.values()), height=0.6)
right_ax.axvline(0.5, color="black", linestyle="--", linewidth=1)
right_ax.invert_yaxis()
right_ax.set(xlim=(0, 1), xlabel="share on the object that was asked for")
lab.show(
    figure,
    alt=f"Left, how the probability of the class falls as cells are blurred in the order of each picture; with a tenth blurred: {in_numbers({name: found[2] for name, found in falls.items()})}. Right, the share of each picture on the one of two objects that was asked for, dashed at one half: {in_numbers(on_asked)}.",
)
lab.claim("pictures-count")
lab.claim("occlusion-knows")

# %% [markdown]
# With one object, guided backpropagation marks what counts about as well as the gradient times the image, which needs no rule at all; the plain gradient is hardly better than outlines.
# With two, the gradient does not care which one it was asked for; guided backpropagation and the gradient times the image lean to it at `quick`, hardly at `full`; occlusion leans to it more.
#
# (At `full`, guided backpropagation from the one place where the class is seen best lies mostly on the asked object, too: then it is the start that knows, not the rule.)
#
# ### The nine best
#
# Zeiler and Fergus' way to show a unit: of many images, the nine that excite it most; of each, what its receptive field covers; and the projection of that one activation by the deconvnet.
# Patches show *what* excites a unit, projections *what in them* does.
# (At `quick` the projections are made by your `back_project`.)

# %%
if model is digit_net:
    pool = scenes("test", config.pool, "pool").images
else:  # as many things as we have: small photographs, enlarged
    chosen = torch.randperm(len(cifar.test), generator=lab.generator("pool"))[: config.pool]
    pool = F.interpolate(cifar.test.images[chosen], (config.side,) * 2, mode="bilinear", antialias=True)
field = paper.receptive_field(model, config.nine, (3, *pool.shape[2:]))
pair = (("", model), ("untrained ", untrained))
best = {name: paper.top_activations(net, config.nine, prepare(pool), k=9) for name, net in pair}


# %%
def nine(net, top, unit):
    """What a unit sees of its nine best images, and their projections: (9, 3, h, w) twice."""
    _, images, rows, columns = (found[unit] for found in top)
    x = prepare(pool[images])
    if model is digit_net:
        with torch.no_grad():
            projected = torch.cat([back_project(list(net[:8]), each[None], unit) for each in x])
    else:
        projected = Deconvnet(net)(x, config.nine, unit, place=(rows, columns))
    return paper.crops(field, pool[images], rows, columns), paper.crops(field, projected, rows, columns, fill=0)


# %%
usual = responses(model, [config.nine], pool[:200])[config.nine].mean(0).clamp(min=1e-6)  # (K,)
units = (best[""].values[:, -1] / usual).topk(3).indices.tolist()  # whose ninth best is far above the usual
if layer == config.nine:
    units = [channel, *(unit for unit in units if unit != channel)][:3]  # the detector of section 2 first
rows = {}
for unit in units:
    patches, projections = nine(model, best[""], unit)
    rows |= {f"unit {unit}": patches, f"unit {unit}, back": signed(projections)}
lab.show(
    image_rows({label: thumbnails(row) for label, row in rows.items()}, size=0.75),
    alt=f"For each of three units of {config.nine} ({', '.join(map(str, units))}): the nine patches in which it fires most, and below them the deconvnet projections of those activations, on mid-gray. Beyond the edge of an image a patch is gray.",
    headline="nine",
)
lab.at_full("nine")

# %% [markdown]
# Zeiler and Fergus observe that the patches vary more than the projections, since these show only what the unit looks at.
# Measure the mean correlation between two of the nine, pixel by pixel.

# %%
for name, net in pair:
    alive = torch.where(best[name].values[:, -1] > 0)[0]
    alive = alive[torch.randperm(len(alive), generator=lab.generator("alive"))[:16]].tolist()
    alike = np.array([[likeness(found) for found in nine(net, best[name], unit)] for unit in alive]).reshape(-1, 2)
    lab.record(f"nine/{name}patches", alike[:, 0].mean(), unit="mean correlation")
    lab.record(f"nine/{name}projections", alike[:, 1].mean(), unit="mean correlation")
lab.claim("nine-best")

# %% [markdown]
# What untrained units show as well is no sign of learning: all projections of a unit are put together from the same few filters.
#
# ### A picture of the network, or of the image?
#
# The crucial control.
# If a picture shows what a network has *learned*, it must change when the network has learned nothing.
# Adebayo and others (2018) put that to the test.
# Project back from the same units in `model` and in copies whose weights were shuffled, in the last layer only or in all.
# Compare pictures by their **rank correlation**: 1 if the pixels' order stays the same, 0 if nothing of it is left.
# For comparison, ask for *another class*, the one that `model` ranks second; and, as a yardstick, take *another image*.

# %%
lab.predict("shuffled", "When the last layer is shuffled, whose picture changes least?", choices=list(rules))

# %%
last_shuffled = paper.randomized(model, lab.generator("last"), [config.places])
for rule in rules:
    others = {
        "last layer shuffled": back(last_shuffled, looked_at, said, rule),
        "all layers shuffled": back(untrained, looked_at, said, rule),
        "another class": back(model, looked_at, second, rule),
        "another image": back(model, looked_at.roll(1, 0), said, rule),
    }
    for name, other in others.items():
        lab.record(f"{rule}/{name}", rank_correlation(pictures[rule], other), unit="rank correlation")
lab.reveal("shuffled", max(rules, key=lambda rule: lab.metrics[f"{rule}/last layer shuffled"]))
figure, ax = panels(width=7.5, height=3.2)
kept = {rule: [round(lab.metrics[f"{rule}/{name}"], 2) for name in others] for rule in rules}
bars(ax, list(others), kept)
ax.set(ylabel="rank correlation", ylim=(min(0, np.min(list(kept.values())) - 0.15), 1.3))
lab.show(
    figure,
    alt=f"Rank correlation between the picture of the trained network and another ({', '.join(others)}): {in_numbers(kept)}.",
)
lab.claim("last-layer")

# %% [markdown]
# A picture that hardly changes for another class, or without what the last layer learned, may still show well what lies *in the image*.
# It is no explanation of the decision.
# The best-looking method need not be the most faithful, and the control takes one line.
#
# ## 6 · Where the paper, the review and the code disagree
#
# - The review writes $\hat x = \arg\max_x a_i(x)$ without saying where $x$ may lie. Without bounds there need not be a maximum: along a straight line, the activations of a ReLU network can grow for ever.
# - Where a network normalizes contrast between its layers, Zeiler and Fergus do not invert that on the way back; and their projection shows one activation, not what a layer says together.
# - Two more are run in *Further*: poolings whose windows overlap, and ReLUs that no hook can find.
#
# ## 7 · What held, and what did not

# %%
lab.claims_table()

# %% [markdown]
# ### Take-aways
#
# 1. Looking is a measurement. Say what you would have seen in a network that has learned nothing.
# 2. A detector has a range. Change one thing at a time, and go until it breaks.
# 3. What a unit likes and what a network needs it for are two questions; only silencing answers the second.
# 4. A picture made by ascent shows the regularizer as much as the unit.
# 5. Cover what a picture marks, and shuffle the last layer, before you believe it.

# %%
lab.progress()

# %% [markdown]
# ## Further
#
# Another 60 minutes: what transfers, what a deconvnet is, what a projection shows, features in training, receptive fields, selectivity, clipping, groups of units, corresponding parts.
# `docs/own_network.md` (*Your own network* on the course's site) shows how to get filters, maps, ascent and occlusion of any model of torchvision, or of a checkpoint of yours.

# %% [markdown]
# ### What transfers?
#
# Here the review's "why" is put to work.
# Yosinski and others (2014) freeze the first layers of a network for half of ImageNet's classes and train the rest on the other half, with all its labels; we do it with few.
# Half of the classes are the first task, the other half the second, for which few images have labels.
# Train a network on the first half; keep its first $k$ convolutions frozen; train the rest anew on the second half.
# The rivals keep $k$ convolutions that learned something farther away (which photograph it is), or nothing (the same weights, shuffled).
# At `quick` the classes are digits; at `full` those of CIFAR-10, with real photographs.

# %%
lab.predict(
    "transfer",
    f"With {config.labels} labels: keeping how many of three convolutions of the network for the other half will be best?",
    choices=["0", "1", "2", "3"],
)


# %%
few_x, few_y = half("train", True, "few")
chosen = torch.randperm(len(few_x), generator=lab.generator("few"))[: config.labels]
few_x, few_y = few_x[chosen], few_y[chosen]
other_x, other_y = half("test", True)
cuts = [0, 3, 6, 10]  # modules in front of what is trained anew: none, one, two, three convolutions


def transfer(source, k):
    """The first k convolutions of `source` stay, the rest starts anew and learns the few: accuracy on the other half."""
    net = small_cnn(5, f"target, {k}")
    net[: cuts[k]].load_state_dict(source[: cuts[k]].state_dict())
    with torch.no_grad():
        below = net[: cuts[k]](few_x)  # the frozen part says the same in each pass
    train(net[cuts[k] :], lambda epoch: (below, few_y), 10, f"target, {k}", batch_size=16)
    return accuracy(net, other_x, other_y)


shuffled = paper.randomized(half_net, lab.generator("random"))
sources = {"other half": half_net, "photographs": photo_net, "random": shuffled}
lab.record("transfer/nothing kept", transfer(half_net, 0), unit="accuracy")
for name, source in sources.items():
    kept = {f"transfer/{name}, {k} kept": transfer(source, k) for k in (1, 2, 3)}
    lab.record_all(kept, unit="accuracy")

# %%
figure, ax = panels(width=5, height=3)
for name, look in zip(sources, ("o-", "s--", "^:"), strict=True):
    lines[name] = [
        lab.metrics["transfer/nothing kept"],
        *(lab.metrics[f"transfer/{name}, {k} kept"] for k in (1, 2, 3)),
    ]
    ax.plot(range(4), lines[name], look, label=f"kept of: {name}")
ax.set(xlabel="convolutions kept and frozen", ylabel="accuracy on the new task", xticks=range(4), ylim=(0, 1))
ax.legend(frameon=False, fontsize=10, loc="center left", bbox_to_anchor=(1, 0.5))
lab.show(
    figure,
    alt=f"Accuracy on the second half of the classes with {config.labels} labels, with 0, 1, 2 and 3 convolutions kept. Kept of: {in_numbers({name: lines[name] for name in sources})}.",
)
lab.reveal("transfer", str(np.argmax(lines["other half"])))
lab.claim("transfers")

# %% [markdown]
# The first convolutions of a network for the other half serve the new classes.
# Three kept are too many.
# What the photograph network learned, colors, serves digits no better than random weights; at `full`, for real photographs, it does better.
# How general a layer is depends on both tasks.
#
# ### A deconvnet is nearly backpropagation
#
# `Deconvnet(model)` of the library takes another way: autograd's backward pass, with other rules for ReLU and max pooling, which reaches networks that are no plain sequence.
# Zeiler and Fergus note themselves that their projection resembles backpropagation.
# Test it: take ordinary backpropagation and change *nothing but* what the ReLUs send back, as many libraries do.
# (A *hook* is a function that PyTorch calls when a module's backward pass has run; what it returns is sent on instead.)


# %%
def by_hooks(net, image, unit):
    """Backpropagation from a unit's strongest place, with the deconvnet's rule at every module nn.ReLU."""
    rule = lambda module, sent_back, signal: (signal[0].clamp(min=0),)  # noqa: E731
    hooks = [m.register_full_backward_hook(rule) for m in net.modules() if isinstance(m, nn.ReLU)]
    with torch.enable_grad():
        x = image.clone().requires_grad_()
        activation = net(x)[0, unit].max()
        (picture,) = torch.autograd.grad(activation, x, activation.detach())
    for hook in hooks:
        hook.remove()
    return picture


def difference(one, other):
    """Largest difference of two pictures, relative to the largest pixel."""
    return ((one - other).abs().max() / one.abs().max()).item()


# %%
to_relu3 = digit_net[:8]
digit = standard(test_scenes.images[:1])
lively = FeatureMaps(digit_net, "relu3")(digit)["relu3"].amax((0, 2, 3)).argmax().item()
with torch.no_grad():
    yours = back_project(list(to_relu3), digit, lively)
lab.record("deconvnet/library", round(difference(yours, Deconvnet(digit_net)(digit, "relu3", lively)), 4))
lab.record("deconvnet/ReLU rule alone", round(difference(yours, by_hooks(to_relu3, digit, lively)), 4))

# %% [markdown]
# That was for poolings whose windows do not overlap.
# AlexNet and SqueezeNet pool 3 x 3 with stride 2: one peak can be the maximum of four windows.
# Unpooling puts *one* value back; backpropagation adds up *all four*.

# %% tags=["nbval-check-output"]
peak = torch.zeros(1, 1, 5, 5)
peak[..., 2, 2] = 1.0
peak.requires_grad_()
pooled, switches = F.max_pool2d(peak, 3, stride=2, return_indices=True)
(gradient,) = torch.autograd.grad(pooled.sum(), peak)
print("windows:", pooled.numel())
print("unpooled:", unpool(pooled.detach(), switches, (5, 5))[0, 0, 2, 2].item())
print("gradient:", gradient[0, 0, 2, 2].item())

# %%
overlapping = small_cnn(10, "overlapping")
overlapping.load_state_dict(digit_net.state_dict())
overlapping.pool1, overlapping.pool2 = nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(3, 2, padding=1)
one, other = Deconvnet(overlapping)(digit, "relu3", lively), by_hooks(overlapping[:8], digit, lively)
apart = difference(one / one.abs().max(), other / other.abs().max())  # the strength of a picture does not count
lab.record("deconvnet/overlapping, ReLU rule alone", apart, unit="of the largest pixel")
lab.claim("deconvnet-is-backprop")

# %% [markdown]
# **A ReLU that no hook can find.** Hooks belong to modules.
# A network that writes `F.relu(x)` has no module for it, and a rule that is hooked to `nn.ReLU` is never applied.
# Nobody complains: the result is the plain gradient under another name.


# %%
class Functional(nn.Module):
    """The digit network up to conv3, with functions in place of the modules nn.ReLU."""

    def forward(self, x):
        x = F.max_pool2d(F.relu(digit_net.conv1(x)), 2)
        return digit_net.conv3(F.max_pool2d(F.relu(digit_net.conv2(x)), 2))


hooked, plain = by_hooks(Functional(), digit, lively), paper.back_project(digit_net, digit, "conv3", lively)
plain = plain * FeatureMaps(digit_net, "conv3")(digit)["conv3"][0, lively].max()  # as the deconvnet starts
lab.record("functional/hooks against the gradient", round(difference(plain, hooked), 4))

# %% [markdown]
# ### Does a projection show what the unit fires on?
#
# Zeiler and Fergus cover what a projection shows, and watch the *unit*.
# Blur away the tenth of the cells that the projection of the unit's best image ranks first, or that its outlines do, and see which share of the activation is left.

# %%
units = torch.where(best[""].values[:, -1] > 0)[0][:48]
_, images_of, rows_of, columns_of = (found[units, 0] for found in best[""])
x = prepare(pool[images_of])
says = lambda x: FeatureMaps(model, config.nine)(x)[config.nine].amax((2, 3))  # noqa: E731
projected = Deconvnet(model)(x, config.nine, units, place=(rows_of, columns_of))
for name, picture in {"projection": projected, "outlines": outlines(x)}.items():
    ranking, blurred = cell_means(picture, config.cell), paper.blur(x, config.cell)
    said_then = deletion(says, x, units, ranking, stride=config.cell, shares=(0.0, 0.1), fill=blurred)
    lab.record(f"unit/{name}", (said_then[:, 1] / said_then[:, 0]).mean(), unit="share of the activation left")
lab.claim("projection-marks")

# %% [markdown]
# ### How features come to be
#
# Zeiler and Fergus watch features during training: lower layers settle within a few passes, upper layers late.
# Watch the filters of the digit network, and ask each layer how much of what it says at the end it says already.
# The yardstick is the correlation, over test scenes, of each unit's strongest response with its own at the end of training: halfway through the passes, which share of the way from its first value to 1 has it gone?


# %%
def agreement(now, end):
    """The mean correlation of each unit's responses (N, K) with its own at the end; silent units do not count."""
    pairs = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(now.T, end.T, strict=True)]
    return torch.stack(pairs).nanmean()


grown = torch.tensor([[agreement(*pair) for pair in zip(maps, history[-1][1], strict=True)] for _, maps in history])
seen = sorted({0, 1, 2, len(history) // 4, len(history) // 2, len(history) - 1})
middle = len(history) // 2
way_gone = (grown[middle] - grown[0]) / (1 - grown[0])  # layers do not start from the same agreement
lab.record_all({f"evolution/layer {k + 1}": way_gone[k] for k in range(3)}, unit="share of the way, halfway")
figure, (left, right) = panels(1, 2, width=4.8, height=2.8, width_ratios=(1.5, 1))
left.imshow(torch.cat([paper.filter_grid(history[t][0], columns=16) for t in seen], 1).permute(1, 2, 0))
left.set(yticks=[4 + 7 * i for i in range(len(seen))], yticklabels=[str(t) for t in seen], xticks=[], ylabel="passes")
for k, style in enumerate(("-", "--", ":")):
    right.plot(grown[:, k], style, label=f"layer {k + 1}")
right.set(xlabel="passes", ylabel="agreement with the end", ylim=(0, 1.02))
right.legend(frameon=False)
lab.show(
    figure,
    alt=f"Left, the 16 filters of the digit network as a row for each of the passes {seen}: noise at first, then light and dark sides. Right, how much the units of each layer agree with themselves at the end of training, over the passes; halfway the layers have gone these shares of their way: {in_numbers({'layers 1 to 3': way_gone})}.",
)
lab.claim("lower-settle-first")


# %% [markdown]
# ### Exercise 5 · How long a step?
#
# One $\eta$ for each image of a batch.
# Without `desired` it is `lr`; with it, $\min(\text{lr}, \text{desired} / \lVert g \rVert^2)$.
# Where the gradient is 0, it is `lr`, which then moves nothing.


# %% tags=["exercise"]
def step_length(gradient, lr, desired=None):
    """eta for each image: gradient (B, C, H, W) -> (B, 1, 1, 1)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
step_length = lab.check(step_length)

# %% [markdown]
# ### How much of the image does a unit see?
#
# Its **receptive field** is the part of the image on which it depends, `size` pixels along an axis.
# Neighboring units see fields that lie `jump` pixels apart; that of unit 0 begins at pixel `start`, which is negative where padding is seen.
# The image itself has size 1, jump 1, start 0.
#
# ### Exercise 6 · One more layer
#
# What does a convolution or pooling with a given kernel, stride, padding (at each end, counted in units of the layer below) and dilation (distance between the kernel's weights, also in units of the layer below) do to the three numbers?


# %% tags=["exercise"]
def extend_field(size, jump, start, *, kernel, stride=1, padding=0, dilation=1):
    """The receptive field behind one more layer, along one axis: (size, jump, start) -> (size, jump, start)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
extend_field = lab.check(extend_field)

# %% [markdown]
# Follow AlexNet by hand.
# Its first layer has 11 x 11 filters with stride 4.
# Zeiler and Fergus looked at those filters, found the middle frequencies missing and the second layer full of aliasing, and changed them to 7 x 7 with stride 2.

# %% tags=["nbval-check-output"]
kernels = {"conv1": 0, "pool1": 3, "conv2": 5, "pool2": 3, "conv3": 3, "conv4": 3, "conv5": 3}
strides = {"pool1": 2, "pool2": 2}
networks = {"AlexNet": (11, {"conv1": 4}), "Zeiler & Fergus": (7, {"conv1": 2, "conv2": 2})}
for name, (first_kernel, own_strides) in networks.items():
    print(name, end=": ")
    size, jump, start_pixel = 1, 1, 0
    for each, kernel in (kernels | {"conv1": first_kernel}).items():
        stride = (strides | own_strides).get(each, 1)
        size, jump, start_pixel = extend_field(size, jump, start_pixel, kernel=kernel, stride=stride)
        print(each, size, jump, end="; ")
    print()

# %%
# The same for a whole network, by following an image through whatever functions it calls:
for each in config.layers:
    found = paper.receptive_field(model, each, (3, config.side, config.side))
    print(f"{each}: sees {found.size[0]} pixels, one every {found.jump[0]}")

# %% [markdown]
# ### Exercise 7 · Selectivity
#
# Section 3 silenced the most selective units.
# Write the measure: a unit's favorite class has the largest mean response $m$; $r$ is the mean of its mean responses to the other classes; $(m - r)/(m + r)$, and 0 for a unit that never fires.
# The classes are those that occur in `labels`.
# Mind their unequal size: first the mean of each class, then the mean of the means.


# %% tags=["exercise"]
def selectivity(responses, labels):
    """(m - r) / (m + r) of each unit: responses (N, K) >= 0, labels (N,) -> (K,) in [0, 1]."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
selectivity = lab.check(selectivity)

# %%
mixed = labels[torch.randperm(len(labels), generator=lab.generator("mixed labels"))]
for name, net in {"trained": model, "untrained": untrained}.items():
    for each, found in responses(net, config.layers, labelled).items():
        lab.record(f"selectivity, {name}/{each}", selectivity(found, labels).mean())
        lab.record(f"selectivity, {name}, mixed labels/{each}", selectivity(found, mixed).mean())

# %% [markdown]
# The largest of ten means lies above the others by chance, too, and most of all for units that fire rarely: compare each number with that for mixed labels before you call units choosy.
#
# ### Exercise 8 · Clip small pixels
#
# The same step serves the third and fourth regularizer: given a `size` for each pixel, set those pixels to 0, in all colors, whose size lies strictly below the given percentile of *their image* (as `torch.quantile` gives it).


# %% tags=["exercise"]
def clip_small(x, size, percentile):
    """Set small pixels to 0: x (B, C, H, W), size (B, 1, H, W), percentile in [0, 100) -> (B, C, H, W)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
clip_small = lab.check(clip_small)

# %% [markdown]
# Of eight pixels, two of which are not 0, clip the smaller half, then the smaller three quarters, then nine tenths:

# %% tags=["nbval-check-output"]
nearly_empty = torch.tensor([0.0, 0, 0, 1, 0, 0, 2, 0]).reshape(1, 1, 2, 4)
for percentile in (50, 75, 90):
    left = clip_small(nearly_empty, nearly_empty, percentile)
    print(percentile, "%:", left.flatten().tolist())

# %% [markdown]
# What lies below the percentile may be empty already, or nothing lies below it, as at 50 %, where it is 0 itself.
# So regularizers that clip do less and less to a picture that they have emptied.
#
# ### Is a pixel's contribution what the formula says?
#
# Take the first image of the row "blur" and 100 pixels drawn at random.
# Set one after the other to 0 (the mean color), or go only a hundredth of the way, and compare with $-x_p \cdot g_p$.

# %%
x = (images["blur"][1][:1] - mean).requires_grad_()  # (1, 3, H, W)
(gradient,) = torch.autograd.grad(model(x / std)[0, config.classes[0]], x)
x = x.detach()
predicted = -(x * gradient).sum(1).flatten()  # (H * W,)
tried = torch.randperm(len(predicted), generator=lab.generator("pixels"))[:100]
for share in (0.01, 1.0):  # of the way to zero
    without = x.flatten(2).repeat(100, 1, 1)  # (100, 3, H * W), each with less of one pixel
    without[torch.arange(100), :, tried] *= 1 - share
    with torch.no_grad():
        now, then = (model(each / std)[:, config.classes[0]] for each in (x, without.view(100, *x.shape[1:])))
    change = (then - now) / share  # (100,)
    ranks = spearmanr(change.abs(), predicted[tried].abs()).statistic  # clipping asks for the order of sizes
    lab.record(f"contribution/rank correlation, {share:.0%}", ranks)
    lab.record(f"contribution/slope, {share:.0%}", (change @ predicted[tried]) / predicted[tried].square().sum())
lab.claim("contribution")

# %% [markdown]
# ### Groups, directions, diversity
#
# A *set* of units can be climbed as well, or any direction in the space of a layer: `Readout(model, layer, directions)` says how far a layer goes along each row of a matrix.
# `Diverse` pushes the images of a batch apart: does a unit like more than one thing? (Pushed too hard, images become noise.)
# Below, four hidden units that fire on real images: what ascent draws for each with jitter, frequencies, decay and blur, then for the sum of each and the next, and four images for the first that are pushed apart.

# %%
with torch.no_grad():
    busy = FeatureMaps(model, config.hidden)(prepare(gallery))[config.hidden].amax((0, 2, 3))
hidden = sorted(busy.topk(4).indices.tolist())
front, regularize = ways["both, decay, blur"]["front"], decay_and_blur
single_units, _ = draw(hidden, front, regularize, hidden=True)
each_own = torch.eye(maps_of_hidden)[hidden]  # (4, K)
sums = Readout(model, config.hidden, each_own + each_own.roll(-1, 0))
together, _ = ascend(OwnUnit(lambda x: sums(front(x) / std), range(4)), 0, start(4), regularize=regularize, **climb)
first_unit = Readout(model, config.hidden, each_own[:1])
apart = Diverse(lambda x: first_unit(front(x)), model, last, weight=5.0)
different, _ = ascend(lambda x: apart(x / std), 0, start(4), regularize=regularize, **climb)
rows = {"a unit each": single_units, "with the next": together + mean, "the first, apart": different + mean}
lab.show(
    image_rows({name: thumbnails(signed(row - mean)) for name, row in rows.items()}, size=1.1 * inches),
    alt=f"First row, an image each for the units {', '.join(map(str, hidden))} of {config.hidden}; second row, one for the sum of each and the next; third row, four for the first unit, which are pushed apart.",
)

# %% [markdown]
# ### Do parts correspond?
#
# Zeiler and Fergus cover the same part (an eye, a nose) in images of different dogs, and ask whether a layer changes in the same way: $\Delta$ is the share of features whose change has another sign in two images, low where the layer takes the parts for the same thing.
# Here: patterns of one kind (digits, faces), of which the upper middle is covered, where faces have their eyes, against the same with as large a piece covered anywhere.
# The difference says whether a layer knows the part.

# %%
subject, quarter = prepare(scenes_with("test", kind)[0][:20]), config.side // 4
covered, anywhere = subject.clone(), subject.clone()
covered[:, :, quarter : 2 * quarter, quarter:-quarter] = 0
corners = torch.randint(0, 2 * quarter, (20, 2), generator=lab.generator("corners")).tolist()
for each, (row, column) in zip(anywhere, corners, strict=True):
    each[:, row : row + quarter, column : column + 2 * quarter] = 0
for each in config.layers:
    whole, same, other = (FeatureMaps(model, each)(part)[each].amax((2, 3)) for part in (subject, covered, anywhere))
    lab.record(f"correspondence/same part, {each}", correspondence(whole, same), unit="Delta")
    lab.record(f"correspondence/anywhere, {each}", correspondence(whole, other), unit="Delta")

# %% [markdown]
# ### Going further
#
# - Train the digit network with turns of up to 180 degrees (`angles` in `digit_scenes`). Which curve of section 2 changes, and what does it cost in accuracy?
# - Repeat the transfer above with 50 labels and with 1,000. How many convolutions should be kept then?
# - Draw with `YOSINSKI_SETS` of `labkit.papers.cnn_visualization`, the paper's four recommended sets. Which are nearest to a photograph?
# - Shuffle the layers one by one from the last to the first, as Adebayo and others do. Where does each picture begin to change?
#
# ### References
#
# - M. D. Zeiler, R. Fergus: *Visualizing and Understanding Convolutional Networks*, ECCV 2014, arXiv:1311.2901.
# - J. Yosinski, J. Clune, A. Nguyen, T. Fuchs, H. Lipson: *Understanding Neural Networks Through Deep Visualization*, ICML Deep Learning Workshop 2015, arXiv:1506.06579; their toolbox: [github.com/yosinski/deep-visualization-toolbox](https://github.com/yosinski/deep-visualization-toolbox).
# - J. Yosinski, J. Clune, Y. Bengio, H. Lipson: *How transferable are features in deep neural networks?*, NeurIPS 2014, arXiv:1411.1792.
# - J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller: *Striving for Simplicity: The All Convolutional Net*, ICLR Workshop 2015, arXiv:1412.6806.
# - A. Nguyen, J. Yosinski, J. Clune: *Deep Neural Networks are Easily Fooled*, CVPR 2015, arXiv:1412.1897.
# - J. Adebayo, J. Gilmer, M. Muelly, I. Goodfellow, M. Hardt, B. Kim: *Sanity Checks for Saliency Maps*, NeurIPS 2018, arXiv:1810.03292.
# - V. Petsiuk, A. Das, K. Saenko: *RISE: Randomized Input Sampling for Explanation of Black-box Models*, BMVC 2018, arXiv:1806.07421 (covering what a picture ranks first).
# - C. Olah, A. Mordvintsev, L. Schubert: *Feature Visualization*, Distill 2017, doi:10.23915/distill.00007.
# - A. S. Morcos, D. G. T. Barrett, N. C. Rabinowitz, M. Botvinick: *On the importance of single directions for generalization*, ICLR 2018, arXiv:1803.06959.
# - F. N. Iandola, S. Han, M. W. Moskewicz, K. Ashraf, W. J. Dally, K. Keutzer: *SqueezeNet*, arXiv:1602.07360, 2016.
