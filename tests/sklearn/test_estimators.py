"""scikit-learn's own checks, on all estimators of fastnn.sklearn, and its tests of its multilayer perceptron, on ours."""

import subprocess
import sys
from pathlib import Path

import pytest
import sklearn
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)

from fastnn import sklearn as estimators

QUICK = {"n_epochs": 20, "hidden_layer_sizes": (32, 32)}  # of the recipe's 256 and three layers of 256
ALL = [getattr(estimators, name)(**QUICK if name.startswith("Tabular") else {}) for name in estimators.__all__]

# rows and weights are not the same to quantiles, batches and the order of rows
ROWS = dict.fromkeys(
    ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"),
    "quantiles and batches are those of rows",
)


def to_fail(estimator):
    return ROWS if type(estimator).__name__.startswith("Tabular") else {}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ALL, expected_failed_checks=to_fail)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", ALL, ids=lambda e: type(e).__name__)
def test_checks_that_are_not_among_them(estimator):
    check_param_validation(type(estimator).__name__, estimator)
    pytest.importorskip("pandas")
    check_dataframe_column_names_consistency(type(estimator).__name__, estimator)


# What scikit-learn's tests reach into: the gradient as a function of packed weights, the optimizer's rate.
PRIVATE = {"test_gradient", "test_learning_rate_warmstart", "test_adaptive_learning_rate"}


def test_scikit_learns_tests_of_its_perceptron(tmp_path):
    """The file that is installed with scikit-learn, with our classes in place of its own."""
    theirs = Path(sklearn.__file__).parent / "neural_network" / "tests" / "test_mlp.py"
    if not theirs.exists():
        pytest.skip("scikit-learn is installed without its tests")
    text, line = theirs.read_text(encoding="utf-8"), "from sklearn.neural_network import MLPClassifier, MLPRegressor"
    assert line in text
    (tmp_path / "test_theirs.py").write_text(text.replace(line, "from fastnn.sklearn import MLPClassifier, MLPRegressor"))
    (tmp_path / "conftest.py").write_text("import pytest\n@pytest.fixture\ndef global_random_seed():\n    return 42\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", tmp_path, "-rA", tmp_path],
        capture_output=True, text=True,
    )
    lines = ran.stdout.splitlines()
    failed = {line.split("::")[1].split(" ")[0].split("[")[0] for line in lines if line.startswith(("FAILED", "ERROR"))}
    assert failed <= PRIVATE, ran.stdout[-3000:]
    assert sum(line.startswith("PASSED") for line in lines) > 50
