"""A training loop of one's own: kdsearch searches, schedules, stores and answers; this file trains.

Any framework will do. Here a linear softmax student on scikit-learn's digits learns, with NumPy
alone, from a nearest-neighbour teacher.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from kdsearch.trial import Metrics, Trial


def train(trial: Trial, report: Callable[[int, Metrics], bool]) -> Metrics:
    """Train one student with the trial's parameters and seed, and return its accuracies."""
    x, labels, teacher_logits = _data()
    temperature = trial.params["objective.temperature"]
    learning_rate = trial.params["optimizer.lr"]
    soft_targets = _softmax(teacher_logits[:600] / temperature)
    weights = np.random.default_rng(trial.seed).normal(0, 0.1, (64, 10))
    accuracy = 0.0
    for epoch in range(1, trial.epochs + 1):
        student = _softmax(x[:600] @ weights / temperature)
        weights -= learning_rate * temperature * x[:600].T @ (student - soft_targets) / 600
        accuracy = _accuracy(x[600:1200] @ weights, labels[600:1200])
        if report(epoch, {"val_accuracy": accuracy}):
            break
    return {"val_accuracy": accuracy, "test_accuracy": _accuracy(x[1200:] @ weights, labels[1200:])}


@cache
def _data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    digits = load_digits()
    x = digits.data / 16.0
    teacher = KNeighborsClassifier(10, weights="distance").fit(x[:600], digits.target[:600])
    return x, digits.target, np.log(teacher.predict_proba(x) + 1e-3)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == labels).mean())
