"""KegNet: data made from a trained network alone, with which a compressed copy of it is trained again.

Paper: J. Yoo, M. Cho, T. Kim, U. Kang, *Knowledge Extraction with No Observable Data*, NeurIPS 2019. Where it leaves a
detail open, its authors' code decides; "published" below means that code. Notation:

    y    labels that a data point is asked to have, one-hot                     (B, classes)
    z    latent variables, all else about it, from N(0, I)                      (B, latent)
    x    generator(y, z), an image (B, C, 32, 32) or a row of features          (B, ...)

The teacher M stays as it is. The generator G learns to make x that M takes for y, and from which a decoder can tell z:
read as autoencoders, x is the code of y and z; read as a GAN, M and the decoder are the critics. Students are the
teacher with some layers compressed by Tucker-2 (module `tucker`), trained by `distillation_loss` to answer to x as the
teacher does. A torch.Generator is called `rng` here, since `generator` is G.
"""

from __future__ import annotations

import copy
import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.papers.tucker import (  # noqa: F401 - all of the paper can be had from here
    Ranks,
    compress,
    evbmf_rank,
    evbmf_ranks,
    hosvd,
    three_convolutions,
    tucker2_conv,
    tucker2_cost,
    tucker2_linear,
)

# ---- the three losses -----------------------------------------------------------------------------------------------


def classifier_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean over the batch of -sum_k y_k log softmax(M(x))_k in nats, (B, classes), (B, classes) -> scalar.

    For one-hot labels it is the published KL divergence, for soft ones larger by their entropy. With label `smoothing`
    s, y becomes (1 - s) y + s / classes. Raises ValueError unless the teacher gives one finite logit for each label,
    and for s outside of [0, 1). Paper: l_cls.
    """
    if logits.shape != labels.shape or logits.ndim != 2:
        raise ValueError(
            f"the teacher's outputs {tuple(logits.shape)} must have the shape of the labels {tuple(labels.shape)}: "
            "make the generator with as many classes as the teacher has outputs"
        )
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}")
    _require_finite(logits, "the teacher's outputs")
    wanted = (1 - smoothing) * labels + smoothing / labels.shape[1]
    return -(wanted * logits.log_softmax(1)).sum(1).mean()


def decoder_loss(z: Tensor, decoded: Tensor) -> Tensor:
    """Mean of (z - Dec(x))^2 over all numbers, (B, latent), (B, latent) -> scalar. Published form of the paper's l_dec.

    Raises ValueError for different shapes.
    """
    if z.shape != decoded.shape:
        raise ValueError(f"the decoder must give the shape of z {tuple(z.shape)}, got {tuple(decoded.shape)}")
    return (z - decoded).square().mean()


def diversity_loss(z: Tensor, x: Tensor) -> Tensor:
    """exp(-mean over all i, j of |z_i - z_j|_2^2 / latent * |x_i - x_j|_1 / P), (B, latent), (B, ...) -> in (0, 1].

    P numbers make up one x. It is 1 where all x are alike, and falls where different z make different x. The mean is
    the published form: it has i = j in it, too, and beta need not follow the batch's size. No (B, B, P) tensor is made
    on the CPU; on a GPU, the backward pass of `pdist` makes one. Raises ValueError for batches of different sizes, and
    unless z is a matrix and both are finite and floating-point. Paper: l_div.
    """
    if z.ndim != 2 or x.ndim < 2 or not len(z) == len(x) > 0:
        shapes = f"{tuple(z.shape)} and {tuple(x.shape)}"
        raise ValueError(f"z must be (B, latent) and x (B, ...), of one batch that is not empty, got {shapes}")
    _require_finite(z, "z")
    _require_finite(x, "x")
    rows, (B, latent) = x.flatten(1), z.shape
    pairs = F.pdist(z).square() * F.pdist(rows, p=1)  # each i < j once, (B (B - 1) / 2,)
    return torch.exp(-2 * pairs.sum() / (B**2 * latent * rows.shape[1]))


# ---- generators and decoder -----------------------------------------------------------------------------------------


def standardize_images(x: Tensor) -> Tensor:
    """Each channel of each image with mean 0 and (unbiased) standard deviation 1, (B, C, H, W); a constant one is 0.

    Published without that exception, which would make it NaN.
    """
    centred = x - x.mean((2, 3), keepdim=True)
    variance = centred.square().sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3] - 1)
    rounding = 8 * torch.finfo(x.dtype).eps * x.detach().abs().amax((2, 3), keepdim=True)
    is_constant = variance <= rounding.square()
    return torch.where(is_constant, 0, centred / torch.where(is_constant, 1, variance).sqrt())


class _Generator(nn.Module):
    """What both generators share: they see y and z side by side, and say what is wrong with them."""

    def __init__(self, classes: int, latent: int) -> None:
        super().__init__()
        _require_sizes(classes=classes, latent=latent)
        self.classes, self.latent = classes, latent

    def joined(self, y: Tensor, z: Tensor) -> Tensor:
        """(B, classes), (B, latent) -> (B, classes + latent). Raises ValueError for other shapes."""
        if y.ndim != 2 or y.shape[1] != self.classes or z.shape != (len(y), self.latent):
            raise ValueError(
                f"the generator takes labels (B, {self.classes}) and latents (B, {self.latent}), "
                f"got {tuple(y.shape)} and {tuple(z.shape)}"
            )
        return torch.cat([y, z], dim=1)


class ImageGenerator(_Generator):
    """y (B, classes), z (B, latent) -> images (B, channels, 32, 32), standardized: the published generator.

    Two dense layers, then transposed convolutions 1 -> 4 -> 8 -> 16 -> 32, with batch normalization and ReLU between,
    tanh, and `standardize_images`. So it cannot set mean and contrast of an image, and no pixel has a bound.
    """

    def __init__(self, classes: int = 10, channels: int = 1, latent: int = 10) -> None:
        super().__init__(classes, latent)
        _require_sizes(channels=channels)
        layers: list[nn.Module] = []
        for n, out in itertools.pairwise([classes + latent, 256, 128]):
            layers += [nn.Linear(n, out), nn.BatchNorm1d(out), nn.ReLU()]
        layers += [nn.Unflatten(1, (128, 1, 1))]  # (B, 128, 1, 1)
        layers += [nn.ConvTranspose2d(128, 64, 4, bias=False), nn.BatchNorm2d(64), nn.ReLU()]  # (B, 64, 4, 4)
        layers += [nn.ConvTranspose2d(64, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]  # (B, 16, 8, 8)
        layers += [nn.ConvTranspose2d(16, 4, 4, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]  # (B, 4, 16, 16)
        layers += [nn.ConvTranspose2d(4, channels, 4, 2, 1, bias=False), nn.Tanh()]  # (B, channels, 32, 32)
        self.layers = nn.Sequential(*layers)

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        return standardize_images(self.layers(self.joined(y, z)))


class DenseGenerator(_Generator):
    """y (B, classes), z (B, latent) -> rows of standardized features (B, features): the published one for tables.

    Two layers of `hidden` units with ELU and batch normalization, and a third whose outputs are only normalized, over
    the batch: mean 0 and variance 1, as the features that the teacher was trained on should have.
    """

    def __init__(self, features: int, classes: int, latent: int = 10, hidden: int = 120) -> None:
        super().__init__(classes, latent)
        _require_sizes(features=features, hidden=hidden)
        self.layers = nn.Sequential(
            *_dense([classes + latent, hidden, hidden]),
            nn.Linear(hidden, features),
            nn.BatchNorm1d(features, affine=False),
        )

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        return self.layers(self.joined(y, z))


class Decoder(nn.Module):
    """x (B, ...) of `features` numbers each -> z (B, latent): 1 + `depth` layers with ELU and batch normalization.

    Published depths: 1 for MNIST, 2 for tables, 3 for Fashion-MNIST and SVHN. Raises ValueError for other x.
    """

    def __init__(self, features: int, latent: int = 10, hidden: int = 120, depth: int = 1) -> None:
        super().__init__()
        _require_sizes(features=features, latent=latent, hidden=hidden)
        if depth < 0:
            raise ValueError(f"depth must not be negative, got {depth}")
        self.features = features
        self.layers = nn.Sequential(
            nn.Flatten(), *_dense([features] + [hidden] * (1 + depth)), nn.Linear(hidden, latent)
        )

    def forward(self, x: Tensor) -> Tensor:
        if x[0].numel() != self.features:
            raise ValueError(f"the decoder takes x of {self.features} numbers each, got the shape {tuple(x.shape)}")
        return self.layers(x)


def _dense(sizes: list[int]) -> list[nn.Module]:
    blocks = [(nn.Linear(n, out), nn.ELU(), nn.BatchNorm1d(out)) for n, out in itertools.pairwise(sizes)]
    return [layer for block in blocks for layer in block]


# ---- training a generator -------------------------------------------------------------------------------------------


def draw_inputs(
    count: int, classes: int, latent: int, rng: torch.Generator, *, soft: bool = False
) -> tuple[Tensor, Tensor]:
    """y, each class equally likely, and z from N(0, I): (count, classes), (count, latent), on the device of `rng`.

    With `soft`, numbers of y are drawn from [0, 1] instead, without being made to add up to 1: the paper's labels for
    the data of a student, for which the published code takes one-hot ones, too.
    """
    _require_sizes(count=count, classes=classes, latent=latent)
    if soft:
        y = torch.rand(count, classes, generator=rng, device=rng.device)
    else:
        y = F.one_hot(torch.randint(classes, (count,), generator=rng, device=rng.device), classes).float()
    return y, torch.randn(count, latent, generator=rng, device=rng.device)


def kegnet_step(
    generator: nn.Module,
    decoder: nn.Module,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    y: Tensor,
    z: Tensor,
    *,
    classifier: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.0,
) -> float:
    """One step that lowers classifier * l_cls + alpha * l_dec + beta * l_div; returns what it was. Paper: Algorithm 1.

    y (B, classes) and z (B, latent) as from `draw_inputs`; `optimizer` holds the parameters of generator and decoder,
    which work in the mode that they are in. The teacher answers in evaluation mode, in which it is left; gradients pass
    through it, but its weights, buffers and gradients stay as they are. Raises ValueError for weights of losses that
    are negative or all 0, for a loss that is not finite, before anything has moved, and what the three losses raise.
    """
    _require_weights(classifier, alpha, beta)
    teacher.eval()
    x = generator(y, z)  # (B, ...)
    losses = classifier_loss(teacher(x), y), decoder_loss(z, decoder(x)), diversity_loss(z, x)
    loss = sum(weight * loss for weight, loss in zip((classifier, alpha, beta), losses, strict=True))
    _require_finite(loss, "the loss")
    optimizer.zero_grad()
    loss.backward(inputs=[*generator.parameters(), *decoder.parameters()])  # and none for the teacher's weights
    optimizer.step()
    return loss.item()


def train_generator(
    teacher: nn.Module,
    generator: ImageGenerator | DenseGenerator,
    decoder: Decoder,
    *,
    steps: int,
    rng: torch.Generator,
    batch_size: int = 256,
    classifier: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.0,
    smoothing: float = 0.0,
    teacher_mode: str = "eval",
    lr: float = 1e-3,
    optimizer: torch.optim.Optimizer | None = None,
) -> dict[str, list[float]]:
    """Minimise classifier * l_cls + alpha * l_dec + beta * l_div over generator and decoder; the teacher is fixed.

    The teacher works as a frozen copy: its own weights, buffers, gradients and mode are never touched. Published is
    `teacher_mode="train"`, in which batch normalization takes the statistics of the generated batch and dropout is on,
    so that in use, in evaluation mode, it may see the images differently. Losses of weight 0 are left out, but l_cls is
    still noted.

    Returns, for each step, the losses "classifier", "decoder", "diversity", and "accuracy", the share of x that the
    teacher, in its mode, takes for y. Generator and decoder end in evaluation mode. All randomness, dropout included,
    comes from `rng`. Adam with `lr` unless an `optimizer` is given, with which training can also be gone on with.
    Published: 20,000 steps of 256; alpha, beta, lr are 1, 0, 1e-3 for MNIST, 1, 10, 1e-2 for Fashion-MNIST, 1, 1, 1e-2
    for SVHN and 1, 0, 1e-4 for tables.

    Raises ValueError for a teacher with NaN or infinite weights or another number of outputs than labels, another mode
    than "eval" or "train", fewer than 1 step or 2 data points a batch, weights that are negative or all 0, and a loss
    that is not finite.
    """
    if teacher_mode not in ("eval", "train"):
        raise ValueError(f"teacher_mode must be 'eval' or 'train', got {teacher_mode!r}")
    if steps < 1 or batch_size < 2:
        raise ValueError(f"training takes at least 1 step and batches of at least 2, got {steps} and {batch_size}")
    _require_weights(classifier, alpha, beta)
    for name, tensor in teacher.state_dict().items():
        _require_finite(tensor, f"the teacher's {name}", integers=True)
    frozen = copy.deepcopy(teacher).requires_grad_(False).train(teacher_mode == "train")
    frozen.to(memory_format=torch.contiguous_format)  # faster where the gradient goes to the image, not to the weights
    learned = [*generator.parameters(), *decoder.parameters()]
    optimizer = optimizer or torch.optim.Adam(learned, lr=lr, fused=True)
    generator.train()
    decoder.train()
    weights = {"classifier": classifier, "decoder": alpha, "diversity": beta}
    history: dict[str, list[Tensor]] = {}
    seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # dropout knows no other generator
        for _ in range(steps):
            y, z = (t.to(learned[0].device) for t in draw_inputs(batch_size, generator.classes, generator.latent, rng))
            x = generator(y, z)
            logits = frozen(x)
            found = {"classifier": classifier_loss(logits, y, smoothing)}
            if alpha:
                found["decoder"] = decoder_loss(z, decoder(x))
            if beta:
                found["diversity"] = diversity_loss(z, x)
            optimizer.zero_grad(set_to_none=True)
            sum(weights[name] * loss for name, loss in found.items() if weights[name]).backward()
            optimizer.step()
            found["accuracy"] = (logits.argmax(1) == y.argmax(1)).float().mean()
            for name, value in found.items():
                history.setdefault(name, []).append(value.detach())
    generator.eval()
    decoder.eval()
    noted = {name: torch.stack(values) for name, values in history.items()}
    for name, values in noted.items():
        _require_finite(values, f"the {name} loss")
    return {name: values.tolist() for name, values in noted.items()}


@torch.no_grad()
def draw_data(
    generator: ImageGenerator | DenseGenerator, count: int, rng: torch.Generator, *, soft: bool = False
) -> tuple[Tensor, Tensor]:
    """Data to train a student on: `count` x, (count, ...), with the y that they were made from, (count, classes).

    The generator works in evaluation mode and is left in its own; y as in `draw_inputs`. Published: 6,400 from each of
    5 generators. A student's targets are the teacher's outputs for x, not y.
    """
    device, mode = next(generator.parameters()).device, generator.training
    y, z = (t.to(device) for t in draw_inputs(count, generator.classes, generator.latent, rng, soft=soft))
    generator.eval()
    x = torch.cat([generator(*part) for part in zip(y.split(1024), z.split(1024), strict=True)])
    generator.train(mode)
    return x, y


# ---- training a student ---------------------------------------------------------------------------------------------


def distillation_loss(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    """KL(softmax(M(x)) || softmax(S(x))) in nats, mean over the batch of x, (B, ...) -> scalar.

    The teacher answers in evaluation mode, in which it is left, and learns nothing; the student works in its own mode.
    Where the same x come again and again, keep the teacher's answers: `relational_distillation.kd_loss` of both logits
    with temperature 1 is the same. Raises ValueError where student and teacher have different numbers of outputs, and
    where the teacher's are not finite.
    """
    teacher.eval()
    with torch.no_grad():
        wanted = teacher(x).softmax(1)  # (B, classes)
    _require_finite(wanted, "the teacher's answers")
    found = student(x).log_softmax(1)
    if found.shape != wanted.shape:
        raise ValueError(f"student and teacher must answer alike, got {tuple(found.shape)} and {tuple(wanted.shape)}")
    return F.kl_div(found, wanted, reduction="batchmean")


# ---- teachers and their students ------------------------------------------------------------------------------------


class LeNet5(nn.Module):
    """Images (B, channels, 32, 32) -> logits (B, classes): LeCun et al. (1998) with ReLU and max-pooling, as published.

    Raises ValueError for images of another shape.
    """

    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(channels, 6, 5), nn.Conv2d(6, 16, 5), nn.Conv2d(16, 120, 5)
        self.fc1, self.fc2 = nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != (self.channels, 32, 32):
            raise ValueError(
                f"LeNet5 takes images (B, {self.channels}, 32, 32), got {tuple(x.shape)}: resize them, for example "
                "with torch.nn.functional.interpolate"
            )
        h = F.max_pool2d(self.conv1(x), 2).relu()  # (B, 6, 14, 14); a ReLU before it would do the same four times
        h = F.max_pool2d(self.conv2(h), 2).relu()  # (B, 16, 5, 5)
        h = self.conv3(h).relu().flatten(1)  # (B, 120)
        return self.fc2(self.fc1(h).relu())


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, with biases as published, and a shortcut that skips pixels and adds zero channels."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, stride, 1), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out)
        self.stride, self.missing = stride, out - channels

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        shortcut = x[..., :: self.stride, :: self.stride]
        return (h + F.pad(shortcut, (0, 0, 0, 0, self.missing // 2, -(-self.missing // 2)))).relu()


class ResNet14(nn.Module):
    """Images (B, channels, H, W) -> logits (B, classes): three stages of two blocks with 16, 32 and 64 channels.

    He et al. (2016), section 4.2, with n = 2; the published teacher for Fashion-MNIST and SVHN.
    """

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, 16, 3, 1, 1), nn.BatchNorm2d(16)
        self.stage1 = nn.Sequential(ResidualBlock(16, 16), ResidualBlock(16, 16))
        self.stage2 = nn.Sequential(ResidualBlock(16, 32, 2), ResidualBlock(32, 32))
        self.stage3 = nn.Sequential(ResidualBlock(32, 64, 2), ResidualBlock(64, 64))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stage1(self.bn1(self.conv1(x)).relu())  # (B, 16, H, W)
        h = self.stage3(self.stage2(h))  # (B, 64, H / 4, W / 4)
        return self.fc(h.mean((2, 3)))


class MLP(nn.Module):
    """Rows of features (B, features) -> logits (B, classes): the published teacher for tables.

    `layers` hidden layers of `hidden` units with ELU and dropout. The paper speaks of ten layers; its code has eleven
    hidden ones, to which its compression ratios belong.
    """

    def __init__(self, features: int, classes: int, hidden: int = 100, layers: int = 11, dropout: float = 0.15) -> None:
        super().__init__()
        _require_sizes(features=features, classes=classes, hidden=hidden, layers=layers)
        blocks: list[nn.Module] = []
        for n in [features] + [hidden] * (layers - 1):
            blocks += [nn.Linear(n, hidden), nn.ELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*blocks, nn.Linear(hidden, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


# What `compress` makes the published students 1, 2 and 3 of. The ranks (in, out) of LeNet5 are those that EVBMF found
# in the published teacher, but for the last, which was fixed; another teacher's may differ. ResNet14's are up to EVBMF.
LENET5_STUDENTS: tuple[dict[str, Ranks], ...] = (
    {"conv3": (7, 11)},
    {"conv2": (3, 4), "conv3": (7, 11)},
    {"conv2": (3, 4), "conv3": (5, 8)},
)
RESNET14_STUDENTS: tuple[tuple[str, ...], ...] = (
    ("stage3.0.conv1", "stage3.1.conv1"),
    ("stage3.0.conv2", "stage3.1.conv2"),
    ("stage3.0.conv1", "stage3.0.conv2", "stage3.1.conv1", "stage3.1.conv2"),
)


def mlp_student(model: MLP, rank: int) -> dict[str, Ranks]:
    """What `compress` makes a published student of: all layers with this rank, of which 10 and 5 were taken.

    Inputs of the first layer and outputs of the last keep their full rank, which costs more than it is good for, but
    belongs to the published compression ratios. Raises ValueError for a rank below 1 or above the hidden units.
    """
    linear = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    hidden = linear[0][1].out_features
    if not 1 <= rank <= hidden:
        raise ValueError(f"the rank must lie in 1 to {hidden}, the number of hidden units, got {rank}")
    ranks = {name: (rank, rank) for name, _ in linear}
    (first, layer), (last, output) = linear[0], linear[-1]
    return ranks | {first: (layer.in_features, rank), last: (rank, output.out_features)}


# ---- what is asked of the arguments ---------------------------------------------------------------------------------


def _require_finite(x: Tensor, what: str, *, integers: bool = False) -> None:
    if not integers and not x.is_floating_point():
        raise ValueError(f"{what} must be floating-point, got {x.dtype}: convert them with .float()")
    if not x.isfinite().all():
        raise ValueError(f"{what} must be finite, but some are NaN or infinite: check teacher and learning rate")


def _require_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def _require_weights(classifier: float, alpha: float, beta: float) -> None:
    if not (min(classifier, alpha, beta) >= 0 < max(classifier, alpha, beta)):
        raise ValueError(f"weights of losses must not be negative, nor all 0, got {classifier}, {alpha} and {beta}")
