"""Fits the weights of the causes on samples whose cause is known.

Weights are bounded below by 0, so that evidence keeps its direction; scikit-learn's logistic regression knows no such
bound, so the likelihood is handed to SciPy's L-BFGS-B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.causes import logit, strength
from core.plugins import kinds

# A name that is more likely wrong than right is worse than none.
UNDETERMINED_BELOW = 0.5

Pieces = Mapping[str, np.ndarray]


def fit(
    evidence: Pieces,
    truth: Sequence[frozenset[str]],
    weights: np.ndarray,
    causes: Sequence[str],
    penalty: float,
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """One set of parameters.

    Args:
        evidence: piece to (n,) of the n samples with known truth; NaN = not measured.
        truth: for each sample the causes that fit.
        weights: (n,) how much each sample counts.
        causes: those to judge.
        penalty: of the squared weights, against one sample's mean log-loss.
        groups: (n,) number of the generator that wrote the sample's world. The confidence is then fitted on strengths
            from weights that have seen no world of it (Platt 1999 holds out for this as well): strengths of samples the
            weights were fitted on are surer than those of a new run. None: on the same samples.
    """
    by_cause = _weights(evidence, truth, weights, causes, penalty)
    strengths = {name: strength(by_cause[name], evidence) for name in causes}
    for group in np.unique(groups) if groups is not None else ():
        out = groups == group
        if out.all():
            break
        rest = {k: v[~out] for k, v in evidence.items()}
        true = [t for t, o in zip(truth, out, strict=True) if not o]
        without = _weights(rest, true, weights[~out] / weights[~out].sum(), causes, penalty)
        group_evidence = {k: v[out] for k, v in evidence.items()}
        for name in causes:
            strengths[name][out] = strength(without[name], group_evidence)
    return {"causes": by_cause, "decision": _decision(strengths, truth, weights)}


def _weights(
    evidence: Pieces, truth: Sequence[frozenset[str]], weights: np.ndarray, causes: Sequence[str], penalty: float
) -> dict[str, Any]:
    by_cause = {}
    for name in causes:
        cause = kinds("causes")[name]
        y = np.array([name in t for t in truth], dtype=float)
        by_cause[name] = _one(evidence, cause.speaks_for, cause.speaks_against, y, weights, penalty)
    return by_cause


def _one(
    evidence: Pieces, favours: Sequence[str], against: Sequence[str], y: np.ndarray, weights: np.ndarray, penalty: float
) -> dict[str, Any]:
    names = [n for n in (*favours, *against) if np.isfinite(evidence[n]).any()]
    signs = np.array([1.0 if n in favours else -1.0 for n in names])
    x = np.stack([np.nan_to_num(evidence[n], nan=0.0) for n in names], axis=1) * signs
    # Both answers weigh alike, however many samples the cause has.
    w = weights * np.where(y == 1, 0.5 / max((weights * y).sum(), 1e-9), 0.5 / max((weights * (1 - y)).sum(), 1e-9))
    bias, slopes = logistic(x, y, w, penalty)
    return {
        "bias": round(bias, 4),
        "for": {n: round(s, 4) for n, s in zip(names, slopes, strict=True) if n in favours and s > 5e-5},
        "against": {n: round(s, 4) for n, s in zip(names, slopes, strict=True) if n in against and s > 5e-5},
    }


def logistic(
    x: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    penalty: float,
    bounds: Sequence[tuple[float | None, float | None]] | None = None,
    start: np.ndarray | None = None,
) -> tuple[float, np.ndarray]:
    """Logistic regression with bounded slopes: minimises sum_i w_i logloss_i + penalty |slopes|^2.

    Args:
        x: (n, d); y: (n,) 0 or 1; w: (n,) summing to about 1.
        bounds: lowest and highest value of each slope, None: at least 0. ``start``: (d,) where the search begins.

    Returns:
        bias, slopes (d,).
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        z = theta[0] + x @ theta[1:]
        value = float((w * (np.logaddexp(0.0, z) - y * z)).sum() + penalty * (theta[1:] ** 2).sum())
        pull = w * (expit(z) - y)
        return value, np.concatenate([[pull.sum()], x.T @ pull + 2 * penalty * theta[1:]])

    first = np.concatenate([[0.0], np.full(x.shape[1], 0.5) if start is None else start])
    limits = [(None, None), *(bounds or [(0.0, None)] * x.shape[1])]
    theta = minimize(loss, first, jac=True, bounds=limits, method="L-BFGS-B", options={"maxiter": 2000}).x
    return float(theta[0]), theta[1:]


def _decision(
    strengths: Mapping[str, np.ndarray], truth: Sequence[frozenset[str]], weights: np.ndarray
) -> dict[str, float]:
    """Parameters of the confidence, and the confidence under which no cause is named."""
    names = list(strengths)
    table = np.nan_to_num(np.stack([strengths[n] for n in names], axis=1), nan=0.0)
    ranked = np.sort(table, axis=1)[:, ::-1]
    first, second = logit(ranked[:, 0]), logit(ranked[:, 1])
    right = np.array([names[k] in t for k, t in zip(table.argmax(axis=1), truth, strict=True)], dtype=float)
    bias, slopes = logistic(np.stack([first, first - second], axis=1), right, weights / weights.sum(), 1e-4)
    return {
        "bias": round(bias, 4), "top": round(float(slopes[0]), 4), "margin": round(float(slopes[1]), 4),
        "undetermined_below": UNDETERMINED_BELOW,
    }  # fmt: skip
