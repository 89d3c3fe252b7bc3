"""How well backdoors are detected, beside Neural Cleanse on the same models and images: `python -m benchmarks.detect`."""
