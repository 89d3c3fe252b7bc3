"""`ft_sam`: fine-tuning that looks for flat minima, with perturbations in proportion to the weights.

Sources: Zhu et al., Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware Minimization,
ICCV 2023; Foret et al., ICLR 2021; Kwon et al. (adaptive), ICML 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from auditor.unlearn.baselines.ft import Ft

if TYPE_CHECKING:
    from auditor.unlearn.baselines.fine_tuning import Gradients


@dataclass(frozen=True, kw_only=True)
class FtSam(Ft):
    """Fine-tuning by the gradients at w + e, where e raises the loss most within |e / w| <= rho."""

    epochs: int = 40
    learning_rate: float = 0.01
    rho: float = 4.0
    name: str = "ft_sam"

    def _gradients(self) -> Gradients:
        from auditor.unlearn.baselines.fine_tuning import sharpness_aware

        return partial(sharpness_aware, rho=self.rho)


FT_SAM_PUBLISHED = FtSam(rho=2.0, epochs=100, learning_rate=0.01, batch_size=256)
