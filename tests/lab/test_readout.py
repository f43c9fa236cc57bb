"""Ridge and logistic regression beside scikit-learn's, for which they stand in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from labkit.lab.readout import logistic, ridge

PENALTIES = np.logspace(-3, 4, 8)


def data(rows: int, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y with noise, and further rows of x, all away from 0."""
    rng = np.random.default_rng(0)
    x, new = (3 + rng.normal(size=(n, inputs)) * np.linspace(1, 3, inputs) for n in (rows, 20))
    return x, 2 + 0.1 * x @ rng.normal(size=(inputs, outputs)) + rng.normal(size=(rows, outputs)), new


@pytest.mark.parametrize("shape", [(40, 5, 3), (30, 60, 4), (25, 8, 1)])
def test_it_predicts_as_scikit_learn_does_with_fewer_and_more_inputs_than_rows(
    shape: tuple[int, int, int],
) -> None:
    x, y, new = data(*shape)
    found = ridge(torch.from_numpy(x), torch.from_numpy(y), PENALTIES)(torch.from_numpy(new))
    expected = RidgeCV(PENALTIES).fit(x, y).predict(new).reshape(found.shape)
    torch.testing.assert_close(found, torch.from_numpy(expected))


@pytest.mark.parametrize("shape", [(40, 12, 2), (30, 60, 1)])
def test_of_a_few_principal_components_it_predicts_as_scikit_learn_does(shape: tuple[int, int, int]) -> None:
    x, y, new = data(*shape)
    found = ridge(torch.from_numpy(x), torch.from_numpy(y), PENALTIES, components=4)(torch.from_numpy(new))
    expected = make_pipeline(PCA(4), RidgeCV(PENALTIES)).fit(x, y).predict(new).reshape(found.shape)
    torch.testing.assert_close(found, torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("x", "y", "penalties", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(4, 1), [1.0], "x must be"),
        (torch.zeros(3, 2), torch.zeros(3), [1.0], "x must be"),
        (torch.zeros(1, 2), torch.zeros(1, 1), [1.0], "x must be"),
        (torch.zeros(3, 2), torch.zeros(3, 1), [], "penalties must be positive"),
        (torch.zeros(3, 2), torch.zeros(3, 1), [1.0, 0.0], "penalties must be positive"),
    ],
)
def test_bad_input_is_answered_with_one_sentence(x, y, penalties: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ridge(x, y, penalties)


@pytest.mark.parametrize("shape", [(60, 5), (40, 90)])
def test_scores_of_logistic_regression_are_those_of_scikit_learn(shape: tuple[int, int]) -> None:
    x, y, new = data(*shape, 1)
    x[:, 0] = 2.0  # a number that never changes
    positive = y[:, 0] > np.median(y)
    found = logistic(torch.from_numpy(x).float(), torch.from_numpy(positive), penalty=10)(torch.from_numpy(new).float())
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000)).fit(x, positive)
    torch.testing.assert_close(found, torch.from_numpy(expected.decision_function(new)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("positive", "penalty", "message"),
    [
        (torch.tensor([True, True, True]), 1.0, "labels of both kinds"),
        (torch.tensor([True, False]), 1.0, "labels of both kinds"),
        (torch.tensor([True, False, True]), 0.0, "must be positive"),
    ],
)
def test_what_cannot_be_fitted_is_answered_with_one_sentence(positive, penalty: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        logistic(torch.zeros(3, 2), positive, penalty)
