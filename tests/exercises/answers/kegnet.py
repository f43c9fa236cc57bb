"""Right answers to the exercises of lesson 08 that are written in other ways than the plain ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.papers.relational_distillation import kd_loss

Pair = tuple[int, int]


def standardize_by_rows(x: Tensor) -> Tensor:
    """A row for each channel of each image. A constant one has deviation 0, and its centered values are 0 already."""
    rows = x.flatten(2)
    deviations, means = torch.std_mean(rows, dim=2, keepdim=True)
    return ((rows - means) / torch.where(deviations > 0, deviations, 1)).view_as(x)


def standardize_by_loop(x: Tensor) -> Tensor:
    def standardized(channel: Tensor) -> Tensor:
        centered = channel - channel.mean()
        length = (centered**2).sum()
        return centered * ((channel.numel() - 1) / length).sqrt() if length > 0 else 0 * channel

    return torch.stack([torch.stack([standardized(channel) for channel in image]) for image in x])


def standardize_with_a_small_number(x: Tensor) -> Tensor:
    """So small that it changes no digit that counts; but where a channel is constant the gradient becomes huge."""
    return (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-10)


def classifier_by_logsumexp(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """log softmax(a)_k = a_k - log sum exp(a)."""
    costs = logits.logsumexp(1, keepdim=True) - logits  # (B, classes)
    return torch.lerp((labels * costs).sum(1), costs.mean(1), smoothing).mean()


def classifier_by_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def decoder_by_mse(z: Tensor, decoded: Tensor) -> Tensor:
    return F.mse_loss(decoded, z)


def decoder_by_products(z: Tensor, decoded: Tensor) -> Tensor:
    gap = (decoded - z).flatten()
    return gap @ gap / len(gap)


def decoder_by_loop(z: Tensor, decoded: Tensor) -> Tensor:
    total = sum(((a - b) ** 2).sum() for a, b in zip(z, decoded, strict=True))
    return total / (z.shape[0] * z.shape[1])


def diversity_by_pairs(z: Tensor, x: Tensor) -> Tensor:
    """Each pair i < j once, counted twice."""
    i, j = torch.triu_indices(len(z), len(z), 1)
    pairs = (z[i] - z[j]).square().mean(1) * (x[i] - x[j]).abs().flatten(1).mean(1)
    return torch.exp(-2 * pairs.sum() / len(z) ** 2)


def diversity_by_cdist(z: Tensor, x: Tensor) -> Tensor:
    rows = x.flatten(1)
    pairs = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist") ** 2 * torch.cdist(rows, rows, p=1)
    return pairs.div(z.shape[1] * rows.shape[1]).mean().neg().exp()


def diversity_by_loop(z: Tensor, x: Tensor) -> Tensor:
    total = torch.zeros(())
    for z_i, x_i in zip(z, x, strict=True):
        for z_j, x_j in zip(z, x, strict=True):
            total = total + F.mse_loss(z_i, z_j) * F.l1_loss(x_i, x_j)
    return 1 / torch.exp(total / len(z) ** 2)


def three_by_einsum(
    x: Tensor, core: Tensor, U_i: Tensor, U_o: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """A 1 x 1 convolution is a product of matrices, pixel by pixel."""
    h = F.conv2d(torch.einsum("bihw,ir->brhw", x, U_i), core, None, stride, padding)
    out = torch.einsum("brhw,or->bohw", h, U_o)
    return out if bias is None else out + bias[:, None, None]


def three_by_unfolding(
    x: Tensor, core: Tensor, U_i: Tensor, U_o: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """Channels last, as they would be for linear layers."""
    h = F.linear(x.movedim(1, 3), U_i.T).movedim(3, 1)  # (B, r_i, H, W)
    windows = F.pad(h, 4 * (padding,)).unfold(2, core.shape[2], stride).unfold(3, core.shape[3], stride)
    h = torch.einsum("bqhwyx,pqyx->bhwp", windows, core)  # (B, H', W', r_o)
    return F.linear(h, U_o, bias).movedim(3, 1)


def three_by_elements(
    x: Tensor, core: Tensor, U_i: Tensor, U_o: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """The two 1 x 1 convolutions as sums of products that are written out."""
    h = (x[:, :, None] * U_i[:, :, None, None]).sum(1)  # (B, r_i, H, W)
    h = F.conv2d(h, core, stride=stride, padding=padding)
    out = (h[:, None] * U_o[:, :, None, None]).sum(2)
    return out if bias is None else out + bias.view(-1, 1, 1)


def cost_by_layers(channels: Pair, k: int, ranks: Pair, pixels: Pair) -> Pair:
    sizes = [channels[0], *ranks, channels[1]]
    layers = [nn.Conv2d(sizes[i], sizes[i + 1], (1, k, 1)[i], bias=i == 2) for i in range(3)]
    work = sum(layer.weight.numel() * pixels[i > 0] for i, layer in enumerate(layers))
    return sum(parameter.numel() for layer in layers for parameter in layer.parameters()), work


def cost_factored(channels: Pair, k: int, ranks: Pair, pixels: Pair) -> Pair:
    C_i, C_o = channels
    r_i, r_o = ranks
    behind = r_o * (r_i * k * k + C_o)
    return r_i * C_i + behind + C_o, r_i * C_i * pixels[0] + behind * pixels[1]


def distillation_by_kl_div(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    teacher.eval()
    with torch.no_grad():
        wanted = teacher(x).softmax(1)
    return F.kl_div(student(x).log_softmax(1), wanted, reduction="batchmean")


def distillation_by_kd_loss(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    return kd_loss(student(x), teacher.eval()(x).detach(), 1.0)


def distillation_of_a_frozen_teacher(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    teacher.eval().requires_grad_(False)
    return F.kl_div(F.log_softmax(student(x), -1), F.softmax(teacher(x), -1), reduction="sum") / len(x)


def distillation_by_distributions(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    found = torch.distributions.Categorical(logits=student(x))
    teacher.eval()
    with torch.no_grad():
        wanted = torch.distributions.Categorical(logits=teacher(x))
    return torch.distributions.kl_divergence(wanted, found).mean()


def hosvd_by_eigenvectors(kernel: Tensor, ranks: Pair) -> tuple[Tensor, Tensor, Tensor]:
    """Of the products of channels with each other; the largest come last, and in this order they stay."""
    U_o = torch.linalg.eigh(torch.einsum("aihw,bihw->ab", kernel, kernel)).eigenvectors[:, -ranks[1] :]
    U_i = torch.linalg.eigh(torch.einsum("oahw,obhw->ab", kernel, kernel)).eigenvectors[:, -ranks[0] :]
    core = (U_i.T @ (U_o.T @ kernel.flatten(1)).view(ranks[1], kernel.shape[1], -1)).view(
        *ranks[::-1], *kernel.shape[2:]
    )
    return core, U_i, U_o


def hosvd_by_full_svd_in_double(kernel: Tensor, ranks: Pair) -> tuple[Tensor, Tensor, Tensor]:
    W = kernel.detach().double()
    U_i, U_o = (
        torch.linalg.svd(W.movedim(axis, 0).reshape(W.shape[axis], -1))[0][:, :rank]
        for axis, rank in ((1, ranks[0]), (0, ranks[1]))
    )
    core = torch.tensordot(U_o, torch.tensordot(U_i, W, dims=([0], [1])), dims=([0], [1]))
    return core.float(), -U_i.float(), -U_o.float()


def step_of_a_frozen_teacher(
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
    """The gradients are zeroed at the end, for the next step."""
    teacher.eval().requires_grad_(False)
    x = generator(y, z)
    loss = classifier * F.cross_entropy(teacher(x), y) + alpha * F.mse_loss(decoder(x), z)
    if beta:
        loss = loss + beta * diversity_by_pairs(z, x)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def step_by_gradients(
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
    """Each gradient is put where the optimizer looks for it."""
    learned = [*generator.parameters(), *decoder.parameters()]
    x = generator(y, z)
    log_p = teacher.eval()(x).log_softmax(1)
    losses = -(y * log_p).sum(1).mean(), (decoder(x) - z).pow(2).mean(), diversity_by_cdist(z, x)
    loss = torch.stack(losses) @ torch.tensor([classifier, alpha, beta])
    for parameter, slope in zip(learned, torch.autograd.grad(loss, learned), strict=True):
        parameter.grad = slope
    optimizer.step()
    return loss.item()


ANSWERS = {
    "standardize_images": (standardize_by_rows, standardize_by_loop, standardize_with_a_small_number),
    "classifier_loss": (classifier_by_logsumexp, classifier_by_cross_entropy),
    "decoder_loss": (decoder_by_mse, decoder_by_products, decoder_by_loop),
    "diversity_loss": (diversity_by_pairs, diversity_by_cdist, diversity_by_loop),
    "three_convolutions": (three_by_einsum, three_by_unfolding, three_by_elements),
    "tucker2_cost": (cost_by_layers, cost_factored),
    "distillation_loss": (
        distillation_by_kl_div,
        distillation_by_kd_loss,
        distillation_of_a_frozen_teacher,
        distillation_by_distributions,
    ),
    "hosvd": (hosvd_by_eigenvectors, hosvd_by_full_svd_in_double),
    "kegnet_step": (step_of_a_frozen_teacher, step_by_gradients),
}
