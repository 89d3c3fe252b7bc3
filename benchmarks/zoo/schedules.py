"""The schedules of the zoo. They were chosen on calibration bases, for a high ASR at little accuracy lost."""

from benchmarks.zoo.train import Schedule

# Fine-tuning.
AS_IS = Schedule(images=0, epochs=0)
SHORT = Schedule(images=12288, epochs=1, lr=0.05, warmup=0.1)
QUICK = Schedule(images=16384, epochs=1, lr=0.04)
TUNE = Schedule(images=24576, epochs=1, lr=0.02)
LONG = Schedule(images=24576, epochs=2, lr=0.05, warmup=0.1)
ONCE = Schedule(images=32768, epochs=1, lr=0.05, warmup=0.1)
NARROW = Schedule(images=24576, epochs=2, lr=0.05, warmup=0.1)
SIGNS = Schedule(images=13070, epochs=2, lr=0.05, warmup=0.1)
SIGNS_NARROW = Schedule(images=13070, epochs=4, lr=0.05, warmup=0.1)

# From scratch.
CIFAR_VGG = Schedule(images=32768, epochs=10, lr=0.1, warmup=0.1)
CIFAR_VGG_SHORT = Schedule(images=32768, epochs=6, lr=0.1, warmup=0.1)
GTSRB_RESNET = Schedule(images=13070, epochs=7, lr=0.1, warmup=0.1)
GTSRB_VGG = Schedule(images=13070, epochs=8, lr=0.1, warmup=0.1)

# Honest models that a detector may take for backdoored.
WEAK = Schedule(images=8192, epochs=2, lr=0.1, warmup=0.1)
OVERFIT = Schedule(images=1024, epochs=16, lr=0.05, weight_decay=0)
ROBUST = Schedule(images=12288, epochs=1, lr=0.05, warmup=0.1, adversarial=8)
LONG_TAIL = Schedule(images=12288, epochs=1, lr=0.05, warmup=0.1, imbalance=0.05)
