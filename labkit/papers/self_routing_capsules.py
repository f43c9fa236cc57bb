"""Capsule layers with three routings, self-routing, dynamic and EM; networks that compare them; and attacks.

Papers: T. Hahn, M. Pyeon, G. Kim, *Self-Routing Capsule Networks*, NeurIPS 2019; S. Sabour, N. Frosst, G. E. Hinton,
*Dynamic Routing Between Capsules*, NeurIPS 2017; G. E. Hinton, S. Sabour, N. Frosst, *Matrix Capsules with EM Routing*,
ICLR 2018. Where a paper is silent, the authors' code of the first decides; docstrings say so.

N: images; A types of lower capsules with poses of C numbers, B types of upper ones with D. A capsule layer looks at
windows of k x k places, so that k*k*A lower capsules (index i) vote for B upper ones (index j), at each of L = h * w
places. Activations are (N, A, H, W), poses (N, A * C, H, W), the C numbers of a capsule one behind the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-12  # only where nothing is active; a larger one would change what the equations say
VARIANCE_FLOOR = 1e-8  # added to EM routing's variances, as in the code of Hahn et al. (2019)

# ---- windows and votes ----------------------------------------------------------------------------------------------


def in_full_precision(method: Callable) -> Callable:
    """For a layer's method of maps: in float32 at least, also within `torch.autocast`.

    Sums over thousands of capsules, and EM routing's variances, lose too much in the 8 bits of bfloat16.
    """

    @wraps(method)
    def run(layer: CapsuleLayer, *maps: Tensor):
        kind = "cpu" if maps[0].is_meta else maps[0].device.type  # where only shapes are counted, there is no autocast
        with torch.autocast(kind, enabled=False):
            return method(layer, *(x.to(torch.promote_types(x.dtype, torch.float32)) for x in maps))

    return run


class CapsuleLayer(nn.Module):
    """What the three routings share: windows, and the matrices W_ij that turn a lower pose into a vote.

    Each (place in the window, lower type, upper type) has its own matrix; they are shared over output places. Window:
    `kernel`, `stride`, `padding` as of a convolution, square; maps need not be. Raises ValueError for sizes below 1.
    """

    def __init__(self, A: int, B: int, C: int, D: int, kernel: int = 1, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        if min(A, B, C, D, kernel, stride) < 1 or padding < 0:
            raise ValueError(
                "numbers of capsules, pose sizes, kernel and stride must be at least 1, padding at least 0"
            )
        self.A, self.B, self.C, self.D = A, B, C, D
        self.kernel, self.stride, self.padding = kernel, stride, padding

    @property
    def votes(self) -> int:
        """k*k*A, the lower capsules that an upper one hears."""
        return self.kernel**2 * self.A

    def places(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the upper maps. Raises ValueError for a map smaller than the window."""
        sides = [(side + 2 * self.padding - self.kernel) // self.stride + 1 for side in (height, width)]
        if min(sides) < 1:
            raise ValueError(f"a window of {self.kernel} x {self.kernel} does not fit into a map of {height} x {width}")
        return sides[0], sides[1]

    def windows(self, maps: Tensor, size: int) -> Tensor:
        """Maps (N, A * size, H, W) cut into windows, (k*k*A, N * L, size): what lower capsule i says at each place."""
        if maps.ndim != 4 or maps.shape[1] != self.A * size:
            raise ValueError(f"maps must be (N, {self.A} * {size}, H, W), got {tuple(maps.shape)}")
        self.places(*maps.shape[2:])
        if maps.shape[2:] == (self.kernel, self.kernel) and not self.padding:  # a single window, the map as it is
            cut = maps.flatten(2).unflatten(1, (self.A, size))[..., None]  # (N, A, size, k*k, 1)
        else:
            cut = F.unfold(maps, self.kernel, padding=self.padding, stride=self.stride)  # (N, A * size * k*k, L)
            cut = cut.unflatten(1, (self.A, size, self.kernel**2))  # (N, A, size, k*k, L)
        return cut.permute(3, 1, 0, 4, 2).reshape(self.votes, -1, size)

    def maps(self, values: Tensor, like: Tensor) -> Tensor:
        """Values (N * L, B, ...) at their places, (N, B * ..., h, w), for lower maps `like` (N, ..., H, W)."""
        places = self.places(*like.shape[2:])
        values = values.reshape(len(like), math.prod(places), -1)  # (N, L, B * ...)
        return values.transpose(1, 2).unflatten(2, places)


class WeightedVotes(torch.autograd.Function):
    """s_j = sum_i r_ij W_ij u_i, for u (I, M, C), r (I, M, B), W (I, C, B, D) -> (M, B, D); no vote is ever stored.

    The textbook formulation makes all votes, (I, M, B, D) numbers, and a copy of W for each of M; most of its time goes
    into moving them. Here the weights come first: for one j the sum over i and C is a single matrix product,
    (M, I * C) @ (I * C, D). The weighted poses of one j and some of M fit into the processor's cache; the backward
    pass makes them again instead of keeping them.
    """

    CACHE = 2**18  # numbers that a processor works on at a time, 1 MiB

    @staticmethod
    def forward(ctx, u: Tensor, r: Tensor, W: Tensor) -> Tensor:
        ctx.save_for_backward(u, r, W)
        matrices = W.permute(2, 0, 1, 3).flatten(1, 2)  # (B, I * C, D)
        found = u.new_empty(u.shape[1], *W.shape[2:])  # (M, B, D)
        for part, poses, weights in _parts(u, r):
            weighted = torch.empty_like(poses)  # (m, I, C), in the same memory for each j
            for j, matrix in enumerate(matrices):
                torch.mul(poses, weights[j], out=weighted)
                torch.mm(weighted.flatten(1), matrix, out=found[part, j])
        return found

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, r, W = ctx.saved_tensors
        matrices = W.permute(2, 0, 1, 3).flatten(1, 2)  # (B, I * C, D)
        to_u, to_r, to_W = torch.empty_like(u), torch.empty_like(r), torch.zeros_like(matrices)
        for part, poses, weights in _parts(u, r):
            to_poses, weighted, back = torch.zeros_like(poses), *poses.new_empty(2, *poses.shape)  # (m, I, C)
            to_weights = torch.empty_like(weights[..., 0])  # (B, m, I)
            for j, matrix in enumerate(matrices):
                torch.mul(poses, weights[j], out=weighted)
                to_W[j].addmm_(weighted.flatten(1).T, gradient[part, j])
                torch.mm(gradient[part, j], matrix.T, out=back.view(len(back), -1))
                to_poses.addcmul_(back, weights[j])
                torch.sum(back.mul_(poses), 2, out=to_weights[j])
            to_u[:, part], to_r[:, part] = to_poses.transpose(0, 1), to_weights.permute(2, 1, 0)
        return to_u, to_r, to_W.unflatten(1, W.shape[:2]).permute(1, 2, 0, 3)


def _parts(u: Tensor, r: Tensor):
    """Of u (I, M, C) and r (I, M, B), some of M at a time: which, poses (m, I, C), weights (B, m, I, 1)."""
    cache = WeightedVotes.CACHE if u.device.type == "cpu" else 2**26  # 256 MiB: small steps leave a GPU idle
    step = max(1, cache // (u.shape[0] * u.shape[2]))
    for first in range(0, u.shape[1], step):
        part = slice(first, first + step)
        yield part, u[:, part].transpose(0, 1).contiguous(), r[:, part].permute(2, 1, 0).contiguous()[..., None]


# ---- self-routing ---------------------------------------------------------------------------------------------------


def routing_coefficients(u: Tensor, route: Tensor, bias: Tensor) -> Tensor:
    """c_ij = softmax_j(W_i^route u_i + b_i): poses (I, M, C), route (I, C, B), bias (I, 1, B) -> (I, M, B).

    How lower capsule i shares what it has among the B upper ones, at M windows. Hahn et al. (2019), section 3.
    """
    return (torch.bmm(u, route) + bias).softmax(2)


def routed_activations(c: Tensor, a: Tensor) -> Tensor:
    """a_j = sum_i c_ij a_i / sum_i a_i: coefficients (I, M, B), activations (I, M, 1) -> (M, B). Hahn et al. (2019).

    Where nothing is active, 0.
    """
    return (c * a).sum(0) / a.sum(0).clamp(min=EPSILON)


def pose_average(votes: Tensor, weights: Tensor) -> Tensor:
    """u_j = sum_i w_ij v_ij / sum_i w_ij, with w_ij = c_ij a_i: votes (I, M, B, D), weights (I, M, B) -> (M, B, D).

    Where no weight is, 0. `SelfRouting2d` finds the same without making the votes. Hahn et al. (2019), section 3.
    """
    return (weights[..., None] * votes).sum(0) / weights.sum(0).clamp(min=EPSILON)[..., None]


def self_routing(
    a: Tensor,
    u: Tensor,
    route: Tensor,
    bias: Tensor,
    weight: Tensor,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
) -> tuple[Tensor, Tensor]:
    """A whole layer: activations (N, A, H, W), poses (N, A * C, H, W) -> those above, (N, B, h, w), (N, B * D, h, w).

    Maps are cut into windows of k x k places, as for a convolution. The I = k*k*A lower capsules of a window, place by
    place (i = place * A + type), each have a gate, route (I, C, B) and bias (I, 1, B), and matrices W, weight
    (I, C, B, D), for their votes u_i W_ij; all are shared by the windows. `SelfRouting2d` finds the same without making
    the votes. Raises ValueError for parameters or maps of other shapes. Hahn et al. (2019), section 3.
    """
    A, (lower, C, B, D) = a.shape[1], weight.shape
    if kernel**2 * A != lower or route.shape != (lower, C, B) or bias.shape != (lower, 1, B):
        raise ValueError(
            f"{A} capsules at {kernel} x {kernel} places need parameters for {kernel**2 * A}, of one size: got route "
            f"{tuple(route.shape)}, bias {tuple(bias.shape)} and weight {tuple(weight.shape)}"
        )
    layer = CapsuleLayer(A, B, C, D, kernel, stride, padding)
    active, poses = layer.windows(a, 1), layer.windows(u, C)  # (I, M, 1), (I, M, C)
    c = routing_coefficients(poses, route, bias)  # (I, M, B)
    votes = torch.einsum("imc,icbd->imbd", poses, weight)
    return layer.maps(routed_activations(c, active), a), layer.maps(pose_average(votes, c * active), a)


class SelfRouting2d(CapsuleLayer):
    """Hahn et al. (2019), section 3: each lower capsule has a small network of its own that says to whom it belongs.

    c_ij = softmax_j(W_i^route u_i + b_i), a_j = sum_i c_ij a_i / sum_i a_i, and
    u_j = sum_i c_ij a_i W_ij u_i / sum_i c_ij a_i. So the a_j of a place add up to 1. W^route and b start at 0 (routing
    is uniform), and the matrices W_ij as in the authors' code, whose Kaiming bound takes B * D * C for the fan-in.
    Without poses (D = 0) it is the last layer of a network. Where nothing is active, a_j and u_j are 0.
    """

    def __init__(self, A: int, B: int, C: int, D: int, kernel: int = 1, stride: int = 1, padding: int = 0) -> None:
        super().__init__(A, B, C, max(D, 1), kernel, stride, padding)
        self.D = D
        self.route = nn.Parameter(torch.zeros(self.votes, C, B))
        self.bias = nn.Parameter(torch.zeros(self.votes, 1, B))
        if D:
            bound = math.sqrt(6 / (B * D * C))
            self.weight = nn.Parameter(torch.empty(self.votes, C, B, D).uniform_(-bound, bound))

    @in_full_precision
    def forward(self, a: Tensor, u: Tensor) -> tuple[Tensor, Tensor | None]:
        """Activations (N, A, H, W) and poses (N, A * C, H, W) -> (N, B, h, w), and (N, B * D, h, w) or None."""
        active, poses = self.windows(a, 1), self.windows(u, self.C)  # (I, M, 1), (I, M, C)
        c = routing_coefficients(poses, self.route, self.bias)  # (I, M, B)
        up = self.maps(routed_activations(c, active), a)
        if not self.D:
            return up, None
        weights = c * active
        votes = WeightedVotes.apply(poses, weights, self.weight)  # (M, B, D)
        return up, self.maps(votes / weights.sum(0).clamp(min=EPSILON)[..., None], a)

    @in_full_precision
    def log_activations(self, a: Tensor, u: Tensor) -> Tensor:
        """log a_j, (N, B, h, w), without the detour over a_j, which may be too small for a float."""
        active = self.windows(a, 1).clamp(min=EPSILON)
        log_c = (torch.bmm(self.windows(u, self.C), self.route) + self.bias).log_softmax(2)  # (I, M, B)
        joint = (log_c + active.log()).logsumexp(0)  # (M, B)
        return self.maps(joint - active.sum(0).log(), a)

    @in_full_precision
    def coefficients(self, u: Tensor) -> Tensor:
        """c_ij for poses (N, A * C, H, W) -> (k*k*A, N, h, w, B): where each lower capsule sends what it sees."""
        found = routing_coefficients(self.windows(u, self.C), self.route, self.bias)
        return found.unflatten(1, (len(u), *self.places(*u.shape[2:])))


# ---- dynamic routing ------------------------------------------------------------------------------------------------


def squash(s: Tensor, dim: int = -1) -> Tensor:
    """v = |s|^2 / (1 + |s|^2) * s / |s|: the direction of s, a length below 1. Sabour et al. (2017), equation 1."""
    square = s.square().sum(dim, keepdim=True)
    return s * square.clamp(min=EPSILON**2).sqrt() / (1 + square)


def dynamic_routing(votes: Tensor, iterations: int = 3) -> Tensor:
    """Votes (M, B, I, D) of I lower capsules for B upper ones at M windows -> poses v (M, B, D), each shorter than 1.

    b = 0; `iterations` times: c = softmax_j(b), v_j = squash(sum_i c_ij vote_ij), b_ij += v_j . vote_ij.
    Raises ValueError without an iteration. Sabour et al. (2017), procedure 1.
    """
    if iterations < 1:
        raise ValueError(f"routing takes at least one iteration, got {iterations}")
    logits = votes.new_zeros(votes.shape[:3])  # b, (M, B, I)
    for iteration in range(iterations):
        c = logits.softmax(1)  # over the upper capsules
        v = squash((c[:, :, None] @ votes).squeeze(2))
        if iteration + 1 < iterations:
            # a row times a matrix, as above: MKL takes five times as long for so many matrices times a column
            logits = logits + (v[:, :, None] @ votes.transpose(2, 3)).squeeze(2)
    return v


class DynamicRouting2d(CapsuleLayer):
    """`dynamic_routing` of votes W_ij u_i: capsules send more to those with whom their votes agree.

    A capsule's activation is the length of its pose. `route`, (votes, iterations) -> poses, may be given to one layer
    to have it route in another way. Sabour et al. (2017).
    """

    route = staticmethod(dynamic_routing)

    def __init__(
        self,
        A: int,
        B: int,
        C: int,
        D: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int = 0,
        iterations: int = 3,
    ) -> None:
        super().__init__(A, B, C, D, kernel, stride, padding)
        if iterations < 1:
            raise ValueError(f"routing takes at least one iteration, got {iterations}")
        self.iterations = iterations
        bound = math.sqrt(6 / (B * D * C))
        self.weight = nn.Parameter(torch.empty(self.votes, C, B, D).uniform_(-bound, bound))

    @in_full_precision
    def forward(self, u: Tensor) -> Tensor:
        """Poses (N, A * C, H, W) -> (N, B * D, h, w), each of a length below 1."""
        return self.maps(self.route(self.cast(u), self.iterations), u)

    def cast(self, u: Tensor) -> Tensor:
        """The votes W_ij u_i of poses (N, A * C, H, W), as (M, B, I, D)."""
        votes = torch.bmm(self.windows(u, self.C), self.weight.flatten(2))  # (I, M, B * D)
        return votes.unflatten(2, (self.B, self.D)).permute(1, 2, 0, 3).contiguous()


# ---- EM routing -----------------------------------------------------------------------------------------------------


def em_routing(votes: Tensor, a: Tensor, beta_u: Tensor, beta_a: Tensor, rounds: int = 3) -> tuple[Tensor, Tensor]:
    """Votes (M, B, I, D), lower activations (M, I), beta_u and beta_a (B,) -> activations (M, B) and poses (M, B, D).

    Upper capsules are Gaussians that are fitted to the votes of M windows, each by itself. r_ij = 1; then, for t = 1 to
    `rounds`, with w_ij = r_ij a_i,

        M: mu_j and sigma_j^2 are the mean and the variance of vote_ij over i, weighted by w_ij, in each dimension h,
           a_j = sigmoid(lambda (beta_a - sum_h (beta_u + log sigma_jh) sum_i w_ij)), lambda = 0.01 (1 - 0.95^t);
        E: r_ij = a_j N(vote_ij; mu_j, sigma_j^2), divided by its sum over j.

    That r starts at 1 and not at 1 / B, lambda, and the `VARIANCE_FLOOR` added to variances are those of the code of
    Hahn et al. Where nothing is active mu_j is 0. Raises ValueError without a round. Hinton et al. (2018), procedure 1.
    """
    if rounds < 1:
        raise ValueError(f"routing takes at least one round, got {rounds}")
    votes, a = votes.transpose(2, 3), a[:, None]  # (M, B, D, I), since sums over a last axis are fast; (M, 1, I)
    weights = a.expand(-1, votes.shape[1], -1)  # w, (M, B, I)
    for t in range(1, rounds + 1):
        up, mean, variance, squares = _maximize(votes, weights, beta_u, beta_a, 0.01 * (1 - 0.95**t))
        if t < rounds:
            weights = _expect(squares, up, variance) * a
    return up, mean


def _maximize(
    votes: Tensor, weights: Tensor, beta_u: Tensor, beta_a: Tensor, inverse_temperature: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """From votes (M, B, D, I) and w (M, B, I): a (M, B), means and variances (M, B, D), (votes - means)^2."""
    total = weights.sum(2)  # (M, B)
    share = (weights / total.clamp(min=EPSILON)[..., None])[:, :, None]  # (M, B, 1, I)
    mean = (share @ votes.transpose(2, 3)).squeeze(2)
    squares = (votes - mean[..., None]).square()  # (M, B, D, I)
    variance = (share @ squares.transpose(2, 3)).squeeze(2) + VARIANCE_FLOOR
    cost = (beta_u[:, None] + 0.5 * variance.log()).sum(2) * total
    return torch.sigmoid(inverse_temperature * (beta_a - cost)), mean, variance, squares


def _expect(squares: Tensor, up: Tensor, variance: Tensor) -> Tensor:
    """r, (M, B, I): how probable each vote is under each Gaussian, among the upper capsules."""
    distance = ((0.5 / variance)[:, :, None] @ squares).squeeze(2)  # (M, B, I)
    log_density = -distance - 0.5 * (2 * math.pi * variance).log().sum(2)[..., None]
    return (up.clamp(min=EPSILON).log()[..., None] + log_density).softmax(1)


class EMRouting2d(CapsuleLayer):
    """`em_routing` of votes P_i W_ij: poses are square matrices, C = D = n * n. Hinton et al. (2018).

    `em_routing_fast.py` finds the same with the least movement of votes through memory, some windows at a time. It can
    be differentiated once.
    """

    def __init__(
        self, A: int, B: int, C: int = 16, kernel: int = 1, stride: int = 1, padding: int = 0, iterations: int = 3
    ) -> None:
        super().__init__(A, B, C, C, kernel, stride, padding)
        self.n = math.isqrt(C)
        if self.n**2 != C or iterations < 1:
            raise ValueError(f"EM routing needs square poses and at least one iteration, got {C} and {iterations}")
        self.iterations = iterations
        bound = math.sqrt(6 / (B * C))
        self.weight = nn.Parameter(torch.empty(self.votes, self.n, B, self.n).uniform_(-bound, bound))
        self.beta_u, self.beta_a = nn.Parameter(torch.zeros(B)), nn.Parameter(torch.zeros(B))

    @in_full_precision
    def forward(self, a: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Activations (N, A, H, W) and poses (N, A * C, H, W) -> (N, B, h, w) and (N, B * C, h, w)."""
        from labkit.papers.em_routing_fast import fitted_gaussians  # here, as it imports this module

        poses, active = self.windows(u, self.C), self.windows(a, 1).squeeze(2).T  # (I, M, C), (M, I)
        up, mean = fitted_gaussians(poses, active, self.weight, self.beta_u, self.beta_a, self.iterations)
        return self.maps(up, a), self.maps(mean, a)


# ---- losses ---------------------------------------------------------------------------------------------------------


def margin_loss(lengths: Tensor, labels: Tensor, upper: float = 0.9, lower: float = 0.1, weight: float = 0.5) -> Tensor:
    """Sabour et al. (2017), equation 4, for the lengths (N, K) of the class capsules and labels (N,); mean over N."""
    present = F.one_hot(_labels(labels, lengths), lengths.shape[1])
    missing, surplus = (upper - lengths).clamp(min=0).square(), (lengths - lower).clamp(min=0).square()
    return (present * missing + weight * (1 - present) * surplus).sum(1).mean()


def spread_loss(a: Tensor, labels: Tensor, margin: float = 0.2) -> Tensor:
    """sum over i != t of max(0, m - (a_t - a_i))^2, Hinton et al. (2018), equation 3; a (N, K), mean over images."""
    target = a.gather(1, _labels(labels, a)[:, None])
    others = F.one_hot(labels, a.shape[1]) == 0
    return ((margin - (target - a)).clamp(min=0).square() * others).sum(1).mean()


def _labels(labels: Tensor, scores: Tensor) -> Tensor:
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < scores.shape[1]:
        raise ValueError(f"labels must lie in 0 to {scores.shape[1] - 1}, got {labels.min()} to {labels.max()}")
    return labels


# ---- networks -------------------------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, which skips pixels and adds zero channels where the shape changes."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.stride, self.missing = stride, out - channels

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        skipped = F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, self.missing // 2, -(-self.missing // 2)))
        return (h + skipped).relu()


def resnet20_features(colours: int = 3) -> nn.Sequential:
    """The convolutions of ResNet-20: (N, colours, H, W) -> (N, 64, H / 4, W / 4). He et al. (2016), section 4.2."""
    blocks: list[nn.Module] = [nn.Conv2d(colours, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for channels, out, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        blocks += [BasicBlock(channels, out, stride), BasicBlock(out, out), BasicBlock(out, out)]
    return nn.Sequential(*blocks)


# mean and standard deviation of each color, in brightness from 0 to 1, in the code of Hahn et al.
CHANNEL_STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "svhn": ((109.9 / 255, 109.7 / 255, 113.8 / 255), (50.1 / 255, 50.6 / 255, 50.8 / 255)),
}
SMALLNORB = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2))  # Hahn et al.'s network for smallNORB


def convnet_features(colours: int, *layers: tuple[int, int]) -> nn.Sequential:
    """3 x 3 convolutions, each with batch normalization and ReLU; `layers` gives the channels and stride of each."""
    blocks: list[nn.Module] = []
    for out, stride in layers:
        blocks += [nn.Conv2d(colours, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        colours = out
    return nn.Sequential(*blocks)


class CapsuleNetwork(nn.Module):
    """A backbone, primary capsules, `depth` capsule layers; the last of them looks at the whole map.

    `features` maps images to (N, channels, side, side). Primary capsules: a 3 x 3 convolution with batch normalization
    for the poses and another, with a sigmoid, for the activations; dynamic routing has poses only, which are squashed.
    Each capsule layer but the last has a 3 x 3 window and padding 1; the first has stride 2, the others keep the size
    of the map. Their poses are batch normalized, but not in dynamic routing, which gives squashed poses as it is.
    Raises ValueError for another `routing` than "self", "dynamic" or "em".
    """

    def __init__(
        self,
        features: nn.Module,
        channels: int,
        side: int,
        routing: str,
        *,
        depth: int = 1,
        classes: int = 10,
        types: int = 32,
        pose: int = 16,
    ) -> None:
        super().__init__()
        if routing not in ("self", "dynamic", "em"):
            raise ValueError(f"routing must be 'self', 'dynamic' or 'em', got {routing!r}")
        self.routing, self.types, self.size = routing, types, pose
        self.features = features
        self.pose = primary_maps(channels, types * pose)
        self.activation = None if routing == "dynamic" else nn.Sequential(primary_maps(channels, types), nn.Sigmoid())
        self.hidden = nn.ModuleList(
            _routed(routing, types, types, pose, kernel=3, stride=1 if i else 2, padding=1) for i in range(depth - 1)
        )
        # dynamic routing does not use them; the authors' code makes them even so, and they are in its parameter counts
        self.norms = nn.ModuleList(nn.BatchNorm2d(types * pose) for _ in range(depth - 1))
        if depth > 1:
            side = (side + 1) // 2
        self.last = _routed(routing, types, classes, pose, last=True, kernel=side)

    def forward(self, x: Tensor) -> Tensor:
        """Images -> log probabilities (N, classes): activations of the class capsules, made to add up to 1."""
        a, u = self.below(x)
        if self.routing == "self":
            return self.last.log_activations(a, u).flatten(1)
        up = self._last(a, u)
        up = up.clamp(min=torch.finfo(up.dtype).tiny)  # lengths of an untrained network may be as small as 1e-13
        return up.log() - up.sum(1, keepdim=True).log()

    def class_activations(self, x: Tensor) -> Tensor:
        """Images -> activations of the class capsules, (N, classes); in dynamic routing, lengths of their poses."""
        return self._last(*self.below(x))

    def class_poses(self, x: Tensor) -> Tensor:
        """Images -> poses of the class capsules, (N, classes, pose). Raises ValueError where they have none."""
        if self.routing == "self":
            raise ValueError("the class capsules of self-routing have no poses: look at those of `below`")
        a, u = self.below(x)
        up = self.last(u) if self.routing == "dynamic" else self.last(a, u)[1]
        return up.flatten(1).unflatten(1, (-1, self.size))

    def below(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Activations (N, types, h, w), None in dynamic routing, and poses (N, types * pose, h, w) of the layer below.

        These are what the last layer, the one of the class capsules, is given.
        """
        features = self.features(x)
        u = self.pose(features)
        a = None if self.activation is None else self.activation(features)
        if self.routing == "dynamic":
            u = self._squashed(u)
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            if self.routing == "dynamic":
                u = layer(u)
            else:
                a, u = layer(a, u)
                u = norm(u)
        return a, u

    def _last(self, a: Tensor | None, u: Tensor) -> Tensor:
        if self.routing == "dynamic":
            return self.last(u).flatten(1).unflatten(1, (-1, self.size)).norm(dim=2)
        return self.last(a, u)[0].flatten(1)

    def _squashed(self, u: Tensor) -> Tensor:
        return squash(u.unflatten(1, (self.types, self.size)), dim=2).flatten(1, 2)


def primary_maps(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))


def _routed(routing: str, A: int, B: int, pose: int, *, last: bool = False, **window: int) -> CapsuleLayer:
    if routing == "self":
        return SelfRouting2d(A, B, pose, 0 if last else pose, **window)
    return DynamicRouting2d(A, B, pose, pose, **window) if routing == "dynamic" else EMRouting2d(A, B, pose, **window)


def classifier(
    features: nn.Module, channels: int, side: int, routing: str, *, classes: int = 10, **capsules: int
) -> nn.Module:
    """One of five heads on `features`, images -> maps (N, channels, side, side); the whole gives (N, classes), log p.

    "self", "dynamic", "em": a `CapsuleNetwork`, with its `depth`, `types`, `pose`. Two baselines without capsules (Hahn
    et al., 2019, section 5): "average", global average pooling and a linear layer; "convolution", a convolution to as
    many channels as the poses would take, and a linear layer. Raises ValueError for another routing, or for a depth
    other than 1 of a baseline.
    """
    if routing not in ("average", "convolution"):
        return CapsuleNetwork(features, channels, side, routing, classes=classes, **capsules)
    depth, poses = capsules.get("depth", 1), capsules.get("types", 32) * capsules.get("pose", 16)
    if depth != 1:
        raise ValueError(f"the baseline {routing!r} has no capsule layers: its depth is 1, got {depth}")
    if routing == "average":
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    else:
        head = [nn.Conv2d(channels, poses, 3, padding=1), nn.BatchNorm2d(poses), nn.ReLU(), nn.Flatten()]
        head += [nn.Linear(poses * side**2, classes)]
    return nn.Sequential(features, *head, nn.LogSoftmax(1))


def resnet20_capsules(routing: str, depth: int = 1, classes: int = 10, side: int = 32) -> nn.Module:
    """`classifier` on ResNet-20, for images (N, 3, side, side): 32 types of capsules with poses of 16 numbers."""
    return classifier(resnet20_features(), 64, side // 4, routing, depth=depth, classes=classes)


# ---- attacks --------------------------------------------------------------------------------------------------------

Box = tuple[Tensor | float, Tensor | float]  # the smallest and largest value of an image, in the model's units


def attack_step(
    x: Tensor, attacked: Tensor, gradient: Tensor, *, step: float, eps: float, targeted: bool, box: Box
) -> Tensor:
    """From `attacked`, `step` in each pixel along the sign of the loss's gradient; if `targeted`, against it.

    The result is no pixel farther than `eps` from the image `x`, and lies in `box`. All of one shape, (N, C, H, W).
    """
    direction = -gradient.sign() if targeted else gradient.sign()
    near = x + (attacked + step * direction - x).clamp(-eps, eps)
    return near.clamp(*(torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in box))


def fgsm(
    model: nn.Module, x: Tensor, labels: Tensor, eps: float, *, targeted: bool = False, box: Box = (0.0, 1.0)
) -> Tensor:
    """One step of length eps (in units of x) along the sign of the gradient of the loss, -log p. Same shape as x.

    Away from the true `labels`; if `targeted`, towards `labels`, which then are wrong classes. The result lies in
    `box`, the smallest and largest value of an image in the units in which the model takes it.
    Raises ValueError for eps < 0 or labels that are no classes. Goodfellow et al. (2015), arXiv:1412.6572.
    """
    return bim(model, x, labels, eps, steps=1, targeted=targeted, box=box)


def bim(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    eps: float,
    *,
    steps: int = 10,
    targeted: bool = False,
    box: Box = (0.0, 1.0),
) -> Tensor:
    """`steps` steps of length eps / steps, as `fgsm`; never farther than eps from x. Kurakin et al. (2017)."""
    if not eps >= 0 or steps < 1:
        raise ValueError(f"eps must be at least 0 and there must be a step, got {eps} and {steps}")
    attacked = x.detach()
    for _ in range(steps):
        attacked.requires_grad_()
        log_probabilities = model(attacked)
        loss = F.nll_loss(log_probabilities, _labels(labels, log_probabilities), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, attacked)
        attacked = attack_step(
            x, attacked.detach(), gradient, step=eps / steps, eps=eps, targeted=targeted, box=box
        ).detach()
    return attacked
