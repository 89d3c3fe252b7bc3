"""What others would reach for: methods that see clean images alone, to compare with. `auto` uses none.

Each comes in two settings: `BASELINES`, with batches, rates and rho for a few dozen images, and
`PUBLISHED`, with the values of its source, which are meant for thousands.
"""

from auditor.unlearn.baselines.anp import ANP_PUBLISHED, Anp
from auditor.unlearn.baselines.ft import FT_PUBLISHED, Ft
from auditor.unlearn.baselines.ft_sam import FT_SAM_PUBLISHED, FtSam
from auditor.unlearn.baselines.i_bau import I_BAU_PUBLISHED, IBau
from auditor.unlearn.method import Method

BASELINES: dict[str, Method] = {"ft": Ft(), "ft_sam": FtSam(), "anp": Anp(), "i_bau": IBau()}
PUBLISHED: dict[str, Method] = {
    "ft": FT_PUBLISHED, "ft_sam": FT_SAM_PUBLISHED, "anp": ANP_PUBLISHED, "i_bau": I_BAU_PUBLISHED,
}  # fmt: skip
