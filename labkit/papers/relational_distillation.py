"""Relational knowledge distillation (RKD), the transfers before it, and metric learning on classes not seen before.

Paper: W. Park, D. Kim, Y. Lu, M. Cho, *Relational Knowledge Distillation*, CVPR 2019, arXiv:1904.05068. Where it leaves
a detail open, its authors' code decides; "published" below means that code. A transfer asks a student to give the
outputs of a teacher, one by one (knowledge distillation, hints, attention), or to keep the relations among them
(distances, angles). No gradient ever flows into the teacher.

N: images of a batch; d: numbers of an embedding, which teacher and student need not share where relations are compared.
float16 and bfloat16 are computed in float32, also under autocast: a difference of two of them has few correct digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FLOOR = 1e-12  # published: no squared distance between two images is taken for smaller
ANGLES_AT_A_TIME = 2**16  # these fit into the processor's cache
DISTANCES_AT_A_TIME = 2**21  # 8 MiB of float32

# ---- one output at a time -------------------------------------------------------------------------------------------


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau)) in nats, mean over the batch, (N, K), (N, K) -> scalar.

    The gradient shrinks as 1 / tau^2, which the factor makes up for. Raises ValueError unless tau > 0 and both logits
    are finite, floating-point and of one shape (N, K). Hinton et al. (2015), arXiv:1503.02531, section 2.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"the temperature must be a positive number, got {temperature}")
    student, teacher = _pair(student_logits, teacher_logits, "logits", dimensions=2)
    _require_one_shape(student, teacher, "logits")
    found, wanted = (logits.div(temperature).log_softmax(1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(found, wanted, reduction="batchmean", log_target=True)


def hint_loss(student: Tensor, teacher: Tensor, regressor: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean of (f_T(x) - r(f_S(x)))^2 over all numbers, (N, C_S, ...), (N, C_T, ...) -> scalar.

    The `regressor` r, which is learned along, brings student features to the teacher's shape: a 1 x 1 convolution for
    maps, a linear layer for vectors. Raises ValueError where it does not, and for features that are not finite,
    floating-point and of one batch. Romero et al. (2015), arXiv:1412.6550, equation 3, which has half the sum.
    """
    _pair(student, teacher, "features")
    found, wanted = _pair(regressor(student), teacher, "features")
    _require_one_shape(found, wanted, "features, after the regressor,")
    return F.mse_loss(found, wanted)


def attention_map(features: Tensor) -> Tensor:
    """Q(F) = vec(1/C sum_c F_c^2): where a layer is active, (N, C, H, W) -> (N, H * W).

    Raises ValueError for features that are not finite, floating-point maps. Zagoruyko & Komodakis (2017),
    arXiv:1612.03928, section 3.1.
    """
    (features,) = _checked("features", features, dimensions=4)
    return features.square().mean(1).flatten(1)


def attention_transfer_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of Q_S / |Q_S| and Q_T / |Q_T|, (N, C_S, H, W), (N, C_T, H, W) -> scalar.

    The published mean, not the norm of the paper: the usual weight, 1000, belongs to it. A map that is 0 everywhere
    stays 0. Raises ValueError for maps of different sizes or batches, or that are not finite and floating-point.
    Zagoruyko & Komodakis (2017), equation 2.
    """
    student, teacher = _pair(student, teacher, "features", dimensions=4)
    if student.shape[2:] != teacher.shape[2:]:
        raise ValueError(
            f"attention needs maps of one size: the student's are {tuple(student.shape[2:])}, the teacher's "
            f"{tuple(teacher.shape[2:])}; compare other layers or pool the larger maps"
        )
    return F.mse_loss(F.normalize(attention_map(student)), F.normalize(attention_map(teacher)))


# ---- relations: distances -------------------------------------------------------------------------------------------


def pairwise_distances(x: Tensor) -> Tensor:
    """|x_i - x_j|, (N, d) -> (N, N) with zeros on the diagonal, elsewhere at least 1e-6 as published.

    That floor keeps the gradient finite where two embeddings coincide: it is 0 there. Raises ValueError unless x is a
    finite, floating-point matrix.
    """
    (x,) = _checked("embeddings", x, dimensions=2)
    squares = _squared_distances(x)  # |x_i|^2 + |x_j|^2 - 2 x_i . x_j, (N, N)
    distances = squares.clamp(min=FLOOR).sqrt().to(x.dtype)
    return distances.masked_fill(torch.eye(len(x), dtype=torch.bool, device=x.device), 0)


def distance_potential(x: Tensor) -> Tensor:
    """psi_D(i, j) = |x_i - x_j| / mu, where mu is the mean over the N (N - 1) pairs, (N, d) -> (N, N).

    mu is part of the graph, its gradient matters. Raises ValueError as `pairwise_distances`, and for a batch of one.
    """
    _require_batch(x, 2, "a distance needs two embeddings")
    distances = pairwise_distances(x)
    return distances / (distances.sum() / (len(x) * (len(x) - 1)))


def rkd_distance_loss(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
    """RKD-D: the Huber loss between psi_D of student and teacher, (N, d_S), (N, d_T) -> scalar.

    As published, the mean over all N^2 entries, though the N of the diagonal are always 0; with `valid_only` over the
    N (N - 1) pairs, which is N / (N - 1) times as much. Turning, shifting or scaling either side changes nothing. In a
    batch of two all is relative to one distance, and the loss is 0. A second derivative is not available. Raises
    ValueError for a batch of one, for batches of different sizes, and for embeddings that are not a finite,
    floating-point matrix. Section 3.2.1.
    """
    student, teacher = _pair(student, teacher, "embeddings", dimensions=2)
    _require_batch(student, 2, "a distance needs two embeddings")
    N = len(student)
    return _DistanceDifferences.apply(student, teacher) / (N * (N - 1) if valid_only else N**2)


class _DistanceDifferences(torch.autograd.Function):
    """The sum of huber(psi_S - psi_T) over all pairs of embeddings, (N, d_S), (N, d_T) -> scalar.

    With H = clamp(psi_S - psi_T, -1, 1), the derivative of the Huber loss, that with respect to a distance D_ij is

        G_ij = (H_ij - sum_kl H_kl D_kl / (mu N (N - 1))) / mu,

    since all distances make up mu; and x_i receives 2 sum_j G_ij / D_ij (x_i - x_j). So one matrix product is the whole
    backward pass, and no graph keeps the N^2 numbers of each step.
    """

    @staticmethod
    def forward(ctx, student: Tensor, teacher: Tensor) -> Tensor:
        pairs = len(student) * (len(student) - 1)
        distances, wanted = _distances(student), _distances(teacher)
        mu = distances.sum() / pairs
        difference = (distances / mu).sub_(wanted.mul_(pairs / wanted.sum()))  # psi_S - psi_T
        H = difference.clamp(-1, 1)
        total = (H * difference.sub_(H, alpha=0.5)).sum()  # huber(u) = h (u - h / 2)
        if ctx.needs_input_grad[0]:
            G = H.sub_((H * distances).sum() / (mu * pairs)).div_(mu)
            apart = distances > math.sqrt(FLOOR)  # at the floor, and on the diagonal, nothing changes a distance
            w = G.div_(distances).masked_fill_(~apart, 0).to(student.dtype)
            x = student - student.mean(0)
            with torch.autocast(x.device.type, enabled=False):
                ctx.save_for_backward(2 * (w.sum(1, keepdim=True) * x - w @ x))
        return total.to(student.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, outer: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return outer * gradient, None


def _distances(x: Tensor) -> Tensor:
    """As `pairwise_distances`, in float64."""
    return _squared_distances(x).clamp_(min=FLOOR).sqrt_().fill_diagonal_(0)


def _squared_distances(x: Tensor) -> Tensor:
    """|x_i - x_j|^2 from the Gram matrix of the centred embeddings, (N, d) -> (N, N) float64.

    In float32, |x_i|^2 + |x_j|^2 - 2 x_i . x_j would keep no digit of a distance of |x| / 5000; so it is taken in
    float64, and what then still lies below the rounding error of that sum is 0.
    """
    x = x.double()
    x = x - x.mean(0)
    norms = x.square().sum(1)
    sums = norms[:, None] + norms  # |x_i|^2 + |x_j|^2, (N, N)
    squares = torch.addmm(sums, x, x.T, alpha=-2)
    return torch.where(squares > x.shape[1] * torch.finfo(x.dtype).eps * sums, squares, 0)


# ---- relations: angles ----------------------------------------------------------------------------------------------


def angle_potential(x: Tensor) -> Tensor:
    """psi_A: cosines of all angles, (N, d) -> (N, N, N), where [j, i, k] is that at x_j between x_i and x_k.

    Where x_j coincides with x_i or x_k there is no angle, and the entry is 0, without a gradient. It is the definition,
    for small batches: `rkd_angle_loss` finds the same with neither the (N, N, d) differences nor all these numbers.
    Raises ValueError for a batch of fewer than three, or embeddings that are not a finite, floating-point matrix.
    Section 3.2.2.
    """
    _require_batch(x, 3, "an angle needs three embeddings")
    (x,) = _checked("embeddings", x, dimensions=2)
    edges = x.double() - x.double()[:, None]  # [j, i] = x_i - x_j, (N, N, d)
    squares = edges.square().sum(2, keepdim=True)
    directions = edges * squares.masked_fill(squares == 0, math.inf).rsqrt()  # 0 where there is none
    return (directions @ directions.mT).to(x.dtype)


def rkd_angle_loss(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
    """RKD-A: the Huber loss between psi_A of student and teacher, (N, d_S), (N, d_T) -> scalar.

    As published, the mean over all N^3 entries; with `valid_only` over the N (N - 1) (N - 2) triplets of three
    different images. The others add nothing unless images coincide, so that this is N^2 / ((N - 1) (N - 2)) times as
    much. Turning, shifting or scaling either side changes nothing. Where two embeddings of one side coincide their
    direction is 0, as published, but no gradient flows into it (published: a factor of 1e12).

    Memory grows with N^2, time with N^3 beside the product x x^T (published: N^2 d + N^3, and N^3 d). The price: in
    float32 an angle loses digits where one of its edges is much shorter than the other. With two embeddings 1e-4 of the
    usual distance apart the gradient is off by some 0.2 %, with 1e-6 by 10 to 30 %: take float64 there. A second
    derivative is not available. Raises ValueError for a batch of one or two, which has no angle, for batches of
    different sizes, and for embeddings that are not a finite, floating-point matrix. Section 3.2.2.
    """
    student, teacher = _pair(student, teacher, "embeddings", dimensions=2)
    N = len(student)
    _require_batch(student, 3, "an angle needs three embeddings")
    lengths = _relative_lengths(student)
    total = _AngleDifferences.apply(lengths, _relative_lengths(teacher).to(lengths.dtype), valid_only)
    return total / (N * (N - 1) * (N - 2) if valid_only else N**3)


class _AngleDifferences(torch.autograd.Function):
    """The sum of huber(psi_S - psi_T) over all triplets, from the lengths D_S and D_T (N, N) of their edges alone.

    The law of cosines gives psi = (D_ji^2 + D_jk^2 - D_ik^2) / (2 D_ji D_jk). With H = clamp(psi_S - psi_T, -1, 1), the
    derivative of the Huber loss, and U = 1 / D_S, an edge receives at its own end j, and as the side opposite to j,

        d/dD_ji = 2 sum_k H_jik (U_jk - U_ji psi_jik),        d/dD_ik = -D_ik sum_j U_ji U_jk H_jik.

    Both need nothing but the angles at hand. So some vertices j at a time are worked on, loss and gradient at once, and
    nothing of the size N^3 is kept for the backward pass.
    """

    @staticmethod
    def forward(ctx, student: Tensor, teacher: Tensor, valid_only: bool) -> Tensor:
        edges, wanted_edges = _edges(student), _edges(teacher)
        total, gradient, opposite = student.new_zeros(()), torch.zeros_like(student), torch.zeros_like(student)
        for part in _vertices(len(student)):
            found, wanted = _cosines(edges, part), _cosines(wanted_edges, part)  # (n, N, N)
            if valid_only:
                for cosines in (found, wanted):
                    cosines.diagonal(dim1=1, dim2=2).zero_()  # between an edge and itself
            total += F.smooth_l1_loss(found, wanted, reduction="sum")
            if ctx.needs_input_grad[0]:
                H, u = (found - wanted).clamp_(-1, 1), edges.inverse[part]
                weighted = H * u[:, None]  # H_jik U_jk
                gradient[part] += 2 * (weighted.sum(2) - u * (H * found).sum(2))
                opposite += (weighted * u[:, :, None]).sum(0)
        ctx.save_for_backward(gradient - student * opposite)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer * gradient, None, None


def _relative_lengths(x: Tensor) -> Tensor:
    """|x_i - x_j| in parts of their root mean square, (N, d) -> (N, N): angles do not depend on the unit.

    The unit counts as a constant for the same reason. 0, without a gradient, where two embeddings coincide.
    """
    squares = _squared_distances(x)
    unit = squares.detach().mean()
    squares = squares / torch.where(unit > 0, unit, 1)
    apart = squares > 0
    lengths = torch.where(apart, squares, 1).sqrt()  # 1: the slope of the root is not finite at 0
    return torch.where(apart, lengths, 0).to(x.dtype)


class _Edges(NamedTuple):
    half: Tensor  # D / 2, (N, N)
    half_square: Tensor  # D^2 / 2
    inverse: Tensor  # 1 / D, and 0 where D is 0: an edge without a direction


def _edges(lengths: Tensor) -> _Edges:
    apart = lengths > 0
    inverse = torch.where(apart, 1 / torch.where(apart, lengths, 1), 0)
    return _Edges(lengths / 2, lengths.square() / 2, inverse)


def _cosines(edges: _Edges, vertices: slice) -> Tensor:
    """The law of cosines at some vertices j, (n, N, N) with [j, i, k] between i and k."""
    half, u = edges.half[vertices], edges.inverse[vertices]
    cosines = torch.addcmul(half[:, None], edges.half_square, u[:, None], value=-1)  # (D_jk - D_ik^2 / D_jk) / 2
    return torch.addcmul(cosines * u[:, :, None], half[:, :, None], u[:, None])


def _vertices(N: int) -> Iterator[slice]:
    step = max(1, ANGLES_AT_A_TIME // N**2)
    return (slice(first, first + step) for first in range(0, N, step))


# ---- one step of training -------------------------------------------------------------------------------------------


def distill_step(
    student: nn.Module,
    teacher: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    regressor: nn.Module | None = None,
    temperature: float = 4.0,
    kd: float = 0.0,
    hint: float = 0.0,
    distance: float = 0.0,
    angle: float = 0.0,
) -> Tensor:
    """(1 - kd) L_labels + kd L_KD + hint L_hint + distance L_RKD-D + angle L_RKD-A, a scalar; images x, labels y (N,).

    Both networks make of x something with `maps`, of which the first, (N, C, H, W), is hinted at, an `embedding` (N, d)
    and `logits` (N, K). The student is put into training mode, and its gradient is the caller's to take; the teacher is
    put into evaluation mode, so that it answers as it was trained, and asked without a graph. Losses of weight 0 are
    left out. Raises ValueError unless kd lies between 0 and 1 and no other weight is negative, for a hint without
    regressor, and as the losses do. Hinton et al. (2015), section 2; Romero et al. (2015); Park et al. (2019).
    """
    if not 0 <= kd <= 1 or not min(hint, distance, angle) >= 0:
        raise ValueError(f"kd must lie in 0 to 1, other weights be at least 0, got {kd} and {hint, distance, angle}")
    if hint and regressor is None:
        raise ValueError("a hint needs a regressor, from the channels of the student to those of the teacher")
    teacher.eval()
    with torch.no_grad():
        t = teacher(x)
    s = student.train()(x)
    loss = (1 - kd) * F.cross_entropy(s.logits, y)
    if kd:
        loss = loss + kd * kd_loss(s.logits, t.logits, temperature)
    if hint:
        loss = loss + hint * hint_loss(s.maps[0], t.maps[0], regressor)
    if distance:
        loss = loss + distance * rkd_distance_loss(s.embedding, t.embedding)
    if angle:
        loss = loss + angle * rkd_angle_loss(s.embedding, t.embedding)
    return loss


# ---- metric learning ------------------------------------------------------------------------------------------------


def match_ranks(embeddings: Tensor, labels: Tensor) -> Tensor:
    """At which rank, by distance, each image finds the first other one of its own class, (N, d), (N,) -> (N,) int64.

    1 is the nearest. Of images equally far those of other classes come first: a collapsed network finds nothing. One
    that is alone in its class has rank N, as if it came after all others. Never more than some rows of the N x N
    distances exist at a time. Raises ValueError for fewer than two embeddings, for labels that are not (N,) integers,
    and for embeddings that are not a finite, floating-point matrix.
    """
    _require_batch(embeddings, 2, "a neighbour needs two embeddings")
    _require_labels(labels, embeddings)
    (x,) = _checked("embeddings", embeddings.detach(), dimensions=2)
    labels, order = labels.sort()  # so that those of a class are neighbours, in a block of columns
    x = (x - x.mean(0))[order]
    halves = x.square().sum(1) / 2  # |x_j|^2 / 2 - x_i . x_j grows with the distance of j from i
    rounding = 8 * torch.finfo(x.dtype).eps * halves.max()  # of a score: what is nearer by less is equally far
    ranks = torch.empty_like(order)
    for rows in torch.arange(len(x), device=x.device).split(max(1, DISTANCES_AT_A_TIME // len(x))):
        with torch.autocast(x.device.type, enabled=False):
            scores = torch.addmm(halves, x[rows], x.T, alpha=-1)  # (n, N)
        scores[torch.arange(len(rows)), rows] = math.inf  # an image is no match of itself
        ends = labels[rows[0]], labels[rows[-1]]
        block = slice(int(torch.searchsorted(labels, ends[0])), int(torch.searchsorted(labels, ends[1], right=True)))
        other = labels[rows, None] != labels[block]
        nearest = scores[:, block].masked_fill(other, math.inf).amin(1, keepdim=True)  # of the own class
        nearer = scores <= nearest + rounding
        ranks[order[rows]] = 1 + nearer.sum(1) - (nearer[:, block] & ~other).sum(1)
    return ranks


def recall_at_k(embeddings: Tensor, labels: Tensor, k: int = 1) -> float:
    """The share of images with one of their own class among their k nearest others, (N, d), (N,) -> in [0, 1].

    Distances are Euclidean. See `match_ranks` for ties and classes of one; several k take one call of that. Raises
    ValueError as it does, and for a k outside of 1 ... N - 1. Section 4.1, Recall@K.
    """
    _require_batch(embeddings, 2, "a neighbour needs two embeddings")
    if not 1 <= k < len(embeddings):
        raise ValueError(f"k must lie between 1 and {len(embeddings) - 1}, the number of other images, got {k}")
    return (match_ranks(embeddings, labels) <= k).double().mean().item()


def negative_probabilities(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Distance-weighted sampling: how probable each image is as a negative, (N, d), (N,) -> (N, N), rows sum to 1.

    On the unit sphere, where embeddings are projected, random points lie at a distance D with density
    q = D^(d - 2) (1 - D^2 / 4)^((d - 3) / 2). Images of other classes are drawn with weight 1 / q, so that all
    distances are met alike; below 0.5 as at 0.5, from 1.4 on not at all. An image with no other class nearer than that
    takes any. Raises ValueError for d < 2, for a batch of one class, and for labels or embeddings as `match_ranks`
    does. Wu et al. (2017), arXiv:1706.07567, section 4; the two bounds are those of its authors' code.
    """
    _require_labels(labels, embeddings)
    (x,) = _checked("embeddings", embeddings.detach(), dimensions=2)
    d, other = x.shape[1], labels[:, None] != labels
    if d < 2 or not other.any():
        raise ValueError(f"negatives need at least 2 dimensions and 2 classes, got {d} and {len(labels.unique())}")
    distances = pairwise_distances(F.normalize(x))
    near = other & (distances < 1.4)
    drawn = torch.where(near.any(1, keepdim=True), near, other)
    distances = distances.clamp(0.5, 1.4)
    log_density = (d - 2) * distances.log() + (d - 3) / 2 * (1 - distances.square() / 4).log()
    return (-log_density).masked_fill(~drawn, -math.inf).softmax(1)


def triplet_loss(embeddings: Tensor, labels: Tensor, generator: torch.Generator, margin: float = 0.2) -> Tensor:
    """Mean of max(0, |x_a - x_p|^2 - |x_a - x_n|^2 + margin) over triplets, (N, d), (N,) -> scalar.

    Each pair of an anchor a and another image p of its class meets one negative n, drawn from `generator` with
    `negative_probabilities`. Embeddings are taken as they are: l2-normalise them first, as the paper does. Raises
    ValueError as `negative_probabilities`, for a batch in which no two images share a class, and for a negative margin.
    Schroff et al. (2015), arXiv:1503.03832, section 3.1.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"the margin must not be negative, got {margin}")
    probabilities = negative_probabilities(embeddings, labels)
    (x,) = _checked("embeddings", embeddings, dimensions=2)
    anchors, positives = torch.nonzero((labels[:, None] == labels).fill_diagonal_(False), as_tuple=True)
    if not len(anchors):
        raise ValueError("triplets need two images of one class in the batch: draw it with draw_by_class")
    drawn = torch.multinomial(probabilities[anchors].to(generator.device), 1, generator=generator)
    negatives = drawn[:, 0].to(x.device)
    to_positive, to_negative = ((x[anchors] - x[ends]).square().sum(1) for ends in (positives, negatives))
    return (to_positive - to_negative + margin).clamp(min=0).mean()


def draw_by_class(labels: Tensor, classes: int, per_class: int, generator: torch.Generator) -> Tensor:
    """Indices of a batch with equally many images of some classes, (N,) -> (classes, per_class) int64, none twice.

    Classes that have fewer images are never drawn. Raises ValueError if there are not enough others, and for counts
    below 1 or labels that are not (N,). The paper's batches for metric learning have 5 images of each class.
    """
    if classes < 1 or per_class < 1:
        raise ValueError(f"a batch needs at least one class and one image of each, got {classes} and {per_class}")
    if labels.ndim != 1:
        raise ValueError(f"labels must be (N,), one for each image, got the shape {tuple(labels.shape)}")
    values, counts = labels.unique(return_counts=True)
    large = values[counts >= per_class]
    if len(large) < classes:
        raise ValueError(f"{classes} classes with {per_class} images each cannot be drawn: there are {len(large)}")

    def chosen(candidates: Tensor, count: int) -> Tensor:
        order = torch.randperm(len(candidates), generator=generator, device=generator.device)
        return candidates[order[:count].to(candidates.device)]

    return torch.stack([chosen(torch.nonzero(labels == c)[:, 0], per_class) for c in chosen(large, classes)])


def few_shot_accuracy(
    embeddings: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    way: int = 5,
    shot: int = 1,
    queries: int = 15,
    episodes: int = 1000,
) -> Tensor:
    """The accuracy in each episode by the nearest prototype, (N, d), (N,) -> (episodes,) in [0, 1].

    An episode draws `way` classes, `shot` images of each whose mean is the prototype of the class, and `queries` others
    of each, which are given the class of the nearest prototype. Raises ValueError as `draw_by_class` and `match_ranks`.
    Snell et al. (2017), arXiv:1703.05175, section 2; the paper's few-shot experiment is section 4.3.
    """
    _require_labels(labels, embeddings)
    (x,) = _checked("embeddings", embeddings.detach(), dimensions=2)
    if min(way, shot, queries, episodes) < 1:
        raise ValueError(f"way, shot, queries and episodes must be at least 1, got {way, shot, queries, episodes}")
    truth = torch.arange(way, device=x.device)[:, None]
    found = []
    for _ in range(episodes):
        drawn = x[draw_by_class(labels, way, shot + queries, generator).to(x.device)]  # (way, shot + queries, d)
        prototypes = drawn[:, :shot].mean(1)
        distances = torch.cdist(drawn[:, shot:], prototypes[None])  # (way, queries, way)
        found.append((distances.argmin(2) == truth).double().mean())
    return torch.stack(found)


# ---- what is asked of the arguments ---------------------------------------------------------------------------------


def _checked(what: str, *tensors: Tensor, dimensions: int | None = None) -> list[Tensor]:
    """The tensors, in float32 at least. Raises ValueError unless they are finite, floating-point, of so many axes."""
    for x in tensors:
        if not x.numel():
            raise ValueError(f"{what} must not be empty, got the shape {tuple(x.shape)}")
        if dimensions not in (None, x.ndim):
            form = {2: "a matrix with one row for each image", 4: "maps (N, C, H, W)"}[dimensions]
            raise ValueError(f"{what} must be {form}, got the shape {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"{what} must be floating-point, got {x.dtype}: convert them with .float()")
        if not torch.stack(x.detach().aminmax()).isfinite().all():  # one pass; NaN is passed on
            raise ValueError(f"{what} must be finite, but some are NaN or infinite: lower the learning rate")
    return [x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in tensors]


def _pair(student: Tensor, teacher: Tensor, what: str, dimensions: int | None = None) -> list[Tensor]:
    """As `_checked`, the teacher without a graph. Raises ValueError for batches of different sizes."""
    student, teacher = _checked(what, student, teacher.detach(), dimensions=dimensions)
    if len(student) != len(teacher):
        raise ValueError(
            f"student and teacher must see the same batch, got {what} of {len(student)} and {len(teacher)} images"
        )
    return [student, teacher]


def _require_one_shape(student: Tensor, teacher: Tensor, what: str) -> None:
    if student.shape != teacher.shape:
        raise ValueError(f"{what} must have the teacher's shape {tuple(teacher.shape)}, got {tuple(student.shape)}")


def _require_batch(x: Tensor, least: int, why: str) -> None:
    if len(x) < least:
        raise ValueError(f"{why}, got a batch of {len(x)}: take larger batches and drop an incomplete last one")


def _require_labels(labels: Tensor, embeddings: Tensor) -> None:
    if labels.shape != embeddings.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels must be one integer for each of {len(embeddings)} embeddings, got {labels.dtype} of the shape "
            f"{tuple(labels.shape)}"
        )
