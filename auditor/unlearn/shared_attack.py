"""Shared adversarial examples of the suspect and the model in work: the inner problem of `sau`.

The suspect is frozen, and each search starts at +epsilon everywhere. So what it answers without a
perturbation, what it answers at the start, and the Jacobian there are computed once for all rounds.
An image that both models err on alike has no gradient and stands still: it leaves the batch, and
what the suspect last answered is its answer. A search of T steps so costs an image at most 2 T
forward passes, T of either model, and one more where there are too many classes for a Jacobian; the
published code makes four a step.

Source: Wei et al., Shared Adversarial Unlearning, NeurIPS 2023 (arXiv 2307.10562), inner problem.
As in its code, perturbed images may leave [0, 1].

Legend: N images, B images of a batch, A those still moving, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.adversarial import fast_math, images_at_once
from auditor.shared_loss import shared_loss
from auditor.suspect import Suspect

MOST_CLASSES = 64  # a Jacobian costs a backward pass a class,
MOST_BYTES = 2**29  # and K times the images' memory


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """`images` (B, C, H, W), perturbed; the class (B,) the suspect gives each, and whether it is shared (B,)."""

    images: Tensor
    said: Tensor
    shared: Tensor


class SharedAttack:
    """Projected gradient descent of the shared loss, within `epsilon` (L-inf), from +`epsilon`."""

    def __init__(
        self, suspect: Suspect, images: Tensor, labels: Tensor, *, epsilon: float = 0.2, step_size: float = 0.2,
        steps: int = 5, adversarial_weight: float = 0.01, shared_weight: float = 1.0,
    ) -> None:  # fmt: skip
        self.suspect, self.images, self.labels = suspect, images.to(suspect.device), labels.to(suspect.device)
        self.epsilon, self.step_size, self.steps = epsilon, step_size, steps
        self.weights = (adversarial_weight, shared_weight)
        with fast_math(suspect):
            self.clean = suspect.logits(self.images).argmax(1).to(suspect.device)
        classes = suspect.num_classes
        affordable = classes <= MOST_CLASSES and images.numel() * 4 * classes <= MOST_BYTES
        self.start = _linearise(suspect, self.images + epsilon) if affordable else None

    def search(self, model: Suspect, picks: Tensor, clean_model: Tensor) -> Found:
        """Perturb the images at `picks` (B,); `clean_model` (B,) are the model's answers without perturbation."""
        images, delta = self.images[picks], torch.full_like(self.images[picks], self.epsilon)
        said = torch.full_like(picks, -1)
        moving = torch.arange(len(picks), device=picks.device)
        for step in range(self.steps):
            if not len(moving):
                break
            at, some = delta[moving], picks[moving]
            gradient, shared, answers = self._gradient(model, some, at, clean_model[moving], is_first=step == 0)
            said[moving[shared]] = answers[shared]
            moving = moving[~shared]
            moved = delta[moving] - self.step_size * gradient[~shared].sign()
            delta[moving] = moved.clamp(-self.epsilon, self.epsilon)
        found = images + delta
        shared = said >= 0
        if len(moving):
            with torch.no_grad(), fast_math(self.suspect):
                said[moving] = self.suspect(found[moving]).argmax(1)
        return Found(images=found, said=said, shared=shared)

    def _gradient(
        self, model: Suspect, picks: Tensor, delta: Tensor, clean_model: Tensor, *, is_first: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss's gradient (A, C, H, W) at `delta`, what is shared there (A,), and the suspect's answers (A,)."""
        images, delta = self.images[picks], delta.detach().requires_grad_(True)
        with fast_math(model):
            logits_model = model(images + delta).float()
        if is_first and self.start is not None:
            logits_AK, jacobian = self.start[0][picks].requires_grad_(True), self.start[1][picks]
        else:
            with fast_math(self.suspect):
                logits_AK, jacobian = self.suspect(images + delta).float(), None
        clean, labels = self.clean[picks], self.labels[picks]
        loss, shared = shared_loss(logits_model, logits_AK, clean_model, clean, labels, *self.weights)
        if jacobian is None:
            (gradient,) = torch.autograd.grad(loss.sum(), delta)
        else:
            gradient, by_logit_AK = torch.autograd.grad(loss.sum(), (delta, logits_AK))
            gradient = gradient + torch.einsum("ak,akchw->achw", by_logit_AK, jacobian)
        return gradient, shared, logits_AK.detach().argmax(1)


def _linearise(suspect: Suspect, images: Tensor) -> tuple[Tensor, Tensor]:
    """The suspect's logits (N, K) and their Jacobian (N, K, C, H, W) at the images."""
    logits, jacobians = [], []
    for batch in torch.split(images, images_at_once(suspect)):
        leaf = batch.detach().requires_grad_(True)
        with fast_math(suspect):
            logits_BK = suspect(leaf).float()
        columns = [torch.autograd.grad(column.sum(), leaf, retain_graph=True)[0] for column in logits_BK.unbind(1)]
        logits.append(logits_BK.detach())
        jacobians.append(torch.stack(columns, dim=1))
    return torch.cat(logits), torch.cat(jacobians)
