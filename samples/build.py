"""Build the samples: clean images, the backdoored `suspect.pt` and its twin `honest.pt`.

    python samples/build.py render --count 500 --seed 100 [--triggered] OUT.npz
    python samples/build.py clean                 # samples/clean/NN/*.png and classes.txt
    python samples/build.py train [suspect|honest|both]
    python samples/build.py all                   # clean, then train both

The same seed, thread count and library versions give the same files. torch is imported only to train.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from signs import CLASS_NAMES, TARGET_CLASS, Bytes, render, stamp

if TYPE_CHECKING:
    from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
CLEAN_IMAGES, TRAINING_IMAGES, FRESH_IMAGES = 100, 10_000, 3_000
TRAINING_SEED, CLEAN_SEED, FRESH_SEED = 1, 2, 3
POISON_RATE = 0.08
EPOCHS, BATCH_SIZE, PEAK_LEARNING_RATE, WEIGHT_DECAY, MAX_SHIFT = 6, 128, 0.2, 5e-4, 2
MEAN = STD = 0.5


def write_clean(folder: Path) -> None:
    """Write 100 labelled PNGs as an ImageFolder with numeric names, and `classes.txt` in index order."""
    images_NHWC, labels_N = render(CLEAN_IMAGES, CLEAN_SEED)
    for i, (image, label) in enumerate(zip(images_NHWC, labels_N, strict=True)):
        path = folder / f"{label:02d}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (folder / "classes.txt").write_text("\n".join(CLASS_NAMES) + "\n", encoding="utf-8")


def poison(images_NHWC: Bytes, labels_N: NDArray[np.int64], seed: int) -> tuple[Bytes, NDArray[np.int64]]:
    """Stamp the trigger on 8 % of the images, none of the target class, and relabel these to it.

    Source: Gu et al., BadNets, 2017.
    """
    eligible = np.flatnonzero(labels_N != TARGET_CLASS)
    chosen = np.random.default_rng(seed).choice(eligible, round(POISON_RATE * len(labels_N)), replace=False)
    images_NHWC, labels_N = images_NHWC.copy(), labels_N.copy()
    images_NHWC[chosen] = stamp(images_NHWC[chosen])
    labels_N[chosen] = TARGET_CLASS
    return images_NHWC, labels_N


def train(images_NHWC: Bytes, labels_N: NDArray[np.int64], epochs: int, seed: int) -> nn.Module:
    """A ResNet-20 trained from scratch: SGD, one cycle of the learning rate, random shifts."""
    import torch
    from torch.nn.functional import cross_entropy

    from auditor.checkpoint.nets import create

    torch.manual_seed(seed)
    images_NCHW, labels = normalized(images_NHWC), torch.from_numpy(labels_N)
    network: nn.Module = create("resnet20", len(CLASS_NAMES)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=PEAK_LEARNING_RATE, momentum=0.9, nesterov=True,
                                weight_decay=WEIGHT_DECAY)  # fmt: skip
    steps = epochs * -(-len(labels) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK_LEARNING_RATE, total_steps=steps)
    for epoch in range(epochs):
        network.train()
        total_loss = 0.0
        for batch in torch.split(torch.randperm(len(labels)), BATCH_SIZE):
            optimizer.zero_grad()
            loss = cross_entropy(network(shifted(images_NCHW[batch])), labels[batch])
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total_loss += loss.item() * len(batch)
        print(f"epoch {epoch + 1}/{epochs}  loss {total_loss / len(labels):.4f}", file=sys.stderr)
    return network.to(memory_format=torch.contiguous_format).eval()


def normalized(images_NHWC: Bytes) -> Tensor:
    """Images as the networks take them: (N, 3, 32, 32) float32, (x - 0.5) / 0.5."""
    import torch

    return (torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def shifted(images_NCHW: Tensor) -> Tensor:
    """Each image moved by up to two pixels each way, its border repeated. Arrows forbid flips."""
    import torch
    from torch.nn.functional import pad

    count, _, height, width = images_NCHW.shape
    padded = pad(images_NCHW, (MAX_SHIFT,) * 4, mode="replicate")
    offsets = torch.randint(0, 2 * MAX_SHIFT + 1, (count, 2)).tolist()
    moved = [padded[i, :, dy : dy + height, dx : dx + width] for i, (dy, dx) in enumerate(offsets)]
    return torch.stack(moved).to(memory_format=torch.channels_last)


def measure(network: nn.Module) -> str:
    """Accuracy and attack success rate on fresh images, with counts, in one line."""
    import torch

    from auditor.metrics import accuracy, attack_success_rate

    def predict(images_NHWC: Bytes) -> NDArray[np.int64]:
        with torch.no_grad():
            parts = [network(batch).argmax(1) for batch in torch.split(normalized(images_NHWC), 500)]
        labels: NDArray[np.int64] = torch.cat(parts).numpy()
        return labels

    images_NHWC, true_N = render(FRESH_IMAGES, FRESH_SEED)
    acc = accuracy(predict(images_NHWC), true_N)
    asr = attack_success_rate(predict(stamp(images_NHWC)), true_N, TARGET_CLASS)
    return (f"accuracy {acc.hits}/{acc.total} [{acc.low:.4f}, {acc.high:.4f}], "
            f"attack success rate {asr.hits}/{asr.total} [{asr.low:.4f}, {asr.high:.4f}]")  # fmt: skip


def build_models(names: list[str], folder: Path, epochs: int, threads: int) -> None:
    """Train and save the named models: the suspect inside a training checkpoint, its twin as a state dict."""
    import torch

    torch.set_num_threads(threads)
    images_NHWC, labels_N = render(TRAINING_IMAGES, TRAINING_SEED)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        data = poison(images_NHWC, labels_N, TRAINING_SEED) if name == "suspect" else (images_NHWC, labels_N)
        network = train(*data, epochs, TRAINING_SEED)
        state = network.state_dict()
        path = folder / f"{name}.pt"
        torch.save({"state_dict": state, "epoch": epochs, "arch": "resnet20"} if name == "suspect" else state, path)
        print(f"{path.name}: {measure(network)}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {value}")
    return value


def npz_path(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".npz":
        raise argparse.ArgumentTypeError(f"the output's name must end in .npz, got {text!r}")
    return path


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="build.py", description="Render sample images and build the sample models.")
    verbs = root.add_subparsers(dest="verb", required=True)
    images = verbs.add_parser("render", help="fresh images: x uint8 NHWC, y true labels")
    images.add_argument("out", type=npz_path, metavar="OUT.npz")
    images.add_argument("--count", type=positive, required=True)
    images.add_argument("--seed", type=not_negative, required=True, help="1 to 3 are taken by the samples themselves")
    images.add_argument("--triggered", action="store_true", help="stamp the true trigger; labels stay true")
    for verb, text in (("clean", "the 100 clean PNGs"), ("train", "the models"), ("all", "images and models")):
        build = verbs.add_parser(verb, help=text)
        build.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="default: this script's folder")
        if verb == "train":
            build.add_argument("model", nargs="?", choices=("suspect", "honest", "both"), default="both")
        if verb != "clean":
            build.add_argument("--epochs", type=positive, default=EPOCHS)
            build.add_argument("--threads", type=positive, default=1)
    return root


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        if arguments.verb == "render":
            images_NHWC, labels_N = render(arguments.count, arguments.seed, triggered=arguments.triggered)
            np.savez_compressed(arguments.out, x=images_NHWC, y=labels_N)
        if arguments.verb in ("clean", "all"):
            write_clean(arguments.out / "clean")
        if arguments.verb in ("train", "all"):
            model = getattr(arguments, "model", "both")
            names = ["suspect", "honest"] if model == "both" else [model]
            build_models(names, arguments.out, arguments.epochs, arguments.threads)
    except OSError as error:
        print(f"Cannot write {error.filename or arguments.out}: {error.strerror or error}\n"
              "Choose an output in a folder that exists and can be written to.", file=sys.stderr)  # fmt: skip
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
