"""Evidence without a clean image: the last layer's rows, the largest margins, and images made by a rule to search on.

It ranks suspicion and decides nothing. Images synthesized from the network (matching its batch-norm
statistics) were tried as stand-ins for clean ones and did not tell backdoored networks from honest
ones (benchmarks/RESULTS.md, "detect"). The normalisation cannot be inferred without images: the
suspect's given one is used.
"""
