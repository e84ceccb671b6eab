"""Validation files once more, as they arrive: an operating point is to hold for those, too."""

import logging
import pathlib

import pyarrow as pa
import pyarrow.compute as pc

from deepscan.bundle import Bundle
from deepscan.evaluation import Judging
from deepscan.media.deliveries import ALL, QUICK
from deepscan.media.deliveries.catalog import load_builtin
from deepscan.operating import DELIVERY
from deepscan.recipe import Recipe
from deepscan.robustness.plan import CLEAN, Asked, plan
from deepscan.robustness.run import judge_all
from deepscan.watch import Watch

_log = logging.getLogger(__name__)


def check_deliveries(recipe: Recipe) -> None:
    """Refuse a recipe whose operating point is to hold after a delivery that is not there.

    Raises:
        UnknownNameError: There is no such delivery.
    """
    for name in recipe.error_rate_under:
        if name not in (ALL, QUICK):
            load_builtin().get(name)


def after_deliveries(
    bundle: Bundle, judged: pa.Table, judging: Judging, out: pathlib.Path, watch: Watch
) -> pa.Table | None:
    """Judge files after the deliveries that the bundle's recipe names.

    Args:
        bundle: The bundle.
        judged: What it said of the files, columns of ``evaluation.predictions``. Pseudo-fakes are no files
            that could be delivered, and are left out.
        judging: How files are judged.
        out: Folder of what is written; what an earlier call left there is used.
        watch: Follows the work.

    Returns:
        The rows of ``judged`` for every delivery with the ``logit`` after it, and ``DELIVERY``, its name;
        without those that are not judged any more. None = the recipe names none.

    Raises:
        ConfigError: A delivery is unknown, or takes no such files.
    """
    if not (names := tuple(bundle.card.recipe.get("error_rate_under", ()))):
        return None
    files = judged.filter(pc.and_(pc.is_valid(judged["logit"]), pc.invert(_is_pseudo(judged))))
    whole = plan(bundle, files, Asked(deliveries=names), judging, out)
    for name, why in whole.unavailable.items():
        _log.warning("The error rate is not kept after %s, which cannot be made here: %s", name, why)
    tables = []
    for name, said in judge_all(whole, watch).items():
        if name == CLEAN:
            continue
        said = said.filter(pc.is_valid(said["logit"]))
        rows = files.take(said["number"])
        rows = rows.set_column(rows.column_names.index("logit"), "logit", said["logit"])
        tables.append(rows.append_column(DELIVERY, pa.array([name] * len(rows), pa.string())))
    return pa.concat_tables(tables)


def _is_pseudo(judged: pa.Table) -> pa.BooleanArray:
    """Tell which rows are pseudo-fakes, by their paths; see ``DataSet.pseudo_ledger``."""
    rows = zip(judged["path"].to_pylist(), judged["generator"].to_pylist(), strict=True)
    return pa.array([bool(kind) and path.endswith(f"#{kind}") for path, kind in rows])
