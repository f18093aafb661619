"""``docs/reference/scikit-learn.md``: what scikit-learn's own checks of an estimator say of our regressors.

python docs/generate/scikit_learn.py
"""

import warnings

import sklearn
from results import DOCS, page, table
from sklearn.utils.estimator_checks import check_estimator

from ctp_torch import models

PAGE = DOCS / "reference" / "scikit-learn.md"
MODELS = {
    "LinearRegression": models.LinearRegression(),
    "Ridge": models.Ridge(),
    "KernelRidge": models.KernelRidge(),
    "RandomForest": models.RandomForest(8),
}
REASONS = {
    "check_estimators_unfitted": "ours is a CTPError and a ValueError; scikit-learn's own class would be needed, and "
    "stays optional",
    "check_sample_weight_equivalence_on_dense_data": "the forest draws other samples where there are others, as "
    "scikit-learn's own does",
    "check_sample_weight_equivalence_on_sparse_data": "no sparse samples: dense data is asked for by name",
}
TOP = """Written by `docs/generate/scikit_learn.py` from `sklearn.utils.estimator_checks.check_estimator`; the tests hold every
model to it. numpy in gives numpy out, tensors in give tensors out. `clone`, `set_params`, `get_params`, `GridSearchCV`,
`cross_val_score` and `Pipeline` work; a grid over `KernelRidge` with patients left out gives the scores of `ctp-torch tune`
on the same folds, which never refits. scikit-learn itself stays optional."""


def text():
    """The page."""
    warnings.simplefilter("ignore")
    counts, failed = [], []
    for name, model in MODELS.items():
        rows = check_estimator(model, on_fail=None)
        states = [row["status"] for row in rows]
        counts.append([name, len(states), *(states.count(state) for state in ("passed", "skipped", "failed"))])
        failed += [[name, row["check_name"]] for row in rows if row["status"] == "failed"]
    return page(
        "scikit-learn",
        [
            TOP,
            f"## check_estimator of scikit-learn {sklearn.__version__}",
            table(["model", "checks", "passed", "not for such a model", "failed"], counts),
            "## What fails, and why",
            table(["model", "check", "why"], [[name, f"`{check}`", REASONS[check]] for name, check in failed]),
        ],
    )


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
