#!/usr/bin/env python3
"""Writes tests/golden/ensemble.json: combinations, metrics, diversity, weights, stacking, selection and temperature of a few
made-up members, by NumPy, SciPy and scikit-learn.

  python tests/golden/ensemble.py        (numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1)

Scores are multiples of 1/4, so that members and rows have ties.
"""
import json
import pathlib

import numpy as np
import scipy
import sklearn
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import entropy, rankdata
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, cohen_kappa_score, log_loss

M, N, K = 6, 300, 5


def make():
    rng = np.random.default_rng(7)
    y = rng.integers(0, K, N)
    shared = rng.normal(size=(N, K))
    z = []
    for m in range(M):
        own = 2.2 * np.eye(K)[y] * (0.4 + 0.2 * m) + shared + rng.normal(size=(N, K))
        z.append(np.round(own * 1.5 * 4) / 4)
    return np.array(z), y


class Fixed:
    """A fitted classifier, as VotingClassifier sees it."""
    def __init__(self, p):
        self.p = p

    def predict_proba(self, x):
        return self.p

    def predict(self, x):
        return self.p.argmax(1)


def voting(p, weights, how):
    v = VotingClassifier([(str(i), None) for i in range(len(p))], voting=how, weights=weights)
    v.estimators_ = [Fixed(q) for q in p]
    v.estimators = [(str(i), e) for i, e in enumerate(v.estimators_)]
    v.le_ = sklearn.preprocessing.LabelEncoder().fit(np.arange(K))
    v.classes_ = np.arange(K)
    return v


def label_of(score, mean):
    """Highest score, of equal ones the highest mean, of equal ones the lowest class."""
    out = []
    for s, m in zip(score, mean):
        best = np.flatnonzero(s == s.max())
        top = m[best].max()
        out.append(int(best[np.flatnonzero(np.abs(m[best] - top) < 1e-12)[0]]))
    return out


def runoff(z, w, mean):
    rows, labels = [], []
    for i in range(z.shape[1]):
        left = set(range(K))
        while True:
            votes = np.zeros(K)
            for m in range(len(z)):
                first = min(left, key=lambda c: (-z[m, i, c], c))
                votes[first] += w[m]
            nobody = {c for c in left if votes[c] == 0}
            left -= nobody
            best = max(left, key=lambda c: (votes[c], -c))
            if votes[best] > sum(w) / 2 or len(left) == 1:
                break
            left.remove(min(left, key=lambda c: (votes[c], round(mean[i, c], 12), -c)))
        rows.append(votes / votes.sum())
        labels.append(int(best))
    return np.array(rows), labels


def rules(z):
    p = softmax(z, axis=2)
    out = {}
    for tag, w in (("", None), (" weighted", [1.0, 0.5, 2.0, 0.0, 3.0, 0.25])):
        weights = np.ones(M) if w is None else np.array(w)
        share = weights / weights.sum()
        mean = voting(p, weights, "soft").predict_proba(np.zeros((N, 1)))
        assert np.allclose(mean, np.einsum("m,mnk->nk", share, p))

        def put(name, rule, score, prob, label=None):
            out[name + tag] = {"rule": rule, "weights": w or [], "probability": np.asarray(prob).ravel().tolist(),
                               "label": label or label_of(score, mean)}

        put("mean_probability", "mean_probability", mean, mean)
        logit = np.einsum("m,mnk->nk", weights, z)  # exact: all are multiples of powers of two
        put("mean_logit", "mean_logit", logit, softmax(logit / weights.sum(), axis=1))
        geo = np.einsum("m,mnk->nk", share, np.log(p))
        put("geometric", "geometric", logit, softmax(geo, axis=1))
        votes = np.einsum("m,mnk->nk", weights, np.eye(K)[p.argmax(2)])
        if w is None:
            hard = voting(p, None, "hard").transform(np.zeros((N, 1)))
            assert (np.eye(K)[hard].sum(1) == votes).all()
        put("hard_vote", "hard_vote", votes, votes / weights.sum())
        points = np.zeros((N, K))
        for m in range(M):
            points += weights[m] * (rankdata(z[m], axis=1) - 1)
        put("borda", "borda", points, points / points.sum(1, keepdims=True))
        share_of, label = runoff(z, weights, mean)
        put("instant_runoff", "instant_runoff", None, share_of, label)
        if w is None:
            med = np.median(p, axis=0)
            put("median", "median", med, med / med.sum(1, keepdims=True))
            trim = scipy.stats.trim_mean(p, 1 / 10, axis=0)
            put("trimmed_mean", "trimmed_mean", trim, trim / trim.sum(1, keepdims=True))
    return out


def calibration_error(conf, right, bins=15):
    which = np.clip(np.ceil(conf * bins) - 1, 0, bins - 1).astype(int)
    total = 0.0
    for b in range(bins):
        m = which == b
        if m.any():
            total += m.sum() / len(conf) * abs(right[m].mean() - conf[m].mean())
    return total


def metrics(p, y):
    hot = np.eye(K)[y]
    right = p.argmax(1) == y
    return {
        "nll": log_loss(y, p, labels=range(K)),
        "brier": brier_score_loss(y, p, labels=range(K), scale_by_half=False),
        "accuracy": float(right.mean()),
        "ece": calibration_error(p.max(1), right),
        "class_ece": float(np.mean([calibration_error(p[:, k], hot[:, k]) for k in range(K)])),
    }


def diversity(z, y):
    p = softmax(z, axis=2)
    right = p.argmax(2) == y
    pairs = []
    for i in range(M):
        for j in range(i + 1, M):
            a, b = right[i], right[j]
            n11, n00 = int((a & b).sum()), int((~a & ~b).sum())
            n10, n01 = int((a & ~b).sum()), int((~a & b).sum())
            both = (p[i] + p[j]) / 2
            pairs.append({
                "i": i, "j": j, "disagreement": (n10 + n01) / N,
                "q": (n11 * n00 - n01 * n10) / (n11 * n00 + n01 * n10), "double_fault": n00 / N,
                "kappa": cohen_kappa_score(a, b),
                "js": float(np.mean(entropy(both, axis=1) - (entropy(p[i], axis=1) + entropy(p[j], axis=1)) / 2)),
            })
    c = right.sum(0)
    mean = p.mean(0)
    return {"pairs": pairs, "kohavi_wolpert": float(np.mean(c * (M - c)) / M**2),
            "mutual_information": float(np.mean(entropy(mean, axis=1) - entropy(p, axis=2).mean(0)))}


def temperature(z, y):
    f = lambda b: -np.mean(log_softmax(b * z, axis=1)[np.arange(len(y)), y])
    best = minimize_scalar(f, bounds=(1 / 20, 20), method="bounded", options={"xatol": 1e-12})
    return {"value": 1 / best.x, "nll_before": f(1.0), "nll_after": best.fun}


def weights(z, y):
    py = softmax(z, axis=2)[:, np.arange(N), y]
    f = lambda w: -np.mean(np.log(w @ py))
    g = lambda w: -np.mean(py / (w @ py), axis=1)
    best = minimize(f, np.full(M, 1 / M), jac=g, method="SLSQP", bounds=[(0, 1)] * M,
                    constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(M)},
                    options={"ftol": 1e-15, "maxiter": 1000})
    return {"weights": best.x.tolist(), "nll": best.fun}


def greedy(z, y, rounds):
    """Caruana et al. 2004, over log_loss of whole probabilities."""
    p = softmax(z, axis=2)
    bag, total, order, losses = [], np.zeros((N, K)), [], []
    for r in range(1, rounds + 1):
        loss = [log_loss(y, (total + p[m]) / r, labels=range(K)) for m in range(M)]
        m = int(np.argmin(loss))
        total += p[m]
        bag.append(m)
        order.append(m)
        losses.append(loss[m])
    cut = int(np.argmin(losses)) + 1
    return {"order": order, "loss": losses, "weights": (np.bincount(order[:cut], minlength=M) / cut).tolist()}


def stacking(z, y, lam):
    l = np.maximum(log_softmax(z, axis=2), np.log(1e-7))
    x = np.concatenate([m - m.mean(1, keepdims=True) for m in l], axis=1)
    fit = LogisticRegression(C=1 / (lam * N), tol=1e-10, max_iter=100000).fit(x, y)
    p = fit.predict_proba(x)
    loss = log_loss(y, p, labels=range(K)) + lam / 2 * (fit.coef_**2).sum()
    return {"lambda": lam, "weights": fit.coef_.ravel().tolist(), "probability": p.ravel().tolist(), "objective": loss}


def main():
    z, y = make()
    mean = softmax(z, axis=2).mean(0)
    out = {
        "numpy": np.__version__, "scipy": scipy.__version__, "sklearn": sklearn.__version__,
        "k": K, "label": y.tolist(), "members": [m.ravel().tolist() for m in z], "rules": rules(z),
        "metrics": {"mean": metrics(mean, y), "first": metrics(softmax(z[0], axis=1), y)},
        "diversity": diversity(z, y), "temperature": [temperature(m, y) for m in z],
        "weights": weights(z, y), "greedy": greedy(z, y, 25),
        "stacking": [stacking(z, y, lam) for lam in (1e-3, 1e-1)],
    }
    text = json.dumps(out, separators=(",", ":"), default=float)
    (pathlib.Path(__file__).parent / "ensemble.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
