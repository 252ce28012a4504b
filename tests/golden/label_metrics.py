#!/usr/bin/env python3
"""Writes tests/golden/label_metrics.json: metrics of pictures with several labels, by NumPy and scikit-learn.

  python tests/golden/label_metrics.py        (numpy 2.4.6, scikit-learn 1.9.1)

Scores are multiples of 1/4, so that each class has ties, 0 among them (a probability of exactly 0.5 is no prediction).
"""
import json
import pathlib
import warnings

import numpy as np
import sklearn
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, precision_recall_fscore_support

warnings.filterwarnings("ignore")


def case(name, y, z):
    p = 1 / (1 + np.exp(-z))
    said = (z > 0).astype(int)
    occurs = y.sum(0) > 0
    own = [float(average_precision_score(y[:, k], z[:, k])) if occurs[k] else None for k in range(y.shape[1])]
    precision, recall, f1, support = precision_recall_fscore_support(y, said, zero_division=0)
    loss = sum(log_loss(y[:, k], p[:, k], labels=[0, 1]) for k in range(y.shape[1]))
    return {
        "name": name, "targets": y.tolist(), "logits": z.tolist(), "loss": float(loss),
        "map": float(average_precision_score(y[:, occurs], z[:, occurs], average="macro")) if occurs.any() else None,
        "average_precision": own,
        "micro_f1": float(f1_score(y, said, average="micro", zero_division=0)),
        "exact_match": float(accuracy_score(y, said)),
        "precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist(), "support": support.tolist(),
    }


def drawn(seed, n, k, share, signal):
    rng = np.random.default_rng(seed)
    y = (rng.random((n, k)) < share).astype(int)
    z = np.round(4 * (rng.normal(size=(n, k)) + signal * (y - 0.5))) / 4
    return y, z


def main():
    cases = [case("many ties", *drawn(1, 200, 5, 0.3, 1.5)), case("rare", *drawn(2, 60, 8, 0.05, 1)),
             case("guessing", *drawn(3, 150, 3, 0.5, 0)), case("sure", *drawn(4, 40, 4, 0.5, 12))]
    y, z = drawn(5, 30, 4, 0.4, 1)
    y[:, 2] = 0
    cases.append(case("a class that does not occur", y, z))
    cases.append(case("all scores equal", drawn(6, 20, 3, 0.4, 0)[0], np.full((20, 3), -0.25)))
    cases.append(case("no labels at all", np.zeros((6, 2), int), np.array([[-1.0, 0.5]] * 6)))
    cases.append(case("one picture", np.array([[1, 0, 1]]), np.array([[0.5, -0.5, -1.0]])))
    out = {"numpy": np.__version__, "scikit-learn": sklearn.__version__, "cases": cases}
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(out) + "\n")


main()
