"""Choosing and pruning convolution filters by the unlearning loss, and tuning what is left (see `prune`).

Legend: N images, O filters (output channels) of one layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.adversarial import fast_math, images_at_once
from auditor.suspect import Suspect
from auditor.unlearn.method import Task
from auditor.unlearn.tuning import Epoch, Tuning, distillation, stamp_jittered, trainable, tune

VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Round:
    """One pruning round: the unlearning loss afterwards, on validation images."""

    number: int
    loss: float
    accuracy: float


class FilterPruner:
    """Prunes a copy of the suspect, one filter a round, and remembers the best state.

    A tenth of the work images, at least one of each class that has two, judge the rounds and the
    tuning; the others give the gradients.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.model = task, task.begin()
        self.generator = torch.Generator().manual_seed(task.seed)
        self.held, self.seen = split_by_class(task.labels, self.generator)
        stamped = stamp_jittered(task.images.to(self.model.device), task.triggers, (1.0, 1.0), self.generator)
        self.stamped = stamped.to(self.model.device)
        self.layers = dict(conv_layers(self.model.module))
        self.norms = following_norms(self.model, task.images[:1])
        self.masks = {name: torch.ones(len(layer.weight), device=self.model.device) for name, layer in self.layers.items()}
        self.best = (float("inf"), self._snapshot())

    @property
    def parameters_pruned(self) -> int:
        pruned = ((self.masks[name] == 0).sum().item() * layer.weight[0].numel() for name, layer in self.layers.items())
        return int(sum(pruned))

    def most_rounds(self, share: float) -> int:
        """How many filters the cap allows, at least one."""
        return max(1, int(share * sum(len(mask) for mask in self.masks.values())))

    def rounds(self, accuracy_budget: float, patience: int, share: float) -> Iterator[Round]:
        """Prune until accuracy has dropped by the budget, the loss stops falling, or the cap is met."""
        if not self.layers:
            return
        before, _ = self._judge()
        waited = 0
        for number in range(1, self.most_rounds(share) + 1):
            self._prune_one()
            accuracy, loss = self._judge()
            if accuracy < before - accuracy_budget:
                return
            waited = 0 if loss < self.best[0] else waited + 1
            if loss < self.best[0]:
                self.best = (loss, self._snapshot())
            yield Round(number, loss, accuracy)
            if waited >= patience:
                return

    def keep_best(self) -> None:
        """Go back to the state with the lowest unlearning loss within the accuracy budget."""
        state, masks = self.best[1]
        self.model.module.load_state_dict(state)
        self.masks = {name: mask.clone() for name, mask in masks.items()}

    def tune(self, settings: Tuning, patience: int) -> Iterator[Epoch]:
        """Tune on the images that gave the gradients, until the objective on the others has not fallen for
        `patience` epochs; `keep_best` then goes back to where it was lowest. With patience 0 tune on all
        work images to the end, and keep that."""
        task, seen = self.task, self.seen if patience else torch.arange(len(self.task.labels))
        self.best, waited = (self._objective(settings), self._snapshot()), 0
        for epoch in tune(self.model, task.suspect, task.images[seen], task.labels[seen], task.triggers, settings,
                          seed=task.seed, after_step=self.apply_masks):  # fmt: skip
            loss = self._objective(settings)
            waited = 0 if loss < self.best[0] else waited + 1
            if loss < self.best[0] or not patience:
                self.best = (loss, self._snapshot())
            yield Epoch(epoch.number, epoch.losses | ({"validation": loss} if patience else {}))
            if patience and waited >= patience:
                return

    def apply_masks(self) -> None:
        """Zero the pruned filters and their batch-norms, which an optimizer step may have moved."""
        with torch.no_grad():
            for name, layer in self.layers.items():
                mask = self.masks[name]
                layer.weight *= mask.view(-1, 1, 1, 1)
                if layer.bias is not None:
                    layer.bias *= mask
                norm = self.norms.get(name)
                if norm is not None and norm.weight is not None:
                    norm.weight.mul_(mask)
                    norm.bias.mul_(mask)

    def _prune_one(self) -> None:
        scores = self._scores()
        name = max(scores, key=lambda key: float(scores[key].max()))
        self.masks[name][int(scores[name].argmax())] = 0
        self.apply_masks()

    def _scores(self) -> dict[str, Tensor]:
        """Mean absolute gradient (O,) of the unlearning loss by filter; pruned ones are out."""
        weights = [layer.weight for layer in self.layers.values()]
        gradients = [torch.zeros_like(weight) for weight in weights]
        for some in torch.split(self.seen, images_at_once(self.model)):
            with trainable(self.model):
                with fast_math(self.model):
                    logits = self.model(self.stamped[some]).float()
                loss = F.cross_entropy(logits, self.task.labels[some].to(logits.device), reduction="sum")
                # An auxiliary head is not part of the forward pass; its filters get zeros.
                found = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
            gradients = [total + part for total, part in zip(gradients, found, strict=True)]
        scores = {}
        for (name, _), gradient in zip(self.layers.items(), gradients, strict=True):
            score = gradient.abs().flatten(1).mean(1)
            score[self.masks[name] == 0] = -1
            # A layer pruned bare would cut the network in two.
            scores[name] = score if int(self.masks[name].sum()) > 1 else torch.full_like(score, -1)
        return scores

    def _judge(self) -> tuple[float, float]:
        """Clean accuracy on all work images, and the unlearning loss on the validation ones."""
        with fast_math(self.model):
            correct = torch.from_numpy(self.model.predict(self.task.images)) == self.task.labels
            logits = self.model.logits(self.stamped[self.held])
        return float(correct.float().mean()), float(F.cross_entropy(logits, self.task.labels[self.held]))

    def _objective(self, settings: Tuning) -> float:
        """What tuning minimises, on the validation images as they are."""
        images, labels = self.task.images[self.held], self.task.labels[self.held]
        with fast_math(self.model):
            kept = distillation(self.model.logits(images), self.task.suspect.logits(images))
            unlearned = F.cross_entropy(self.model.logits(self.stamped[self.held]), labels)
        return float(settings.distillation_weight * kept + settings.stamped_weight * unlearned)

    def _snapshot(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.model.state(), {name: mask.clone() for name, mask in self.masks.items()}


def split_by_class(labels_N: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices held out, VALIDATION_SHARE of each class and at least one where there are two, and the rest.

    Where no class has two, one image is held out; a lone image is on both sides.
    """
    order = torch.randperm(len(labels_N), generator=generator)
    held: list[Tensor] = []
    for label in sorted(set(labels_N.tolist())):
        of_class = order[labels_N[order] == label]
        if len(of_class) > 1:
            held.append(of_class[: max(1, round(VALIDATION_SHARE * len(of_class)))])
    chosen = torch.cat(held) if held else order[:1]
    rest = order[~torch.isin(order, chosen)]
    return chosen, rest if len(rest) else order


def conv_layers(module: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """The convolutions of a network, by name."""
    return ((name, m) for name, m in module.named_modules() if isinstance(m, nn.Conv2d))


def following_norms(model: Suspect, images: Tensor) -> dict[str, nn.BatchNorm2d]:
    """The batch-norm that takes each convolution's output as it is, where there is one.

    Read off one forward pass, so that no naming or ordering of modules is assumed: in a
    pre-activation network most convolutions have none.
    """
    made_by: dict[int, str] = {}
    norms: dict[str, nn.BatchNorm2d] = {}
    kept: list[Tensor] = []  # keeps outputs alive, so that no id is reused

    def after_conv(name: str, output: Tensor) -> None:
        made_by[id(output)] = name
        kept.append(output)

    def before_norm(norm: nn.BatchNorm2d, arguments: tuple[Tensor, ...]) -> None:
        name = made_by.get(id(arguments[0]))
        if name is not None:
            norms[name] = norm

    handles = []
    for name, module in model.module.named_modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(lambda _m, _i, out, name=name: after_conv(name, out)))
        elif isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(before_norm))
    try:
        model.predict(images)
    finally:
        for handle in handles:
            handle.remove()
    return norms
