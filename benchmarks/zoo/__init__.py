"""A zoo of ordinary and backdoored classifiers, built from real images: `python -m benchmarks.zoo`."""
