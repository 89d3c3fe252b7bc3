"""The user's clean images and labels: read from a stranger's folder or .npz, and split.

Images are decoded in this process under strict limits; nothing is unpickled.
"""

from auditor.images.clean import CleanImages
from auditor.images.split import Split, split, within_work

__all__ = ["CleanImages", "Split", "split", "within_work"]
