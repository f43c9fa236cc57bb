"""Right answers to the exercises of lesson 07, written differently."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.papers import relational_distillation as paper

# ---- one output at a time -------------------------------------------------------------------------------------------


def kd_by_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    found = (student_logits / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(found, (teacher_logits / temperature).softmax(1), reduction="batchmean")


def kd_by_distributions(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    student, teacher = (
        torch.distributions.Categorical(logits=logits / temperature) for logits in (student_logits, teacher_logits)
    )
    return temperature**2 * torch.distributions.kl_divergence(teacher, student).mean()


def kd_by_cross_entropies(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """The divergence is the cross-entropy less what the teacher's own answer costs."""
    wanted = (teacher_logits / temperature).softmax(1)
    costs = [F.cross_entropy(logits / temperature, wanted) for logits in (student_logits, teacher_logits)]
    return temperature * temperature * (costs[0] - costs[1])


def attention_by_einsum(features: Tensor) -> Tensor:
    return torch.einsum("nchw,nchw->nhw", features, features).flatten(1) / features.shape[1]


def attention_by_loop(features: Tensor) -> Tensor:
    total = torch.zeros_like(features[:, 0])
    for channel in features.unbind(1):
        total = total + channel**2
    return total.reshape(len(features), -1) / features.shape[1]


def transfer_by_lengths(student: Tensor, teacher: Tensor) -> Tensor:
    """The number of channels does not matter: it cancels with the length."""
    found, wanted = (x.square().sum(1).flatten(1) for x in (student, teacher))
    found, wanted = (q / torch.linalg.vector_norm(q, dim=1, keepdim=True).clamp(min=1e-12) for q in (found, wanted))
    return (found - wanted).square().mean()


def transfer_by_loop(student: Tensor, teacher: Tensor) -> Tensor:
    costs = []
    for pair in zip(student, teacher, strict=True):
        maps = [(x**2).mean(0).flatten() for x in pair]
        found, wanted = (q / q.norm() if q.any() else q for q in maps)
        costs.append(((found - wanted) ** 2).mean())
    return torch.stack(costs).mean()


# ---- relations ------------------------------------------------------------------------------------------------------


def distances_by_differences(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x[:, None] - x, dim=2)


def distances_by_cdist(x: Tensor) -> Tensor:
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def distances_by_centred_gram_matrix(x: Tensor) -> Tensor:
    x = x - x.mean(0)
    squares = x.square().sum(1)
    distances = (squares[:, None] + squares - 2 * x @ x.T).clamp(min=1e-12).sqrt()
    return distances.masked_fill(torch.eye(len(x), dtype=torch.bool), 0)


def rkd_distance_by_pairs(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
    """Each pair once, in a list."""
    found, wanted = (F.pdist(x).clamp(min=1e-6) for x in (student, teacher.detach()))
    mean = F.huber_loss(found / found.mean(), wanted / wanted.mean())
    return mean if valid_only else mean * (len(student) - 1) / len(student)


def rkd_distance_by_loop(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
    N = len(student)
    pairs = [(i, j) for i in range(N) for j in range(N) if i != j]
    potentials = []
    for x in (student, teacher.detach()):
        distances = torch.stack([(x[i] - x[j]).norm().clamp(min=1e-6) for i, j in pairs])
        potentials.append(distances / distances.mean())
    gaps = (potentials[0] - potentials[1]).abs()
    total = sum(gap**2 / 2 if gap <= 1 else gap - 0.5 for gap in gaps)
    return total / (len(pairs) if valid_only else N * N)


def angles_by_einsum(x: Tensor) -> Tensor:
    """As published, with a gradient of 1e12 where two embeddings coincide."""
    directions = F.normalize(x - x[:, None], dim=2)
    return torch.einsum("jid,jkd->jik", directions, directions)


def angles_at_each_vertex(x: Tensor) -> Tensor:
    found = []
    for vertex in x:
        edges = x - vertex
        found.append(F.cosine_similarity(edges[:, None], edges[None], dim=2))
    return torch.stack(found)


def rkd_angle_by_vertices(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
    """One vertex at a time; with valid_only the angles between two different other images."""
    N, total = len(student), 0
    for j in range(N):
        arrows = [F.normalize(x - x[j]) for x in (student, teacher.detach())]
        costs = F.huber_loss(*(e @ e.T for e in arrows), reduction="none")
        if valid_only:
            others = torch.arange(N) != j
            costs = costs[others][:, others] * (1 - torch.eye(N - 1))
        total = total + costs.sum()
    return total / (N * (N - 1) * (N - 2) if valid_only else N**3)


def rkd_angle_by_triplets(student: Tensor, teacher: Tensor, *, valid_only: bool = False) -> Tensor:
    """All triplets in a list."""
    i, j, k = torch.cartesian_prod(*[torch.arange(len(student))] * 3).unbind(1)
    if valid_only:
        different = (i != j) & (j != k) & (k != i)
        i, j, k = i[different], j[different], k[different]
    found, wanted = (F.cosine_similarity(x[i] - x[j], x[k] - x[j]) for x in (student, teacher.detach()))
    return F.smooth_l1_loss(found, wanted)


# ---- one step of training -------------------------------------------------------------------------------------------


def step_by_a_list_of_terms(
    student, teacher, x, y, *, regressor=None, temperature=4.0, kd=0.0, hint=0.0, distance=0.0, angle=0.0
):
    """The student is asked first, and terms of weight 0 are never computed."""
    teacher.train(False)
    student.train(True)
    maps, embedding, logits = student(x)
    with torch.no_grad():
        t = teacher(x)
    terms = [
        (1 - kd, lambda: F.nll_loss(logits.log_softmax(1), y)),
        (kd, lambda: paper.kd_loss(logits, t.logits, temperature)),
        (hint, lambda: (regressor(maps[0]) - t.maps[0]).square().mean()),
        (distance, lambda: paper.rkd_distance_loss(embedding, t.embedding)),
        (angle, lambda: paper.rkd_angle_loss(embedding, t.embedding)),
    ]
    return sum((weight * loss() for weight, loss in terms if weight), torch.zeros(()))


def step_with_answers_that_are_detached(
    student, teacher, x, y, *, regressor=None, temperature=4.0, kd=0.0, hint=0.0, distance=0.0, angle=0.0
):
    """The teacher's graph is made, and cut off; its mode is afterwards what it was."""
    mode = teacher.training
    t, s = teacher.eval()(x), student.train()(x)
    teacher.train(mode)
    loss = F.cross_entropy(s.logits, y) * (1 - kd)
    loss = loss + kd_by_divergence(s.logits, t.logits.detach(), temperature) * kd
    if hint > 0:
        loss = loss + hint * F.mse_loss(regressor(s.maps[0]), t.maps[0].detach())
    if distance > 0:
        loss = loss + distance * rkd_distance_by_pairs(s.embedding, t.embedding)
    return loss + angle * rkd_angle_by_vertices(s.embedding, t.embedding) if angle > 0 else loss


# ---- recall ---------------------------------------------------------------------------------------------------------


def recall_by_two_sorts(embeddings: Tensor, labels: Tensor, k: int = 1) -> float:
    """First those of other classes, then by distance, in a way that keeps this order where two are equally far."""
    own = labels[:, None] == labels
    order = own.int().argsort(dim=1, stable=True)
    distances = torch.linalg.vector_norm(embeddings[:, None] - embeddings, dim=2).fill_diagonal_(math.inf)
    order = order.gather(1, distances.gather(1, order).argsort(dim=1, stable=True))
    return own.gather(1, order)[:, :k].any(1).double().mean().item()


def recall_by_sorting(embeddings: Tensor, labels: Tensor, k: int = 1) -> float:
    """One image at a time; where two are equally far, False is sorted before True."""
    hits = 0
    for i, x in enumerate(embeddings):
        others = [((x - y).norm().item(), bool(labels[i] == labels[j])) for j, y in enumerate(embeddings) if j != i]
        hits += any(own for _, own in sorted(others)[:k])
    return hits / len(embeddings)


ANSWERS = {
    "kd_loss": (kd_by_divergence, kd_by_distributions, kd_by_cross_entropies),
    "attention_map": (attention_by_einsum, attention_by_loop),
    "attention_transfer_loss": (transfer_by_lengths, transfer_by_loop),
    "pairwise_distances": (distances_by_centred_gram_matrix, distances_by_cdist, distances_by_differences),
    "rkd_distance_loss": (rkd_distance_by_pairs, rkd_distance_by_loop),
    "angle_potential": (angles_by_einsum, angles_at_each_vertex),
    "rkd_angle_loss": (rkd_angle_by_vertices, rkd_angle_by_triplets),
    "distill_step": (step_by_a_list_of_terms, step_with_answers_that_are_detached),
    "recall_at_k": (recall_by_two_sorts, recall_by_sorting),
}
