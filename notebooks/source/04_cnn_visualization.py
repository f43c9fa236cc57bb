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
# | **Afterwards you can** | look at filters and feature maps of any network by the names of its layers, find what a unit detects and test that it does, draw an image that a unit likes, project an activation back to the pixels in three ways, and tell a picture that explains a network from one that merely looks good |
# | **You need** | convolution, max pooling, the chain rule; a first idea of PyTorch's autograd |
# | **Time** | 140 minutes with the exercises; at `quick` the notebook itself runs in about a minute |
# | **Level** | intermediate |
# | **Paper** | M. D. Zeiler, R. Fergus, *Visualizing and Understanding Convolutional Networks*, ECCV 2014; J. Yosinski, J. Clune, A. Nguyen, T. Fuchs, H. Lipson, *Understanding Neural Networks Through Deep Visualization*, ICML Deep Learning Workshop 2015 |
# | **Also** | a review of both, in Korean, after a textbook of machine learning |
#
# **Claims that you will test.** Some hold, some do not, and some need a control to be worth anything.
#
# | claim | source | section |
# |---|---|---|
# | The first layer learns edges and blobs, whatever the data and the task | review | 1 |
# | A unit fires on its pattern whatever its size, its direction, the light, the background (four claims) | review | 2 |
# | After a few layers the representation is local: one unit tells what all together tell | review | 3 |
# | Whoever loses the three most selective units for a class loses that class | implied by the review | 3 |
# | Without regularization, ascent adds a pattern unlike a photograph, and the network is sure of it | Yosinski | 4 |
# | Each of the four regularizers makes the picture more like a photograph | Yosinski | 4 |
# | Without a pixel the activation changes, to first order, by minus the pixel's value times its gradient | Yosinski | 4 |
# | A deconvnet is backpropagation with another rule for the ReLU | Zeiler & Fergus | 5, 6 |
# | Guided backpropagation reaches only what gradient and deconvnet both reach | follows from its rule | 5 |
# | The nine strongest images of a unit differ more than their projections | Zeiler & Fergus | 5 |
# | A picture made by guided backpropagation shows what the last layer has learned | this lesson | 5 |

# %% [markdown]
# New to these lessons? The learner's guide, `docs/learner.md` (*Learn alone* on the course's site), says how exercises, predictions, claims and profiles work.
#
# `profile` chooses the network that you look into. At `quick` you train it yourself, in seconds: digits on photographs. At `full` it is SqueezeNet, at `paper` AlexNet, both trained on the 1.2 million
# photographs of ImageNet; with these, section 2 looks for a detector of faces. The small networks are trained at every profile: for comparison, and for what is written out by hand.

# %% tags=["parameters"]
profile = "quick"  # "quick" (a network that you train), "full" (SqueezeNet) or "paper" (AlexNet)
seed = 0  # another seed: other initial weights, other scenes, other noise to start from

# %%
from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass, replace
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

# %%
import labkit
import labkit.data
from labkit.data import backgrounds, digit_scenes, place, pretrained, soft_disc
from labkit.lab.evaluate import accuracy, predict, roc_auc
from labkit.lab.figures import bars, beside, image_rows, panels
from labkit.lab.speed import channels_last
from labkit.lab.training import fit
from labkit.lab.widgets import image_choices
from labkit.papers import cnn_visualization as paper
from labkit.papers.cnn_visualization import Deconvnet, FeatureMaps, Regularizers, activation_maximization
from labkit.papers.image_patches import gabor_fit

lab = labkit.start("04_cnn_visualization", profile=profile, seed=seed)


# %%
@dataclass(frozen=True)
class Config:
    network: str  # whose inside we look at
    side: int  # pixels of a scene, and of the images that ascent makes
    layers: tuple[str, ...]  # hidden layers, behind their ReLU, from the first to the last
    hidden: str  # the convolution before the last of them, for ascent
    output: str  # the layer with one unit for each class
    epochs: int  # passes for the digit network, each over scenes that are drawn anew
    photo_epochs: int  # the same for the photograph network, whose task is easier
    positives: int  # patterns with which a detector is found, and again tested; each time as many others
    pool: int  # images among which each unit finds its nine best
    steps: int  # of gradient ascent with one regularizer
    set_steps: int | None  # with Yosinski's sets; None for the published number
    lr: float  # the largest eta of ascent; at `full` and `paper` Yosinski's, for pixels from 0 to 1
    gain: float | None  # how much a step of ascent should raise the activation; None: eta is always `lr`
    scenes: int = 4000  # drawn for each pass
    learning_rate: float = 5e-3  # largest step size of AdamW, reached after a third of the training
    sizes: tuple[float, ...] = (0.35, 0.5, 0.65, 0.8, 0.95)  # shares of the scene's side that a pattern takes
    angles: tuple[int, ...] = (-180, -135, -90, -45, -20, 0, 20, 45, 90, 135)  # in degrees, counter-clockwise
    lights: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)  # factors of the brightness


# %%
squeezenet = ("features.1", "features.4", "features.7", "features.10", "features.12")
alexnet = ("features.1", "features.4", "features.7", "features.9", "features.11")

# %%
quick = Config(
    *("digits", 28, ("relu1", "relu2", "relu3"), "conv3", "logits"),
    epochs=9,
    photo_epochs=3,
    scenes=2800,
    positives=100,
    pool=1500,
    steps=80,
    set_steps=80,
    lr=1.0,
    gain=1.0,
)

# %%
full = Config(
    *("squeezenet1_0", 160, squeezenet, "features.12.expand3x3", "classifier.1"),
    epochs=12,
    photo_epochs=4,
    positives=50,
    pool=1000,
    steps=80,
    set_steps=120,
    lr=100 / 255**2,
    gain=None,
)

# %%
as_published = replace(full, epochs=30, photo_epochs=10, pool=2000, steps=500, set_steps=None)
config = lab.choose(
    quick=quick,
    full=full,
    paper=replace(
        as_published, network="alexnet", side=224, layers=alexnet, hidden="features.10", output="classifier.6"
    ),
)

# %% [markdown]
# **Why look inside?** As long as nobody knows what a layer represents, nobody can say which layers to keep when few images have labels, or when the task changes (*transfer learning*). The review names three
# ways to look: at filters (section 1), at feature maps (2, 3), and from a unit back into the space of images (4, 5).
#
# ## 1 · Filters
#
# **Intuition.** The first layer of a convolutional network works on pixels. So its weights *are* small pictures, and one can simply look at them. For deeper layers that is lost: their weights mix channels that have no colour.
#
# **Mathematics.** A filter $w \in \mathbb R^{C \times h \times h}$, $C = 3$ colours and $h \times h$ pixels, is laid on each place of the image. With the patch that it covers it makes one number, the sum of all products and a bias $b$: $z = \langle w, \text{patch} \rangle + b$. Among patches of one norm, $z$ is largest for the one that *looks like* the filter.
#
# ### A network to look into
#
# Its task: name a handwritten digit of any colour, size and place on a piece of a colour photograph. Whoever solves that has something to be *invariant* to: size, direction, light and background, the four things that this lesson will change one by one. Training and test pieces come from different halves of the photographs.

# %%
mnist, photographs = labkit.data.load("mnist", profile=profile), labkit.data.load("photos", profile=profile)
print(mnist.source, photographs.source, sep="\n")


# %%
def scenes(part, count, name):
    """Digits on photographs: images (count, 3, 28, 28), the digits, and which photograph is behind."""
    digits = mnist.train if part == "train" else mnist.test
    return digit_scenes(
        digits, photographs, side=28, part=part, count=count, sizes=(18, 28), generator=lab.generator(name)
    )


# %%
test_scenes = scenes("test", 1000, "test scenes")

# %%
lab.show(
    image_rows({"test": test_scenes.images[:10]}, columns=[str(int(y)) for y in test_scenes.labels[:10]], size=0.9),
    alt="Ten test scenes with their labels below: handwritten digits in various colours, sizes and directions, on pieces of colour photographs.",
)


# %%
def small_cnn(classes, name):
    """Three convolutions, each with ReLU and 2 x 2 max pooling, and a linear layer."""
    with lab.seeded(name):
        net = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 12, 7, padding=3),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),  # 28 -> 14
                conv2=nn.Conv2d(12, 24, 5, padding=2),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),  # 14 -> 7
                conv3=nn.Conv2d(24, 48, 3, padding=1),
                relu3=nn.ReLU(),
                pool3=nn.MaxPool2d(2),  # 7 -> 3
                flatten=nn.Flatten(),
                logits=nn.Linear(48 * 3 * 3, classes),
            )
        )
    # faint, for filters that are easier to see
    nn.init.normal_(net.conv1.weight, std=0.015, generator=lab.generator(name))
    return net


# %% [markdown]
# The same architecture, twice, for two tasks on the same kind of scenes: **which digit** is it (the *digit network*), and **which photograph** is behind it (the *photograph network*)? Both start with faint filters and decay their weights strongly. Otherwise, after so
# short a training, the noise of the start would hide what was learned.


# %%
def standard(images):
    """Pixels from [0, 1] to about [-2, 2], as these networks are trained."""
    return (images - 0.5) / 0.25


# %%
def train(name, classes, answer, epochs):
    model = channels_last(small_cnn(classes, name))
    # a decay so strong that the noise of the start fades from the filters
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.5)
    steps = epochs * -(-config.scenes // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps + 1)
    for epoch in range(epochs):
        drawn = scenes("train", config.scenes, f"{name}, pass {epoch}")
        fit(
            model,
            lambda model, x, y, _: F.cross_entropy(model(x), y),
            standard(drawn.images),
            answer(drawn),
            epochs=1,
            batch_size=64,
            generator=lab.generator(f"{name}, order {epoch}"),
            optimizer=optimizer,
            schedule=schedule,
            label=f"{name}, pass {epoch + 1} of {epochs}",
        )
    return model.to(memory_format=torch.contiguous_format)  # faster for gradients with respect to images


# %%
digit_net = train("digit network", 10, lambda scenes: scenes.labels, config.epochs)
photo_net = train("photograph network", len(photographs.colour), lambda scenes: scenes.backgrounds, config.photo_epochs)
x = standard(test_scenes.images)
lab.record("digit network/accuracy", accuracy(digit_net, x, test_scenes.labels), unit="share of 1,000 test scenes")
lab.record("photograph network/accuracy", accuracy(photo_net, x, test_scenes.backgrounds), unit="share")

# %% [markdown]
# From here on, `model` is the network under study: the digit network at `quick`, a network trained on ImageNet otherwise. `untrained` is its twin: the same weights, shuffled within each layer. They have the same distribution and have
# lost what was learned. Whatever we see in `model` and see in `untrained` as well is the architecture's doing, not learning's.

# %%
if config.network == "digits":
    model, mean, std = digit_net, torch.full((3,), 0.5), torch.full((3,), 0.25)
    class_names = [f"digit {d}" for d in range(10)]
else:
    imagenet = pretrained(config.network)
    print(imagenet.source)
    model, mean, std, class_names = imagenet.model, imagenet.mean, imagenet.std, imagenet.categories
untrained = paper.randomized(model, lab.generator("untrained"))


# %%
def prepare(images):
    """Images in [0, 1] as `model` takes them."""
    return (images - mean[:, None, None]) / std[:, None, None]


# %%
def logits(x):
    """What `model` says to prepared images before any softmax, (B, classes)."""
    if config.network != "squeezenet1_0":
        return model(x)
    scores = nn.Sequential(model.features, *model.classifier[:2])(x)  # without the ReLU in which SqueezeNet ends
    return scores.mean((2, 3))


# %%
def short(c):
    """The first name of a class, for figures."""
    return class_names[c].removeprefix("digit ").split(",")[0][:14]


# %% [markdown]
# Weights have no natural brightness. So each filter is stretched from its own smallest to its own largest weight, which shows the pattern of weak filters too. (With `scale="common"` you would see which are weak.)
#
# **Predict.** Which of these networks have filters like edges? Would you know the untrained one?

# %%
nets = {"digits": digit_net, "photographs": photo_net, "untrained": untrained}
if model is not digit_net:
    nets = {config.network: model} | nets
first = {name: next(m for m in net.modules() if isinstance(m, nn.Conv2d)).weight for name, net in nets.items()}
columns = 2 if model is not digit_net else 3

# %%
figure, axes = panels(-(-len(nets) // columns), columns, width=3.6, height=3.8)
for ax, (name, weight) in zip(axes.flat, first.items(), strict=True):
    grid = paper.filter_grid(weight, columns=4 if len(weight) == 12 else 10)
    ax.imshow(grid.permute(1, 2, 0))
    ax.set_title(f"{name}: {len(weight)} filters, {weight.shape[2]} x {weight.shape[3]}", fontsize=11)
    ax.set_axis_off()
lab.show(
    figure,
    alt="The filters of the first layers as small colour pictures, one panel for each network: "
    + ", ".join(nets)
    + ". In the untrained panel each filter is noise. In the digits panel most have a light and a dark side; in the photographs panel many are nearly one colour.",
)

# %% [markdown]
# "Edges and blobs" is easily said of any picture with some structure. So measure it. An **edge** is a Gabor function, a wave under a bell; a **blob** is the same with hardly any wave. `gabor_fit` from lesson 02 finds the best of some thousands for a small picture in one
# colour. A filter has three. So first take the mean of each colour away: a filter of one *even* colour has no shape at all, and would be fitted perfectly. Then take the direction in colour space that holds most of what remains (its first singular vector). Our
# measure, $R^2$, is the share of the energy (the sum of squared weights) of what remains that one colour direction times one Gabor explains. How much was even colour is noted, too.


# %%
def flat_part(weight):
    """Share of each filter's energy that is one flat colour: (K, 3, h, h) -> (K,)."""
    return weight.mean((2, 3)).square().sum(1) * weight[0, 0].numel() / weight.square().sum((1, 2, 3))


# %%
def edge_or_blob(weight):
    """Share of the rest of each filter's energy that one colour times one Gabor explains: (K, 3, h, h) -> (K,)."""
    varying = weight - weight.mean((2, 3), keepdim=True)
    _, s, v = torch.linalg.svd(varying.flatten(2), full_matrices=False)  # (K, 3, 3), (K, 3), (K, 3, h*h)
    return s[:, 0] ** 2 / s.square().sum(1) * gabor_fit(v[:, 0], weight.shape[-1]).explained


# %%
explained = {name: edge_or_blob(weight.detach()) for name, weight in first.items()}
flat = {name: flat_part(weight.detach()).median() for name, weight in first.items()}
for name, share in explained.items():
    lab.record(f"filters/{name}", share.median(), unit="median R^2 of an edge or blob")
    lab.record(f"filters/{name}, flat", flat[name], unit="median share of the energy")

# %%
figure, ax = panels(width=6, height=3)
for name, share in explained.items():
    ax.plot(share.sort().values, np.linspace(0, 1, len(share)), label=name)
ax.set(xlabel="$R^2$ of one edge or blob, without flat colour", ylabel="share of filters with less", xlim=(0, 1))
ax.legend(frameon=False)
lab.show(
    figure,
    alt="Distribution of how much of a filter one edge or blob explains, a rising curve for each network. Medians: "
    + ", ".join(f"{name} {share.median():.2f}" for name, share in explained.items())
    + ".",
)

# %%
lab.claim(
    "The first layer learns edges and blobs, whatever the data and the task: in every trained network they explain at least half of the median filter, and more than in the untrained one.",
    holds=all(
        share.median() >= max(0.5, explained["untrained"].median())
        for name, share in explained.items()
        if name != "untrained"
    ),
    evidence={name: share.median() for name, share in explained.items()}
    | {f"{name}, flat": share for name, share in flat.items()},
    source="review, on filters",
    reason="Where it fails, look at the flat shares: a network whose task can be solved by mean colours learns flat colours, and few shapes. (Whoever calls a flat colour a blob, too, may judge otherwise: it hangs on a word.)",
)

# %% [markdown]
# ## 2 · Feature maps, and what a unit detects
#
# **Intuition.** From the second layer on, look at what a layer *gives out* instead. For each of its $K$ filters ("channels", "units") that is a **feature map**: a small grey picture that is bright where the filter found what it looks for.
#
# `FeatureMaps(model, layers)` fetches them from any network, by the names of its layers, and leaves the network as it was. Those of one test image, or at `full` and `paper` of a photograph:

# %%
if model is digit_net:
    gallery = test_scenes.images[:8]  # (8, 3, 28, 28)
else:
    wanted = [image[None] for image in photographs.colour.values()]
    square = [image[..., : min(image.shape[2:]), : min(image.shape[2:])] for image in wanted]
    resized = [F.interpolate(image, (config.side,) * 2, mode="bilinear", antialias=True) for image in square]
    gallery = torch.cat(resized).clamp(0, 1)  # (6, 3, side, side)
maps = FeatureMaps(model, config.layers)(prepare(gallery))

# %%
print({layer: tuple(found.shape[1:]) for layer, found in maps.items()}, "channels, rows, columns")

# %%
figure, axes = panels(len(config.layers), 9, width=1.15, height=1.25)
for row, layer in zip(axes, config.layers, strict=True):
    inner = maps[layer][0, :, 1:-1, 1:-1]  # the rim sees padding
    strongest = inner.amax((1, 2)).topk(8).indices  # the eight channels that fire most
    row[0].imshow(gallery[0].permute(1, 2, 0))
    row[0].set_ylabel(layer, fontsize=10)
    for ax, channel in zip(row[1:], strongest, strict=True):
        ax.imshow(maps[layer][0, channel], cmap="gray")
        ax.set_title(f"{int(channel)}", fontsize=9)
    for ax in row:
        ax.set(xticks=[], yticks=[])
lab.show(
    figure,
    alt=f"One image at the left of each row, and in the row the eight feature maps of a layer that fire most, {' then '.join(config.layers)}. "
    "Each map is scaled to its own largest value; from row to row the maps never get finer. Black is an activation of 0.",
)

# %% [markdown]
# In Jupyter, browse: the image at the left, the feature map at the right, each map scaled by its own largest value.

# %%
first_channels = range(min(found.shape[1] for found in maps.values()))


def browse(layer, channel, image):
    """An image and what a channel of a layer makes of it, side by side."""
    return beside(gallery[image], maps[layer][image, channel])


# %% tags=["widget"]
image_choices(
    browse,
    {"layer": config.layers, "channel": first_channels, "image": range(len(gallery))},
    scale=max(1, 224 // config.side),
)

# %% [markdown]
# Two things to look for in the figure. How coarse is a map? With each pooling its pixels get larger, which is arithmetic, and an exercise. And how many places light up? Compare the rows, and the channels within a row. (A line along the rim answers to the zeros with which the image is padded.)
#
# ### How much of the image does a unit see?
#
# Its **receptive field** is the part of the image on which it depends, `size` pixels along an axis. (In this part a *unit* is one place of a map; elsewhere, a whole channel.) Neighbouring units see fields that lie `jump` pixels apart; that of unit 0 begins at pixel `start`, which is negative where padding is seen. The image itself has size 1, jump 1, start 0.
#
# ### Exercise 1 · One more layer
#
# What does a convolution or pooling with a given kernel, stride, padding (at each end, counted in units of the layer below) and dilation (distance between the kernel's weights, also in units of the layer below) do to the three numbers?


# %% tags=["exercise"]
def extend_field(size, jump, start, *, kernel, stride=1, padding=0, dilation=1):
    """The receptive field behind one more layer, along one axis: (size, jump, start) -> (size, jump, start)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
extend_field = lab.check(extend_field)

# %% [markdown]
# Follow AlexNet by hand, as the review's picture does. Its first layer has 11 x 11 filters with stride 4. Zeiler and Fergus looked at those filters, found the middle frequencies missing and the second layer full of aliasing, and changed them to
# 7 x 7 with stride 2.

# %% tags=["nbval-check-output"]
kernels = {"conv1": 0, "pool1": 3, "conv2": 5, "pool2": 3, "conv3": 3, "conv4": 3, "conv5": 3}
strides = {"pool1": 2, "pool2": 2}
networks = {"AlexNet": (11, {"conv1": 4}), "Zeiler & Fergus": (7, {"conv1": 2, "conv2": 2})}
for name, (first_kernel, own_strides) in networks.items():
    print(name, end=": ")
    size, jump, start = 1, 1, 0
    for each, kernel in (kernels | {"conv1": first_kernel}).items():
        stride = (strides | own_strides).get(each, 1)
        size, jump, start = extend_field(size, jump, start, kernel=kernel, stride=stride)
        print(each, size, jump, end="; ")
    print()

# %% [markdown]
# With the smaller filters and stride a unit of pool1 sees 11 pixels instead of 19, and neighbours are 4 pixels apart instead of 8. The second layer makes up for it with a stride of 2, so that from pool2 on both networks have one unit every 16 pixels.
#
# `receptive_field(model, layer)` does the same for a whole network, by following an image through whatever functions it calls. For the layers of `model`:

# %%
fields = {layer: paper.receptive_field(model, layer, (3, config.side, config.side)) for layer in config.layers}
for layer, found in fields.items():
    print(f"{layer}: sees {found.size[0]} pixels, one every {found.jump[0]}")
lab.record("field/last layer", fields[config.layers[-1]].size[0], unit="pixels")

# %% [markdown]
# ### Find a detector, then doubt it
#
# The review shows a feature map of a network trained on ImageNet. It fires on faces of people and animals, although none of the 1,000 classes is called "face", and does so, says the review, whatever their size, direction, light or background. Four claims; let us take them one by one.
#
# 1. **Find.** Show the network patterns and others on random pieces of photographs: at `quick` each digit against the other nine, otherwise faces against patches of photographs without a face. Take the strongest response of each channel anywhere in the image. Which channel separates patterns from others best? Measure by the **AUC** (area under the ROC curve): the
#    probability that a pattern excites it more than another image; 1/2 is chance.
# 2. **Test** on patterns and backgrounds that were not used to find it. The best of many channels is flattered by luck.
# 3. **Doubt**: search for the same pattern in the untrained network.


# %%
def responses(net, layers, images):
    """The strongest response of each channel in each image of [0, 1]: {layer: (N, K)}."""
    parts = [FeatureMaps(net, layers)(prepare(part)) for part in images.split(100)]
    return {layer: torch.cat([part[layer].amax((2, 3)) for part in parts]) for layer in layers}


# %%
def clean(split):
    """Faces and other patches, all of one mean and contrast, without the patches that are partly black."""
    black = (split.images == 0).float().mean((1, 2, 3))  # no face has a black border: it would give the others away
    whole = black < 0.02
    images = split.images[whole]
    images = (images - images.mean((2, 3), keepdim=True)) / images.std((2, 3), keepdim=True)
    return (0.5 + 0.2 * images).clamp(0, 1), split.labels[whole]


# %%
if model is digit_net:
    kinds, disc, scenery = range(10), None, photographs
    split = {"find": (mnist.train.images, mnist.train.labels), "test": (mnist.test.images, mnist.test.labels)}
else:
    faces = labkit.data.load("faces", profile=profile)
    split = {"find": clean(faces.train), "test": clean(faces.test)}
    kinds, disc = [1], soft_disc(25, 25)  # 1: a face; shown in a disc, so that its square outline does not matter
    faceless = {name: image for name, image in photographs.colour.items() if name not in ("astronaut", "chelsea")}
    scenery = replace(photographs, colour=faceless)


# %%
def patterns(part, kind):
    """Up to `config.positives` patterns of a kind (a digit, faces), as many others, and which is which."""
    images, labels = split[part]
    chosen = [torch.where(mask)[0][: config.positives] for mask in (labels == kind, labels != kind)]
    return images[torch.cat(chosen)], torch.arange(sum(map(len, chosen))) < len(chosen[0])


# %%
def on_photographs(part, chosen, size=0.8, angle=0, light=1.0, behind=None):
    """Patterns (N, 1, h, w) in the middle of pieces of photographs, or of what is given as `behind`."""
    if behind is None:
        name = "train" if part == "find" else "test"
        behind, _ = backgrounds(scenery, config.side, len(chosen), lab.generator(f"behind {part}"), part=name)
    return place(chosen, behind, size=size * config.side, angle=angle, brightness=light, alpha=disc)


# %%
def find_detector(net, kinds):
    """The channel of the hidden layers, and the kind of pattern, with the highest AUC on the images for finding."""
    best = (0.0,)
    for kind in kinds:
        chosen, positive = patterns("find", kind)
        for layer, found in responses(net, config.layers, on_photographs("find", chosen)).items():
            separates = roc_auc(found, positive)
            best = max(best, (separates.max().item(), layer, separates.argmax().item(), kind))
    return best


# %%
auc_found, layer, channel, kind = find_detector(model, kinds)
untrained_auc_found, untrained_layer, untrained_channel, _ = find_detector(untrained, [kind])
lab.record("untrained/AUC when found", untrained_auc_found)
what = f"digit {kind}" if model is digit_net else "a face"
print(f"channel {channel} of layer {layer} is the best detector of {what}")
lab.record("detector/AUC when found", auc_found)

# %%
chosen, positive = patterns("test", kind)
shown = on_photographs("test", chosen)
detector = FeatureMaps(model, layer)(prepare(shown))[layer][:, channel]  # (N, h, w)

# %%
figure, axes = panels(2, 8, width=1.3, height=1.35)
for i, column in zip([*torch.where(positive)[0][:4], *torch.where(~positive)[0][:4]], axes.T, strict=True):
    column[0].imshow(shown[i].permute(1, 2, 0))
    column[1].imshow(detector[i], cmap="gray", vmin=0, vmax=detector.max())
    column[0].set_title(f"{detector[i].max():.1f}", fontsize=10)
    for ax in column:
        ax.set(xticks=[], yticks=[])
lab.show(
    figure,
    alt=f"Above, eight scenes: the first four hold {what}, the others do not. Below, the feature map of channel {channel} of {layer} for each, all on one scale. The strongest response "
    f"stands over each scene; it is {detector[positive].amax((1, 2)).median():.1f} in the median over all with {what} and {detector[~positive].amax((1, 2)).median():.1f} over the others.",
)

# %% [markdown]
# Now change one thing at a time, over a range that goes beyond what the network was trained with (at `quick`: sizes of 0.64 to 1 of the side, turns up to 15 degrees, brightness of 0.75 to 1.25).
#
# **Predict.** Which of the four will the detector stand? In which will the untrained one come close?

# %%
grey = torch.full((len(chosen), 3, config.side, config.side), 0.5)
noise = torch.rand(grey.shape, generator=lab.generator("noise"))
other, _ = backgrounds(scenery, config.side, len(chosen), lab.generator("other"), part="test")

# %%
changes = {
    "size": {size: {"size": size} for size in config.sizes},
    "direction": {angle: {"angle": angle} for angle in config.angles},
    "light": {light: {"light": light} for light in config.lights},
    "background": {"photo": {}, "another": {"behind": other}, "grey": {"behind": grey}, "noise": {"behind": noise}},
}
detectors = {"detector": (model, layer, channel), "untrained": (untrained, untrained_layer, untrained_channel)}
curves = {}  # (name, change): AUCs

# %%
for change, values in changes.items():
    for options in values.values():
        images = on_photographs("test", chosen, **options)
        for name, (net, where, unit) in detectors.items():
            found = responses(net, [where], images)[where][:, [unit]]
            curves.setdefault((name, change), []).append(roc_auc(found, positive).item())
lab.record_all({f"{name}/unchanged": curves[name, "background"][0] for name in detectors}, unit="AUC")
lab.record_all({f"{name}/{change}, lowest": min(found) for (name, change), found in curves.items()}, unit="AUC")

# %%
figure, axes = panels(1, 4, width=3.2, height=3, sharey=True)
for ax, (change, values) in zip(axes, changes.items(), strict=True):
    for name in detectors:
        ax.plot(range(len(values)), curves[name, change], marker="o", label=name)
    ax.set_xticks(range(len(values)), [str(value) for value in values], rotation=90 if change == "direction" else 0)
    ax.axhline(0.5, color="gray", linewidth=0.8, linestyle=":")
    ax.set(title=change, ylim=(0, 1.02))
axes[0].set_ylabel("AUC")
axes[0].legend(frameon=False)
lab.show(
    figure,
    alt=f"How well the detector of {what} separates, as one thing changes, beside the best channel of the untrained network. Lowest AUC of the detector: "
    + ", ".join(f"{min(curves['detector', change]):.2f} over {change}" for change in changes)
    + "; of the untrained: "
    + ", ".join(f"{min(curves['untrained', change]):.2f} over {change}" for change in changes)
    + ".",
)

# %%
unchanged = lab.metrics["detector/unchanged"]

# %%
for change, values in changes.items():
    found = dict(zip(values, curves["detector", change], strict=True))
    worst = min(found, key=found.get)
    lab.claim(
        f"A unit fires on its pattern whatever the {change}: over the whole range its AUC falls by less than 0.1.",
        holds=found[worst] > unchanged - 0.1,
        evidence={
            "unchanged": unchanged,
            "lowest": found[worst],
            "where": str(worst),
            "untrained, lowest": min(curves["untrained", change]),
        },
        source="review, on feature maps",
        reason="If it breaks, the curve shows where, not why. At `quick` the range of the training scenes is known: where a loss begins outside it, that change was not learned. Nor is it built in: pooling and weights that are shared over places help against shifts.",
    )

# %% [markdown]
# Read each "whatever" off its curve: where does it break? In photographs a face rarely lies on its side or stands on its head, and no digit of the training scenes was turned by more than 15 degrees. (But a 0, a 1 or an 8 looks much the same upside down: mind which digit was found.) Invariance is a fact about the training data, too. Mind also what AUC does *not* say. Patterns and others are changed together: it asks whether the unit still tells them apart, not whether it still fires. And that a unit separates a pattern
# from the others of one data set does not make it a unit for this pattern. Section 5 shows what else excites it.
#
# ## 3 · Local or distributed?
#
# **Intuition.** Do single units stand for things (a *local* representation), or does only the pattern over all units (a *distributed* one)? The review concludes from the face unit that, against what had been believed, a representation becomes local after a few layers, and takes this as a guide for transfer learning. One unit that works well is no proof:
# compare it with what all units together can do, and see what is lost without it.
#
# ### What one unit knows, and what all know
#
# A linear readout (logistic regression) of all channels of a layer, trained on the images for finding and tested on the others, against the best single channel. It is fitted to 200 images at most: all together may well know more than it shows.
# At `quick`, moreover, the pattern is the one of ten for which a *single* channel was best. Both favour the claim.
#
# **Predict.** In which layer will one channel come closest to all? And in the untrained network?


# %%
def one_and_all(net, layer, kind):
    """Test AUC of the best single channel (found on other images), and of a linear readout of all channels."""
    (chosen, positive), (held_out, truth) = patterns("find", kind), patterns("test", kind)
    found = responses(net, [layer], on_photographs("find", chosen))[layer]
    later = responses(net, [layer], on_photographs("test", held_out))[layer]
    readout = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(found, positive)
    best = roc_auc(found, positive).argmax()
    return roc_auc(later[:, best], truth).item(), roc_auc_score(truth, readout.decision_function(later))


# %%
for name, net in {"trained": model, "untrained": untrained}.items():
    for each in config.layers:
        one, both = one_and_all(net, each, kind)
        lab.record_all({f"{name}, one unit/{each}": one, f"{name}, all units/{each}": both}, unit="AUC")

# %%
figure, ax = panels(width=6, height=3.2)
lines = {}
for name in ("trained, one unit", "trained, all units", "untrained, one unit", "untrained, all units"):
    lines[name] = [lab.metrics[f"{name}/{each}"] for each in config.layers]
    ax.plot(config.layers, lines[name], marker="o", label=name)
ax.set(ylabel="AUC", ylim=(0.4, 1.02), xlabel="layer")
ax.legend(frameon=False, fontsize=10)
lab.show(
    figure,
    alt=f"AUC of {what} against others, layer by layer, from {config.layers[0]} to {config.layers[-1]}: "
    + "; ".join(f"{name} from {line[0]:.2f} to {line[-1]:.2f}" for name, line in lines.items())
    + ".",
)

# %%
last = config.layers[-1]

# %%
lab.claim(
    "After a few layers the representation is local: in the last hidden layer one unit separates (nearly) as well as all units together (AUC at most 0.05 lower, about two standard errors).",
    holds=lab.metrics[f"trained, one unit/{last}"] >= lab.metrics[f"trained, all units/{last}"] - 0.05,
    evidence={name: line[-1] for name, line in lines.items()},
    source="review, on feature maps",
    reason="A good unit does not mean that the others know nothing: where all together are better, what is known is spread over them.",
)

# %% [markdown]
# ### How choosy is a unit?
#
# Give the network images of several classes. A unit's favourite class is the one with the largest mean response, $m$. Its **selectivity** compares $m$ with the mean $r$ of its mean responses to the other classes: $(m - r) / (m + r)$. It is 1 for a unit that fires for one class only and 0 for one that does not care.
#
# ### Exercise 2 · Selectivity
#
# A unit that never fires has selectivity 0. Mind classes of unequal size: first the mean of each class, then the mean of the means.


# %% tags=["exercise"]
def selectivity(responses, labels):
    """(m - r) / (m + r) of each unit: responses (N, K) >= 0, labels (N,) -> (K,) in [0, 1]."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
selectivity = lab.check(selectivity)

# %%
if model is digit_net:
    (labelled, fresh), (labels, fresh_labels) = test_scenes.images.split(500), test_scenes.labels.split(500)
else:  # real photographs in ten classes, small but with labels
    cifar = labkit.data.load("cifar10", profile=profile)
    small, (labels, fresh_labels) = cifar.test.images[::5][:400], cifar.test.labels[::5][:400].split(200)
    labelled, fresh = F.interpolate(small, (112, 112), mode="bilinear", antialias=True).split(200)
mixed = labels[torch.randperm(len(labels), generator=lab.generator("mixed labels"))]
choosy = {}

# %%
for name, net in {"trained": model, "untrained": untrained}.items():
    for each, found in responses(net, config.layers, labelled).items():
        choosy[name, each] = selectivity(found, labels)
        lab.record(f"selectivity, {name}/{each}", choosy[name, each].mean())
        lab.record(f"selectivity, {name}, mixed labels/{each}", selectivity(found, mixed).mean())

# %%
figure, ax = panels(width=6, height=3.2)
for shift, name in ((-0.17, "trained"), (0.17, "untrained")):
    parts = ax.boxplot(
        [choosy[name, each].numpy() for each in config.layers],
        positions=np.arange(len(config.layers)) + shift,
        widths=0.28,
        showfliers=False,
        patch_artist=True,
        medianprops={"color": "black"},
    )
    for box in parts["boxes"]:
        box.set(facecolor="#3f90da" if name == "trained" else "white", label=name if box is parts["boxes"][0] else None)
    chance = [lab.metrics[f"selectivity, {name}, mixed labels/{each}"] for each in config.layers]
    ax.scatter(np.arange(len(chance)) + shift, chance, marker="x", color="black", zorder=3)
ax.set_xticks(range(len(config.layers)), config.layers)
ax.set(ylabel="selectivity", ylim=(0, 1))
ax.legend(frameon=False)
lab.show(
    figure,
    alt="Selectivity of the units of each layer as boxes (quartiles), trained filled and untrained white, with a cross at the mean for mixed labels. Means of the trained network: "
    + ", ".join(f"{lab.metrics[f'selectivity, trained/{each}']:.2f} in {each}" for each in config.layers)
    + f"; untrained in {last}: {lab.metrics[f'selectivity, untrained/{last}']:.2f}.",
)

# %% [markdown]
# A cross is the mean selectivity of the same responses when the labels are mixed at random. Compare each box with its cross before you call units choosy. The *largest* of ten means lies above the others by chance, too, and most of all for units that fire rarely. The untrained network does not show by how much, as its units may fire more or less often; mixed labels do.
#
# ### What is lost without a unit?
#
# Choose units of the last hidden layer and silence them: set their maps to 0. Then take images that did not serve to choose the units, and count those on which the network still decides as it did before. If the representation were local, whoever silenced the three most selective units for a class would lose that class, and no other.
# (At `full` and `paper` the classes of the images are the ten of CIFAR-10; the network decides among the 1,000 of ImageNet.)
#
# **Predict.** Three units are silent. Which share of the decisions changes for images of their favourite class? For those of the other classes? And for the favourite class, if the three are drawn at random?


# %%
def decisions(images, silent=()):
    """What the network says when these units of its last hidden layer are silent, (N,)."""
    with paper.ablated(model, last, list(silent)):
        return predict(lambda x: model(prepare(x)), images, batch_size=100).argmax(1)


# %%
whole = decisions(fresh)
favourite = torch.stack([responses(model, [last], labelled)[last][labels == c].mean(0) for c in range(10)]).argmax(0)
kept = {"its class": [], "other classes": [], "its class, random units": []}

# %%
for c in range(10):
    order = torch.where(favourite == c, choosy["trained", last], -1.0).argsort(descending=True)
    three = order[: min(3, int((favourite == c).sum()))].tolist()
    at_random = torch.randperm(len(favourite), generator=lab.generator(f"silence {c}"))[: len(three)].tolist()
    if three:
        same, same_at_random = decisions(fresh, three) == whole, decisions(fresh, at_random) == whole
        kept["its class"].append(same[fresh_labels == c].float().mean().item())
        kept["other classes"].append(same[fresh_labels != c].float().mean().item())
        kept["its class, random units"].append(same_at_random[fresh_labels == c].float().mean().item())

# %%
lab.record_all({f"kept/{name}": np.mean(values) for name, values in kept.items()}, unit="share of decisions")

# %%
lost = {name: 1 - lab.metrics[f"kept/{name}"] for name in kept}

# %%
figure, ax = panels(width=6.4, height=3)
bars(ax, list(lost), {"share of decisions that change": [round(share, 3) for share in lost.values()]})
ax.set(ylabel="decisions that change", ylim=(0, 1))
lab.show(
    figure,
    alt="Share of decisions that change when the three most selective units for a class are silenced: "
    + ", ".join(f"{share:.2f} ({name})" for name, share in lost.items())
    + ".",
)

# %%
lab.claim(
    "Whoever loses the three most selective units for a class loses that class: at least half of its decisions change, and at least twice as many as of the other classes'.",
    holds=lost["its class"] >= max(0.5, 2 * lost["other classes"]),
    evidence=lost,
    source="follows from a local representation",
    reason="Where it fails, other units carry the class as well: selectivity says what a unit likes, not what depends on it. (Morcos et al., 2018, found it a poor predictor of what a unit is worth to the whole task; here it is its own class that counts.)",
)

# %% [markdown]
# ## 4 · Draw what a unit likes: activation maximization
#
# **Intuition.** So far a unit could only choose among images that we had. Now let it make its own. Start from noise, ask how each pixel should change so that the unit fires more, change it a little that way, repeat. It is training with the roles exchanged: the weights stay, the image learns.
#
# ![A loop: a noise image enters a network whose weights stay; one unit's gradient comes back, a step adds it to the image, a regularizer cleans the image, and it starts again; dashed: jitter in front, 1/f² on the gradient's way back.](figures/04_cnn_visualization/ascent.svg)
#
# (The two dashed boxes are newer than the paper: see *Going further*.)
#
# **Mathematics.** For the activation $a_i(x)$ of unit $i$, hidden or output (or the sum over a group of units), the review's equation (7.1) is $\hat x = \arg\max_x a_i(x)$, and gradient ascent (7.2) goes $x \leftarrow x + \eta\, \partial a_i / \partial x$. Yosinski et al. add a regularizer $r_\theta$ that pulls the image back to what photographs are like (7.5):
#
# $$ x \leftarrow r_\theta\!\left(x + \eta\, \frac{\partial a_i}{\partial x}\right). $$
#
# Here $x$ is an image minus the mean colour. How long a step? A constant $\eta$ is too long for one unit and too short for the next. Were the unit linear, a step would raise it by $\eta \lVert g \rVert^2$, with $g$ the gradient. So for a gain of `desired`, take $\eta = \text{desired} / \lVert g \rVert^2$, but never more than a limit.
#
# ### Exercise 3 · How long a step?
#
# One $\eta$ for each image of a batch. Without `desired` it is `lr`; with it, $\min(\text{lr}, \text{desired} / \lVert g \rVert^2)$. Where the gradient is 0, it is `lr`, which then moves nothing.


# %% tags=["exercise"]
def step_length(gradient, lr, desired=None):
    """eta for each image: gradient (B, C, H, W) -> (B, 1, 1, 1)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
step_length = lab.check(step_length)

# %% [markdown]
# The loop, bare. (`activation_maximization` below does the same for a whole batch of units, with regularizers, and stops the network at the layer that is asked for.) The image is kept in the box of possible pixels.


# %%
def ascend(unit, steps, desired):
    """Gradient ascent on one output unit, without regularization: the image minus the mean, and the activations."""
    x = 10 / 255 * torch.randn(1, 3, config.side, config.side, generator=lab.generator("start"))
    centre, way = mean[:, None, None], []
    for _ in range(steps):
        x.requires_grad_()
        activation = logits(x / std[:, None, None])[0, unit]
        (gradient,) = torch.autograd.grad(activation, x)
        x = (x + step_length(gradient, 1.0, desired) * gradient).detach()
        x = (x + centre).clamp(0, 1) - centre  # inside the box of images
        way.append(activation.item())
    return x, way


# %%
target = 3 if model is digit_net else 130  # the digit 3, or the flamingo, the example in Yosinski's toolbox
image, way = ascend(target, steps=40, desired=config.gain or 5.0)
with torch.no_grad():
    final = logits(image / std[:, None, None])[0]  # (classes,)
sure = final.softmax(0)[target].item()
way.append(final[target].item())  # after the last step
print(f"{class_names[target]}: the activation went from {way[0]:.2f} to {way[-1]:.2f}")
lab.record("ascent/probability", sure, unit="of the class, says the network")

# %% [markdown]
# **Predict.** You have read how sure the network is that it sees this class. What do you expect to see?


# %%
def signed(pictures):
    """Pictures around 0 for the eye, (B, 3, H, W): 0 is mid-grey, each stretched to its own 99.5th percentile."""
    largest = pictures.abs().flatten(1).quantile(0.995, dim=1).clamp(min=1e-12)
    return (0.5 + 0.5 * pictures / largest[:, None, None, None]).clamp(0, 1)


# %%
figure, (left, middle, right) = panels(1, 3, width=3.2, height=3)
left.imshow((image[0] + mean[:, None, None]).permute(1, 2, 0))
left.set_title("as the network sees it", fontsize=11)
middle.imshow(signed(image)[0].permute(1, 2, 0))
middle.set_title("stretched", fontsize=11)
for ax in (left, middle):
    ax.set_axis_off()
right.plot(way)
right.set(xlabel="step", ylabel="activation")
lab.show(
    figure,
    alt=f"The image that gradient ascent makes for {class_names[target]} without regularization, as it is and with its contrast stretched: a coloured pattern in the noise of the start. Right, its activation, "
    f"from {way[0]:.1f} to {way[-1]:.1f} in {len(way) - 1} steps.",
)

# %% [markdown]
# Is it like a photograph? Photographs are smooth: most of their power lies in low frequencies. Measure the share of power beyond half of the highest frequency that a row of pixels can carry (a quarter cycle a pixel), in photographs of the same size and in what ascent has *added* to the noise that it began with. (White noise itself has a share of $1 - \pi/16 = 0.80$, whatever the network: the area beyond a circle. Counted in, it would answer the question before the first step.)


# %%
def fine_detail(images):
    """Share of an image's power at more than 1/4 cycle a pixel: (B, 3, H, W) -> (B,)."""
    power = torch.fft.fft2(images - images.mean((2, 3), keepdim=True)).abs().square().sum(1)  # (B, H, W)
    frequency = torch.hypot(*torch.meshgrid(*[torch.fft.fftfreq(side) for side in images.shape[2:]], indexing="ij"))
    return power[:, frequency > 0.25].sum(1) / power.sum((1, 2)).clamp(min=1e-12)


# %%
pieces, _ = backgrounds(photographs, config.side, 60, lab.generator("pieces"), part="test")
begun = 10 / 255 * torch.randn(image.shape, generator=lab.generator("start"))  # the noise that ascent began with
lab.record("detail/photographs", fine_detail(pieces).mean(), unit="share of power")
lab.record("detail/starting noise", fine_detail(begun).mean(), unit="share of power")
lab.record("detail/ascent", fine_detail(image - begun).mean(), unit="share of power of what ascent added")

# %%
lab.claim(
    "Without regularization, ascent adds a pattern unlike a photograph (at least three times the fine detail of the average one), and the network is sure of it (probability at least 0.99).",
    holds=lab.metrics["detail/ascent"] >= 3 * lab.metrics["detail/photographs"] and sure >= 0.99,
    evidence={
        "detail": lab.metrics["detail/ascent"],
        "photographs": lab.metrics["detail/photographs"],
        "probability": sure,
    },
    source="Yosinski et al. (2015), section 3, after Nguyen et al. (2015)",
    reason="Two things can fail. What ascent adds may be less than three times as fine as a photograph, and yet unlike one in ways that this number does not see: look at the picture. And 40 steps may be too few for the network to be sure of one class among many.",
)

# %% [markdown]
# ### Four regularizers
#
# Yosinski et al. apply, after each step, in the order of their code:
#
# 1. **L2 decay**: $x \leftarrow (1 - \theta_\text{decay})\, x$. Keeps a few extreme pixels from dominating.
# 2. **Gaussian blur** every few steps: removes fine detail, and what needs it does not come back.
# 3. **Small norm**: pixels whose norm over the colours lies below a percentile become 0. The picture shows the main object only.
# 4. **Small contribution**: pixels that contribute little to the activation become 0. Setting pixel $p$ to zero changes $a_i$ by about $-x_p \cdot g_p$, where $x_p$ holds its three colours and $g_p$ the gradient there; the size of a contribution is $\lvert x_p \cdot g_p \rvert$ (first the sum over the colours, then the absolute value).
#
# (Between 2 and 3 the code has a step that the paper has not: zero all *values* that are small. It is off in all recommended sets, and missing here.)
#
# ### Exercise 4 · Clip small pixels
#
# The same step serves 3 and 4: given a `size` for each pixel, set those pixels to 0, in all colours, whose size lies strictly below the given percentile of *their image*.


# %% tags=["exercise"]
def clip_small(x, size, percentile):
    """Set small pixels to 0: x (B, C, H, W), size (B, 1, H, W), percentile in [0, 100) -> (B, C, H, W)."""
    raise NotImplementedError


# %% tags=["nbval-check-output"]
clip_small = lab.check(clip_small)

# %% [markdown]
# Each alone, and all together, on four output units and on four of the last hidden layer, in the middle of their maps (before the ReLU: behind a ReLU that is closed there is no gradient to climb). The strengths are our choice. All climb equally many steps, and start from the same noise.

# %%
alone = {
    "none": Regularizers(),
    "L2 decay": Regularizers(decay=0.05),
    "blur": Regularizers(blur_width=0.7, blur_every=4),
    "small norm": Regularizers(small_norm=30),
    "small contribution": Regularizers(small_contribution=30),
    "all four": Regularizers(decay=0.01, blur_width=0.5, blur_every=4, small_norm=10, small_contribution=10),
}

# %%
space = {"shape": (3, config.side, config.side), "mean": mean.tolist(), "std": std.tolist()}
outputs = [0, 3, 5, 8] if model is digit_net else [130, 281, 340, 985]  # flamingo, tabby cat, zebra, daisy
with torch.no_grad():
    busy = FeatureMaps(model, config.hidden)(prepare(gallery))[config.hidden].amax((0, 2, 3))
hidden = sorted(busy.topk(4).indices.tolist())  # four units that fire on real images


# %%
def climb(layer, units, **options):
    options = {
        "generator": lab.generator("start"),
        "steps": config.steps,
        "lr": config.lr,
        "desired": config.gain,
    } | options
    return activation_maximization(model, layer, units, **space, **options)


# %%
def stretched(images):
    """Images in [0, 1] with their difference from the mean colour stretched to full contrast."""
    return signed(images - mean[:, None, None])


# %%
drawn = {name: climb(config.output, outputs, regularizers=each, keep_every=8) for name, each in alone.items()}
inside = {name: climb(config.hidden, hidden, regularizers=each) for name, each in alone.items()}
for name in alone:
    lab.record(f"{name}/activation", drawn[name].activations[-1].mean())
    lab.record(f"{name}/detail", fine_detail(drawn[name].images).mean(), unit="share of power")

# %%
rows = {name: stretched(torch.cat([drawn[name].images, inside[name].images])) for name in alone}
size = 0.7 if model is digit_net else 1.2  # inches an image


# %%
def thumbnails(images):
    """No larger than needed for a small picture."""
    return images if images.shape[-1] <= 96 else F.interpolate(images, (96, 96), mode="bilinear", antialias=True)


# %%
names = [short(unit) for unit in outputs] + [f"unit\n{unit}" for unit in hidden]

# %%
lab.show(
    image_rows({name: thumbnails(row) for name, row in rows.items()}, size=size, columns=names),
    alt=f"Images made by gradient ascent, their contrast stretched, a row for each regularizer alone, for none and for all together; columns: the output units {', '.join(names[:4])} and four units of {config.hidden}. "
    "Share of fine detail: " + ", ".join(f"{name} {lab.metrics[f'{name}/detail']:.2f}" for name in alone) + ".",
)

# %%
figure, ax = panels(width=6, height=3)
for name, marker in zip(alone, "os^DvP", strict=True):
    ax.scatter(lab.metrics[f"{name}/detail"], lab.metrics[f"{name}/activation"], s=45, marker=marker, label=name)
ax.legend(frameon=False, fontsize=10, loc="center left", bbox_to_anchor=(1, 0.5))
ax.axvline(lab.metrics["detail/photographs"], color="gray", linewidth=1, linestyle="--")
ax.set(xlabel="share of fine detail (dashed: photographs)", ylabel="activation reached")
ax.margins(0.25)
lab.show(
    figure,
    alt="Activation reached against share of fine detail, a point for each regularizer: "
    + ", ".join(
        f"{name} at {lab.metrics[f'{name}/detail']:.2f} and {lab.metrics[f'{name}/activation']:.1f}" for name in alone
    )
    + f". Photographs have {lab.metrics['detail/photographs']:.2f}.",
)

# %%
photo = lab.metrics["detail/photographs"]
off = {name: abs(np.log(lab.metrics[f"{name}/detail"] / photo)) for name in alone}

# %%
lab.claim(
    "Each of the four regularizers, alone, makes the picture more like a photograph: its share of fine detail is nearer to a photograph's than without (as a ratio).",
    holds=all(off[name] < off["none"] for name in list(alone)[1:5]),
    evidence={name: lab.metrics[f"{name}/detail"] for name in (*alone,)} | {"photographs": photo},
    source="Yosinski et al. (2015), section 3; the measure is ours",
    reason="Only the blur is aimed at fine detail, and it may leave less than a photograph has. Decay shrinks coarse and fine alike: it changes their shares only through the steps that follow. Clipped pixels leave hard edges, which are fine detail. What clipping is for, to empty a picture of what does not matter, this number does not see.",
)

# %% [markdown]
# A share of fine detail is one number, and a poor judge of pictures: look at the rows, too. (Here it is the share of the whole picture, with what is left of the starting noise.) Watch an image grow. This is how the four output units came to their pictures in the row "all four", step by step:

# %%
frames = drawn["all four"].frames  # (F, 4, 3, H, W)
moments = [0, 1, 2, 4, 7, len(frames) - 1]

# %%
lab.show(
    image_rows(
        {names[i]: thumbnails(stretched(frames[moments, i])) for i in range(4)},
        size=size,
        columns=[str(8 * moment) for moment in moments],
    ),
    alt=f"Film strips of the ascent with all four regularizers, a row for each of {', '.join(names[:4])}, at the steps {', '.join(str(8 * m) for m in moments)}: noise at the left, the end of the ascent at the right.",
)


# %%
def play(regularizer, unit, step):
    """The image of an output unit after some steps of ascent."""
    return beside(stretched(drawn[regularizer].frames[[step // 8], names.index(unit)])[0])


# %% tags=["widget"]
image_choices(
    play,
    {"regularizer": list(alone), "unit": names[:4], "step": range(0, 8 * len(frames), 8)},
    width=280,
    scale=max(1, 280 // config.side),
)

# %% [markdown]
# ### The four recommended sets
#
# Yosinski's table 1 has four sets of all parameters. They were made for pixels from 0 to 255. Ours run from 0 to 1: the gradient is 255 times as large and a step must be 255 times as small, so that $\eta' = \eta / 255^2$; percentiles, decay and widths in pixels stay as they are. Two of the sets have a constant $\eta$ and two ask for a gain. They were made
# for a network like AlexNet, for images of 227 pixels and 500 to 1,000 steps, which we have (nearly) at `paper` only. At `quick` and `full` we take fewer steps. At `quick` we also take $\eta$ and the gain of our own ascents, since the small network's gradients are too small for theirs.

# %%
pace = {"lr": config.lr, "desired": config.gain} if model is digit_net else {}
sets = {}
for number, recipe in paper.YOSINSKI_SETS.items():
    steps = config.set_steps or recipe["steps"]
    sets[f"set {number}"] = climb(config.output, outputs, **(recipe | pace | {"steps": steps}))
    highest = sets[f"set {number}"].activations.max(0).values
    lab.record(f"set {number}/activation", highest.mean(), unit="best on the way")

# %%
lab.show(
    image_rows(
        {name: thumbnails(stretched(ascent.best)) for name, ascent in sets.items()}, size=size, columns=names[:4]
    ),
    alt=f"The best images on the way of ascents with Yosinski's four recommended sets, contrast stretched, a row each, for {', '.join(names[:4])}. Mean of the best activations: "
    + ", ".join(f"{name} {lab.metrics[f'{name}/activation']:.1f}" for name in sets)
    + ".",
)

# %% [markdown]
# What to look for: set 2 loses three tenths of its contrast at each step, set 3 blurs most and hardly decays, set 4 keeps one pixel in ten. A recipe depends on the network, and an activation is no grade for a picture. (With set 3, the toolbox reports 71.2 as the best activation
# of the flamingo, in an AlexNet with other weights: something to compare with at `paper`.)
#
# ### Is a pixel's contribution what the formula says?
#
# Take the first image of the row "blur" and 100 pixels, drawn from the 400 for which the formula predicts most. Set one after the other to 0 (the mean colour), and measure by how much the activation changes. The prediction is $-x_p \cdot g_p$, a first-order Taylor expansion. So go only a hundredth of the way to 0, too, and divide the change by this share.

# %%
x = (drawn["blur"].images[:1] - mean[:, None, None]).requires_grad_()  # (1, 3, H, W)
(gradient,) = torch.autograd.grad(logits(x / std[:, None, None])[0, outputs[0]], x)
x = x.detach()
predicted = -(x * gradient).sum(1).flatten()  # (H * W,)
tried = predicted.abs().topk(400).indices[torch.randperm(400, generator=lab.generator("pixels"))[:100]]
steps_back = [f"{what}, {share:.0%}" for share in (0.01, 1.0) for what in ("correlation", "slope")]

# %%
for share in (0.01, 1.0):  # of the way to zero
    without = x.flatten(2).repeat(100, 1, 1)  # (100, 3, H * W), each with less of one pixel
    without[torch.arange(100), :, tried] *= 1 - share
    less = without.view(100, *x.shape[1:])
    with torch.no_grad():
        now, then = (logits(images / std[:, None, None])[:, outputs[0]] for images in (x, less))
    change = (then - now) / share  # (100,)
    lab.record(f"contribution/correlation, {share:.0%}", np.corrcoef(predicted[tried], change)[0, 1])
    lab.record(f"contribution/slope, {share:.0%}", (change @ predicted[tried]) / predicted[tried].square().sum())

# %%
figure, ax = panels(width=4.4, height=3.4)
ax.scatter(predicted[tried], change, s=12)
ends = [predicted[tried].min().item(), predicted[tried].max().item()]
ax.plot(ends, ends, color="gray", linewidth=1, linestyle="--")
ax.set(xlabel="predicted change, $-x_p \\cdot g_p$", ylabel="measured change")
ax.locator_params(axis="x", nbins=4)
lab.show(
    figure,
    alt=f"Measured change of the activation when one pixel is set to zero, against the change that the formula predicts, for 100 pixels, with the diagonal dashed. The correlation is {lab.metrics['contribution/correlation, 100%']:.2f}; on the whole the measured changes are {lab.metrics['contribution/slope, 100%']:.2f} times the predicted.",
)

# %%
lab.claim(
    "Without a pixel the activation changes, to first order, by minus the pixel's value times its gradient: all the way to zero, predicted and measured changes still correlate at 0.8 or more.",
    holds=lab.metrics["contribution/correlation, 100%"] >= 0.8,
    evidence={name: lab.metrics[f"contribution/{name}"] for name in steps_back},
    source="Yosinski et al. (2015), section 3",
    reason="For a hundredth of the way the formula must be right: correlation and slope 1. On the rest of the way the gradient may change: other ReLUs open and close, other maxima win.",
)

# %% [markdown]
# ## 5 · From a unit back to the pixels
#
# **Intuition.** Take a real image instead, and one activation in it. Which pixels made it large? Send a signal back through the network, from that unit to the image. At a convolution it goes back by the same weights. The question is what a ReLU and a max pooling do with a signal that comes from above.
#
# ![Left, a convnet upwards, from an image to one activation; right, a deconvnet back down to a picture in pixel space: unpooling at the switches that a dashed line brings, the ReLU's own rule, and a transposed convolution with the same filters.](figures/04_cnn_visualization/deconvnet.svg)
#
# **Max pooling.** Going forward, note where each maximum was: the **switches**. Going back, put each value there and 0 elsewhere.
#
# ### Exercise 5 · Unpool
#
# `switches` come from `F.max_pool2d(..., return_indices=True)`: for each pooled value the index of its place in the flattened map of `size` = (H, W). Where windows overlap and share a maximum, their values do not add up: one of them stays, whichever you like. (The library keeps the strongest, the one farthest from 0. Section 6 says why.)


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
# **ReLU.** Going forward, $h = \max(z, 0)$. A signal $s$ comes back from above. With $1[z > 0]$, which is 1 where $z > 0$ and 0 elsewhere, three methods differ in this one line:
#
# | method | what goes on | in words |
# |---|---|---|
# | gradient | $s \cdot 1[z > 0]$ | what reaches an open ReLU |
# | deconvnet (Zeiler & Fergus) | $\max(s, 0)$ | a ReLU on the way back, as on the way forth |
# | guided backpropagation (Springenberg et al.) | $\max(s, 0) \cdot 1[z > 0]$ | both |
#
# ### Exercise 6 · Three rules
#
# The table as a function of `signal` $s$ and `z`, tensors of one shape. Mind $z = 0$: nothing passes there, except by the deconvnet's rule.


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
# ### A deconvnet, written out
#
# Your two functions and a transposed convolution are all that a deconvnet needs. Forward, keeping inputs and switches; then back, layer by layer, from one activation, all others of its layer being 0. (For a network that is a plain sequence, such as the digit network.)


# %%
def deconvnet(layers, image, unit, rule="deconvnet"):
    """From the strongest place of a unit of the last of `layers` back to the image (1, 3, H, W)."""
    inputs, x = [], image
    for each in layers:
        inputs.append(x)
        x = each(x)
    signal = torch.zeros_like(x)  # all other activations are 0
    signal[0, unit].view(-1)[x[0, unit].argmax()] = x[0, unit].max()
    for each, z in zip(reversed(layers), reversed(inputs), strict=True):
        if isinstance(each, nn.ReLU):
            signal = backward_relu(signal, z, rule)
        elif isinstance(each, nn.MaxPool2d):
            switches = F.max_pool2d(z, each.kernel_size, return_indices=True)[1]
            signal = unpool(signal, switches, z.shape[2:])
        else:
            signal = F.conv_transpose2d(signal, each.weight, padding=each.padding)
    return signal


# %%
to_relu3 = digit_net[:8]
digit = standard(test_scenes.images[:1])
lively = FeatureMaps(digit_net, "relu3")(digit)["relu3"].amax((0, 2, 3)).argmax().item()
with torch.no_grad():
    by_hand = deconvnet(list(to_relu3), digit, lively)


# %%
def difference(one, other):
    """Largest difference of two pictures, relative to the largest pixel."""
    return ((one - other).abs().max() / one.abs().max()).item()


# %%
lab.record("by hand/library", round(difference(by_hand, Deconvnet(digit_net)(digit, "relu3", lively)), 4))

# %% [markdown]
# `Deconvnet(model)` takes another way: autograd's backward pass, with other rules for ReLU and max pooling. That reaches networks that are no plain sequence. Zeiler and Fergus note themselves that their projection resembles backpropagation. Here one can say more. Take ordinary backpropagation and change *nothing but* what modules `nn.ReLU` send back, as
# many libraries do. (A *hook* is a function that PyTorch calls when a module's backward pass has run; what it returns is sent on instead.)


# %%
def by_hooks(net, image, unit):
    """Backpropagation from a unit's strongest place, with the deconvnet's rule at every module nn.ReLU."""
    rule = lambda module, sent_back, signal: (signal[0].clamp(min=0),)  # noqa: E731
    hooks = [m.register_full_backward_hook(rule) for m in net.modules() if isinstance(m, nn.ReLU)]
    x = image.clone().requires_grad_()
    activation = net(x)[0, unit].max()
    (picture,) = torch.autograd.grad(activation, x, activation.detach())
    for hook in hooks:
        hook.remove()
    return picture


# %%
lab.record("by hand/ReLU rule alone", round(difference(by_hand, by_hooks(to_relu3, digit, lively)), 4))

# %%
lab.claim(
    "A deconvnet is backpropagation with another rule for the ReLU: where poolings do not overlap, the pictures are equal to rounding.",
    holds=lab.metrics["by hand/ReLU rule alone"] <= 1e-4,
    evidence={name: lab.metrics[f"by hand/{name}"] for name in ("library", "ReLU rule alone")},
    source="Zeiler & Fergus (2014), section 2.1; users of tf_cnnvis, issue 47",
    reason="A transposed convolution is what backpropagation does at a convolution, and the switch is where its max pooling sends the gradient. Section 6 has the exception.",
)

# %% [markdown]
# ### Three pictures of one decision
#
# For each image, take the output unit of the class that `model` names, and go back from it by each of the three rules.
#
# **Predict.** Which picture will look best? Which will be most faithful?


# %%
rules = ("gradient", "deconvnet", "guided")
seen = prepare(gallery)
with torch.no_grad():
    said, second = logits(seen).topk(2).indices.T
scores = FeatureMaps(model, config.output)(seen)[config.output]  # (B, classes), or (B, classes, h, w)
spot = None

# %%
if scores.ndim == 4:  # SqueezeNet ends in a convolution: where does it see the class best?
    strongest = scores[range(len(said)), said].flatten(1).argmax(1)  # (B,)
    spot = strongest // scores.shape[3], strongest % scores.shape[3]  # rows, columns


# %%
def back(net, unit, rule, images=seen):
    """A deconvnet starts from the activation, which a copy may have negative: a raised bias keeps it positive."""
    raised = deepcopy(net)
    raised.get_submodule(config.output).bias.data += 1000
    return paper.back_project(raised, images, config.output, unit, rule=rule, place=spot)


# %%
pictures = {rule: back(model, said, rule) for rule in rules}

# %%
lab.show(
    image_rows(
        {"image": gallery} | {rule: signed(found) for rule, found in pictures.items()},
        columns=[short(c) for c in said],
        size=size,
    ),
    alt="Images in the first row, with the class that the network names below; then, for that class, the gradient, the deconvnet projection and guided backpropagation, mid-grey for zero.",
)

# %% [markdown]
# Which looks best is for your eye. What a picture depends on can be tested: see the end of this section. First another test. The guided rule applies both other rules at once. So, one would think, its picture lives only where both other pictures do.
#
# **Predict.** True? (Tested in the digit network, right above its first convolution: in the pixels hardly a place stays 0.)

# %%
# In the pixels each signal is smeared over 7 x 7 places, and hardly one stays 0. So look above the first convolution.
with torch.no_grad():
    above = digit_net.conv1(digit)  # (1, 12, 28, 28)
    sent = {rule: deconvnet(list(digit_net[1:8]), above, lively, rule) for rule in rules}
touched = {rule: found.abs() > 1e-6 * found.abs().max() for rule, found in sent.items()}  # (1, 12, 28, 28) bool
lab.record_all({f"reached/{rule}": each.float().mean() for rule, each in touched.items()}, unit="share of places")
stray = touched["guided"] & ~(touched["gradient"] & touched["deconvnet"])
lab.record("reached/guided alone", stray.sum() / touched["guided"].sum(), unit="share of guided's places")

# %%
lab.claim(
    "Guided backpropagation reaches only what the gradient and the deconvnet both reach.",
    holds=not stray.any(),
    evidence={name: lab.metrics[f"reached/{name}"] for name in (*rules, "guided alone")},
    source="follows from the rule, for one ReLU",
    reason="At one ReLU it is true, and so it is in a network with a single ReLU on the way. Through several it need not be: what one ReLU cuts off changes the sums, and with them the signs, that the next one below is shown.",
)

# %% [markdown]
# ### The nine best
#
# Zeiler and Fergus' way to show a unit: of many images, the nine that excite it most; of each, what its receptive field covers; and the projection of that one activation by the deconvnet. Patches show *what* excites a unit, projections *what in them* does. (Plain grey at the side of a patch lies beyond the edge of the image.)

# %%
if model is digit_net:
    pool = scenes("test", config.pool, "pool").images
else:  # as many things as we have: small photographs, enlarged
    drawn_images = torch.randperm(len(cifar.test), generator=lab.generator("pool"))[: config.pool]
    pool = F.interpolate(cifar.test.images[drawn_images], (112, 112), mode="bilinear", antialias=True)
shallow, deep = config.layers[1], config.layers[-1]
looked_at = dict.fromkeys((shallow, layer, deep))  # `layer` is the detector's; no layer twice
best = {each: paper.top_activations(model, each, prepare(pool), k=9) for each in looked_at}

# %%
untrained_best = paper.top_activations(untrained, deep, prepare(pool), k=9)


# %%
def nine(net, layer, unit):
    """What a unit sees of its nine best images, and their projections: (9, 3, h, w) twice."""
    _, images, rows, columns = (found[unit] for found in (best[layer] if net is model else untrained_best))
    back = Deconvnet(net)(prepare(pool[images]), layer, unit, place=(rows, columns))
    places = list(zip(rows.tolist(), columns.tolist(), strict=True))
    patches = [fields[layer].crop(image, *at) for image, at in zip(pool[images], places, strict=True)]
    cropped = [fields[layer].crop(image, *at, fill=0) for image, at in zip(back, places, strict=True)]
    return torch.stack(patches), torch.stack(cropped)


# %%
for each in best:
    units = best[each].values[:, -1].topk(3).indices.tolist()  # units whose ninth best is strong
    if each == layer:
        units = [channel, *(unit for unit in units if unit != channel)][:3]  # the detector of section 2 first
    rows = {}
    for unit in units:
        patches, projections = nine(model, each, unit)
        rows |= {f"{each}, {unit}": patches, f"{each}, {unit}, back": signed(projections)}
    lab.show(
        image_rows({label: thumbnails(row) for label, row in rows.items()}, size=0.6),
        alt=f"For each of three units of {each} ({', '.join(map(str, units))}): the nine patches in which it fires most, and below them the deconvnet projections of those activations, on mid-grey.",
    )

# %% [markdown]
# Zeiler and Fergus observe that the patches vary more than the projections, since these show only what the unit looks at. Measure: the mean correlation between two of the nine, pixel by pixel, for patches and for projections, over units of the deep layer.


# %%
def likeness(pictures):
    """Mean correlation between different pictures of (9, 3, h, w); those that are constant are left out."""
    flat = pictures.flatten(1)
    flat = flat[flat.std(1) > 0]
    return torch.corrcoef(flat)[~torch.eye(len(flat), dtype=bool)].mean().item()


# %%
for name, net, top in (("", model, best[deep]), ("untrained ", untrained, untrained_best)):
    alive = torch.where(top.values[:, -1] > 0)[0]
    alive = alive[torch.randperm(len(alive), generator=lab.generator("alive"))[:24]].tolist()
    alike = np.array([[likeness(found) for found in nine(net, deep, unit)] for unit in alive]).reshape(-1, 2)
    between = dict(zip((f"nine/{name}patches", f"nine/{name}projections"), alike.mean(0), strict=True))
    lab.record_all(between, unit="mean correlation")
    lab.record(f"nine/{name}units", np.mean(alike[:, 1] > alike[:, 0]), unit="share whose projections are more alike")

# %%
lab.claim(
    "The nine strongest images of a unit differ more than their projections: for most units projections are more alike.",
    holds=lab.metrics["nine/units"] > 0.5 and lab.metrics["nine/projections"] > lab.metrics["nine/patches"],
    evidence={name: lab.metrics[f"nine/{name}"] for name in ("patches", "projections", "units", "untrained units")},
    source="Zeiler & Fergus (2014), section 4",
    reason="Mind the untrained units: what holds for them as well is no sign of learning, since all projections of a unit are put together from the same few filters. Where it fails: pixel by pixel, two pictures must also lie in the same place to be alike. Fine lines that are a pixel apart are not; large dark and light areas of photographs are.",
)

# %% [markdown]
# ### One unit, three ways
#
# The review puts them side by side, and so do we, for the four hidden units of section 4: the image that ascent drew with all four regularizers, the four patches that the unit likes best, and their projections. (Where a layer puts two convolutions one behind the other, as SqueezeNet does, units are numbered within the second one here and in section 4; in the whole layer their numbers are higher.)

# %%
offset = maps[deep].shape[1] - len(busy)  # a Fire module puts the outputs of two convolutions one behind the other
centre = [side // 2 for side in maps[deep].shape[2:]]
rows = {}
for unit, image in zip(hidden, stretched(inside["all four"].images), strict=True):
    patches, projections = nine(model, deep, unit + offset)
    rows[f"unit {unit}"] = torch.cat([fields[deep].crop(image, *centre)[None], patches[:4], signed(projections[:4])])

# %%
lab.show(
    image_rows(
        {label: thumbnails(row) for label, row in rows.items()},
        columns=["ascent", "best", "2nd", "3rd", "4th", "back", "back", "back", "back"],
        size=0.7,
    ),
    alt=f"Four units of {config.hidden}, a row each: the image that gradient ascent drew for the unit, the four patches in which it fires most, and the deconvnet projections of these four.",
)

# %% [markdown]
# Look along a row. What do the patches share? Is it in the projections, and did ascent draw it? Ascent shows what is best of all for a unit, whether or not it occurs; patches show what does occur; projections which part of it counted.

# %% [markdown]
# ### A picture of the network, or of the image?
#
# The crucial control. If a picture shows what a network has *learned*, it must change when the network has learned nothing. Adebayo et al. (2018) put that to the test. We do the same: project back from the same units at the same place of `model`, and of copies whose weights were shuffled, in the last layer only or in all. Compare pictures by their **rank correlation**: the correlation
# of the pixels' ranks, from the most negative to the most positive. At 1 their order stays the same. At 0 nothing of it is left. (Pixels that neither picture reaches do not count, and signs do: without them, any two pictures are alike in being strong in the middle of what the unit sees.) For comparison, project back at the same place from the unit of *another class*, the one that `model` ranks second; and, as a yardstick, from the same unit for *another image*.
#
# **Predict.** Order the three rules by how much their pictures change.

# %%
copies = {
    "last layer shuffled": paper.randomized(model, lab.generator("last"), [config.output]),
    "all layers shuffled": untrained,
}


# %%
def rank_correlation(one, other):
    """Mean Spearman correlation of two stacks of pictures, over the pixels that either reaches; the sign counts."""
    found = []
    for a, b in zip(one.flatten(1), other.flatten(1), strict=True):
        reached = (a != 0) | (b != 0)
        found.append(spearmanr(a[reached], b[reached]).statistic if a.any() and b.any() else 0)
    return np.mean(found)


# %%
for rule in rules:
    others = {name: back(net, said, rule) for name, net in copies.items()}
    others["another class"] = back(model, second, rule)
    others["another image"] = back(model, said, rule, seen.roll(1, 0))
    for name, other in others.items():
        lab.record(f"{rule}/{name}", rank_correlation(pictures[rule], other))

# %%
figure, ax = panels(width=7.5, height=3.2)
bars(ax, list(others), {rule: [round(lab.metrics[f"{rule}/{name}"], 2) for name in others] for rule in rules})
lowest = min(lab.metrics[f"{rule}/{name}"] for rule in rules for name in others)
ax.set(ylabel="rank correlation", ylim=(min(0, lowest - 0.15), 1.3))
lab.show(
    figure,
    alt="Rank correlation between the picture of the trained network and another: "
    + "; ".join(
        f"{name}: " + ", ".join(f"{rule} {lab.metrics[f'{rule}/{name}']:.2f}" for rule in rules) for name in others
    )
    + ".",
)

# %%
lab.claim(
    "A picture made by guided backpropagation shows what the last layer has learned: when that layer is shuffled, it changes at least half as much as from one image to another.",
    holds=1 - lab.metrics["guided/last layer shuffled"] >= 0.5 * (1 - lab.metrics["guided/another image"]),
    evidence={f"{rule}, {name}": lab.metrics[f"{rule}/{name}"] for rule in rules for name in others},
    source="this lesson, after Adebayo et al. (2018)",
    reason="Where it fails, a likely reason: which ReLUs are open and where the maxima lie is decided by the image on its way forward, and stays the same whatever the last layer says.",
)

# %% [markdown]
# A picture that hardly changes for another class, or without what the last layer learned, may still show well what lies *in the image*. It is no explanation of the decision. The best-looking method need not be the most faithful, and the control takes one line.
#
# ## 6 · Where the paper, the review and the code disagree
#
# ### Switches and sums
#
# AlexNet and SqueezeNet pool 3 x 3 with stride 2: windows overlap. One peak can be the maximum of four windows. Unpooling puts *one* value back; backpropagation adds up *all four*. (Which one, if they differ? The paper does not say. PyTorch's `max_unpool2d` keeps the last, so that the 0 of one window may wipe out what an earlier one sent. We keep the strongest.)

# %% tags=["nbval-check-output"]
peak = torch.zeros(1, 1, 5, 5)
peak[..., 2, 2] = 1.0
peak.requires_grad_()
pooled, switches = F.max_pool2d(peak, 3, stride=2, return_indices=True)
(gradient,) = torch.autograd.grad(pooled.sum(), peak)
print("windows:", pooled.numel())
print("unpooled:", unpool(pooled.detach(), switches, (5, 5))[0, 0, 2, 2].item())
print("gradient:", gradient[0, 0, 2, 2].item())

# %% [markdown]
# So "a deconvnet is the gradient with another ReLU" is exact only where windows do not overlap. In the digit network with overlapping poolings, how different are the two pictures?

# %%
overlapping = small_cnn(10, "overlapping")
overlapping.load_state_dict(digit_net.state_dict())
overlapping.pool1, overlapping.pool2 = nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(3, 2, padding=1)
one, other = Deconvnet(overlapping)(digit, "relu3", lively), by_hooks(overlapping[:8], digit, lively)
one, other = one / one.abs().max(), other / other.abs().max()  # the strength of a picture does not count
lab.record("overlapping/difference", difference(one, other), unit="of the largest pixel")
lab.record("overlapping/rank correlation", rank_correlation(one, other))

# %%
lab.tell(
    "With overlapping windows the deconvnet's picture and that of the ReLU rule alone, each scaled to its own largest pixel, differ by up to {overlapping/difference:.2f}; the rank correlation is {overlapping/rank correlation:.2f}. Libraries that change the ReLU only, as is common, show the second one."
)

# %% [markdown]
# ### A ReLU that no hook can find
#
# Hooks belong to modules. A network that writes `F.relu(x)` has no module for it, and a rule that is hooked to `nn.ReLU` is never applied. Nobody complains: the result is the plain gradient under another name. The same weights, written both ways:


# %%
class Functional(nn.Module):
    """The digit network up to conv3, with functions in place of the modules nn.ReLU."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = digit_net.conv1, digit_net.conv2, digit_net.conv3

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x), inplace=True), 2)
        return self.conv3(x)


# %%
functional = Functional()
hooked = by_hooks(functional, digit, lively)
plain = (
    paper.back_project(digit_net, digit, "conv3", lively)
    * FeatureMaps(digit_net, "conv3")(digit)["conv3"][0, lively].max()
)
right = Deconvnet(digit_net)(digit, "conv3", lively)
lab.record("functional/hooks against the gradient", round(difference(plain, hooked), 4))

# %%
lab.record(
    "functional/Deconvnet against modules", round(difference(right, Deconvnet(functional)(digit, "conv3", lively)), 4)
)

# %% [markdown]
# `Deconvnet` does not care, since it catches functions as they are called (in place, too), and refuses by name what has no rule.
#
# ### Behind a closed ReLU
#
# Ascent needs a gradient to start, and behind a closed ReLU there is none. Of the units of the last hidden layer, in the middle of their maps, how many are closed to noise? (Before the ReLU each has a gradient. That is why section 4 asked there.)

# %%
start = (10 / 255 * torch.randn(20, 3, config.side, config.side, generator=lab.generator("noise starts"))) / std[
    :, None, None
]
found = FeatureMaps(model, last)(start)[last]  # (20, K, h, w)
behind = found[:, :, found.shape[2] // 2, found.shape[3] // 2]  # (20, K), in the middle
lab.record("start/closed", (behind == 0).float().mean(), unit="share of units without a gradient from noise")

# %% [markdown]
# ### Percentiles of pictures that are mostly empty
#
# The toolbox clips what lies *strictly* below a percentile. Of eight pixels, two of which are not 0, clip the smaller half, then the smaller three quarters, then nine tenths:

# %% tags=["nbval-check-output"]
nearly_empty = torch.tensor([0.0, 0, 0, 1, 0, 0, 2, 0]).reshape(1, 1, 2, 4)
for percentile in (50, 75, 90):
    left = clip_small(nearly_empty, nearly_empty, percentile)
    print(percentile, "%:", left.flatten().tolist())

# %% [markdown]
# What lies below the percentile may be empty already, or nothing lies below it, as at 50 %, where it is 0 itself. So regularizers that clip do less and less to a picture that they have emptied.
#
# ### Networks without a rule
#
# No paper says what a deconvnet does at a batch normalization or where a skip connection joins. `Deconvnet` says so rather than draw something:

# %% tags=["nbval-check-output"]
strangers = {
    "ResNet-18": torchvision.models.resnet18(),
    "convolution and GELU": nn.Sequential(
        OrderedDict(conv1=nn.Conv2d(3, 4, 3), relu=nn.GELU(), layer1=nn.Conv2d(4, 4, 3))
    ),
}
for name, stranger in strangers.items():
    try:
        Deconvnet(stranger)(torch.zeros(1, 3, 64, 64), "layer1", 0)
    except ValueError as error:
        print(f"{name}: {error}")

# %% [markdown]
# ### Smaller things
#
# - **The review** writes $\hat x = \arg\max_x a_i(x)$ without saying where $x$ may lie. Without bounds there need not be a maximum: along a straight line, the activations of a ReLU network can grow for ever. It is the box of pixels, the number of steps and the regularizer that make a picture.
# - **Code**: the toolbox keeps $x + \text{mean}$ within 0 to 255 before each pass.
# - **Units**: for a network that takes $x / \text{std}$ with $\text{std} \approx 0.225$, a step in *its* input is $\eta / (255 \cdot 0.225)^2$. Here $x$ itself is in $[0, 1]$ and autograd divides by std.
# - **Plain ascent**: with Adam in place of it, the blur and the clipping would act on the image but not on Adam's memory of earlier steps.
# - **Blur** of less than 0.3 pixels works badly, says the toolbox: the kernel then has hardly any neighbours.
# - **Paper**: contrast normalization, where a network has it, is not inverted on the way back, and the projection shows one activation, not what a layer says together.
# - **Others** describe the deconvnet's ReLU rule as if it used the forward pass. It does not: beside the activation that it starts from, switches are all that it knows of the image, and of the ReLUs nothing.
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
# 5. Shuffle the last layer before you believe a picture of what a network looks at.

# %%
lab.progress()

# %% [markdown]
# ### Going further
#
# - **Core.** Train the digit network with turns of up to 180 degrees (`angles` in `digit_scenes`). Which curve of section 2 changes, and what does it cost in accuracy?
# - **Core.** Put `Jitter` or `FrequencyPreconditioner` of `labkit.papers.feature_visualization` (after Olah et al., 2017) in front of the network, as the diagram of section 4 shows. What do they do to fine detail?
# - **Core.** `labkit.papers.cnn_occlusion` covers a part of the image and asks what the network says then. Do gradient, deconvnet and guided backpropagation point to the cells that count most?
# - **Stretch.** Pass your own network to `FeatureMaps`, `top_activations` and `Deconvnet`. Which of its layers has the most selective units?
# - **Stretch.** Maximize a *sum* of two units, or a random direction (`Readout` of `labkit.papers.feature_visualization`). Are its nine best images as alike as a unit's?
# - **Bonus.** Shuffle the layers one by one from the last to the first, as Adebayo et al. do. Where does each picture begin to change?
#
# ### References
#
# - M. D. Zeiler, R. Fergus: *Visualizing and Understanding Convolutional Networks*, ECCV 2014, arXiv:1311.2901.
# - J. Yosinski, J. Clune, A. Nguyen, T. Fuchs, H. Lipson: *Understanding Neural Networks Through Deep Visualization*, ICML Deep Learning Workshop 2015, arXiv:1506.06579; their toolbox: [github.com/yosinski/deep-visualization-toolbox](https://github.com/yosinski/deep-visualization-toolbox).
# - J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller: *Striving for Simplicity: The All Convolutional Net*, ICLR Workshop 2015, arXiv:1412.6806.
# - A. Nguyen, J. Yosinski, J. Clune: *Deep Neural Networks are Easily Fooled*, CVPR 2015, arXiv:1412.1897.
# - J. Adebayo, J. Gilmer, M. Muelly, I. Goodfellow, M. Hardt, B. Kim: *Sanity Checks for Saliency Maps*, NeurIPS 2018, arXiv:1810.03292.
# - C. Olah, A. Mordvintsev, L. Schubert: *Feature Visualization*, Distill 2017, doi:10.23915/distill.00007.
# - A. S. Morcos, D. G. T. Barrett, N. C. Rabinowitz, M. Botvinick: *On the importance of single directions for generalization*, ICLR 2018, arXiv:1803.06959.
# - F. N. Iandola, S. Han, M. W. Moskewicz, K. Ashraf, W. J. Dally, K. Keutzer: *SqueezeNet*, arXiv:1602.07360, 2016.
