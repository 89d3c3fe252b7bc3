"""Evidence from the network alone, with no clean image: weight rows, margins, surrogate images."""
