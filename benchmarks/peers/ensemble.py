"""What an ensemble's arithmetic takes with NumPy, SciPy and scikit-learn. Usage: ensemble.py WHAT [FILE]

mean_probability  GB/s of softmax over 10 members x 1,000,000 x 10, then the mean
greedy            seconds of 25 rounds over 100 members x 100,000 x 10, each candidate by log_loss: one round, times 25
stack             seconds of LogisticRegression on the scores in FILE (20 x 50,000 x 10); says its objective on stderr
"""
import sys
import time


def make_mean_probability():
    import numpy as np
    from scipy.special import softmax
    z = [np.random.default_rng(m).normal(size=(1_000_000, 10)).astype(np.float32) for m in range(10)]

    def measure():
        start = time.perf_counter()
        total = np.zeros_like(z[0])
        for member in z:
            total += softmax(member, axis=1)
        (total / len(z)).argmax(axis=1)
        return sum(m.nbytes for m in z) / 1e9 / (time.perf_counter() - start)
    return measure


def make_greedy():
    import numpy as np
    from scipy.special import softmax
    from sklearn.metrics import log_loss
    members, rows = 100, 100_000
    label = np.arange(rows) % 10
    p = [softmax(np.random.default_rng(m).normal(size=(rows, 10)).astype(np.float32) + 2 * np.eye(10, dtype=np.float32)[label], axis=1)
         for m in range(members)]

    def measure():
        start = time.perf_counter()
        chosen = p[0]
        for member in p:
            log_loss(label, (chosen + member) / 2, labels=range(10))
        return 25 * (time.perf_counter() - start)
    return measure


def make_stack():
    import numpy as np
    from scipy.special import log_softmax
    from sklearn.linear_model import LogisticRegression
    members, rows, classes, lam = 20, 50_000, 10, 1e-2
    z = np.fromfile(sys.argv[2], dtype=np.float32).reshape(members, rows, classes)
    features = [np.maximum(log_softmax(m.astype(np.float64), axis=1), np.log(1e-7)) for m in z]
    x = np.concatenate([f - f.mean(axis=1, keepdims=True) for f in features], axis=1)
    label = np.arange(rows) % classes

    def measure():
        start = time.perf_counter()
        fit = LogisticRegression(C=1 / (lam * rows), tol=1e-6, max_iter=1000).fit(x, label)
        seconds = time.perf_counter() - start
        loss = -log_softmax(fit.decision_function(x), axis=1)[np.arange(rows), label].mean() + lam / 2 * (fit.coef_ ** 2).sum()
        print(f"objective {loss:.9f}", file=sys.stderr)
        return seconds
    return measure


try:
    measure = globals()["make_" + sys.argv[1]]()
except Exception as e:  # said by the harness
    print(f"missing: {type(e).__name__}: {e}".splitlines()[0], flush=True)
    sys.exit(0)
print("ready", flush=True)
for _ in sys.stdin:
    print(measure(), flush=True)
