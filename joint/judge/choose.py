"""Choose a decision rule on validation pictures.

::

    logits ──calibrate──► temperature, bias ──adjust──► tau ──refer──► cutoff
                    └────────── offset ─────────┘
                              DecisionRule
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from classify import (
    DecisionRule,
    TauChoice,
    choose_cutoff,
    choose_tau,
    fit_bias_corrected_temperature,
    fit_temperature,
)
from classify.metric_names import Metric
from classify.scores import as_array
from joint.caution import told_once

from .evaluation import Evaluation

__all__ = ["RuleChoice", "choose_rule"]


class RuleChoice(NamedTuple):
    """A decision rule, and the choices that it is made of."""

    rule: DecisionRule
    """All that was chosen, together."""
    calibration: DecisionRule | None = None
    """Its calibration alone, if there is one."""
    adjustment: TauChoice | None = None
    """The choice of tau, if there is one."""


def choose_rule(
    evaluation: Evaluation,
    *,
    calibrate: Literal["temperature", "bias"] | None = None,
    adjust: Metric | None = None,
    log_prior: Tensor | np.ndarray | None = None,
    at_least: Mapping[str, float] | None = None,
    within: Mapping[str, float] | None = None,
    taus: Sequence[float] | None = None,
    refer: str | Sequence[str] = (),
    sensitivity: float | None = None,
    specificity: float | None = None,
    assurance: float | None = None,
) -> RuleChoice:
    """Choose a decision rule on validation pictures.

    Calibration comes first, then tau for the calibrated scores, then the cutoff for the adjusted
    ones; each is left out by default. Apply the rule to other pictures.

    Parameters
    ----------
    evaluation : Evaluation
        Results of :func:`joint.evaluate` on the validation part.
    calibrate : {"temperature", "bias"}, optional
        Divide the scores by a temperature (:func:`classify.fit_temperature`), or add a bias for
        each class as well (:func:`classify.fit_bias_corrected_temperature`).
    adjust : str or callable, optional
        Subtract ``tau * log_prior``, with the tau that is best by this metric
        (:func:`classify.choose_tau`).
    log_prior : array or Tensor ``[K]``
        With ``adjust``: logarithm of the class shares in training, from
        :func:`classify.log_prior`. Not read without it.
    at_least, within : mapping of str to float, optional
        With ``adjust``: lower limits of other metrics, and how far others may be below their best
        value over ``taus``.
    taus : sequence of float, optional
        With ``adjust``: strengths to try; -1, -0.95 ... 2 by default.
    refer : str or sequence of str
        Classes to refer, from a cutoff of their probability on (:func:`classify.choose_cutoff`).
    sensitivity, specificity : float
        With ``refer``, one of them: the required value, above 0 and at most 1.
    assurance : float, optional
        With ``refer``: confidence that it is reached on other pictures, between 0 and 1.

    Returns
    -------
    RuleChoice
        ``rule.fitted`` has the operating point, the number of pictures and what was chosen.

    Raises
    ------
    ValueError
        When there are no class scores, nothing is to be chosen, or an argument is missing or, other
        than ``log_prior``, of no use. When a choice fails, such as that of a temperature on
        pictures without a mistake; the message then begins with ``calibrate:``, ``adjust:`` or
        ``refer:``.

    Warns
    -----
    UserWarning
        As :func:`classify.choose_tau` and :func:`classify.choose_cutoff`.
    """
    if evaluation.logits is None or evaluation.report is None:
        raise ValueError("there are no class scores to choose by: the system has no classifier")
    if calibrate not in (None, "temperature", "bias"):
        raise ValueError(f"calibrate must be 'temperature' or 'bias', not {calibrate!r}")
    if calibrate is None and adjust is None and not refer:
        raise ValueError("there is nothing to choose: give calibrate, adjust or refer")
    if adjust is None and (at_least or within or taus is not None):
        raise ValueError("at_least, within and taus need adjust, the metric that tau is chosen by")
    if not refer and (sensitivity, specificity, assurance) != (None, None, None):
        raise ValueError("sensitivity, specificity and assurance need refer, the classes to refer")
    logits, labels = evaluation.logits, evaluation.labels
    fitted: dict[str, Any] = {**evaluation.point.to_dict(), "pictures": evaluation.count}
    rule, calibration, adjustment = DecisionRule(evaluation.report.classes), None, None
    with told_once():
        if calibrate is not None:
            with _begun_with("calibrate"):
                rule = calibration = _calibrated(rule, logits, labels, bias=calibrate == "bias")
            fitted["calibrate"] = calibrate
        if adjust is not None:
            if log_prior is None:
                raise ValueError("adjust needs log_prior=classify.log_prior(train.counts)")
            prior = as_array(log_prior)
            with _begun_with("adjust"):
                adjustment = choose_tau(
                    rule.scores(logits),
                    labels,
                    log_prior=prior,
                    metric=adjust,
                    classes=rule.classes,
                    taus=taus,
                    at_least=at_least,
                    within=within,
                )
            shift = -adjustment.tau * prior
            rule = replace(rule, offset=tuple(np.asarray(rule.offset) + shift))
            fitted |= {"adjust": adjustment.metric, "tau": adjustment.tau}
        if refer:
            with _begun_with("refer"):
                referral = choose_cutoff(
                    rule.scores(logits),
                    labels,
                    classes=rule.classes,
                    positive=refer,
                    sensitivity=sensitivity,
                    specificity=specificity,
                    assurance=assurance,
                    groups=evaluation.groups,
                )
            rule = replace(rule, referral=referral)
    return RuleChoice(replace(rule, fitted=fitted), calibration, adjustment)


@contextmanager
def _begun_with(choice: str) -> Iterator[None]:
    """Say which choice an error is of."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{choice}: {error}") from error


def _calibrated(
    rule: DecisionRule, logits: np.ndarray, labels: np.ndarray, *, bias: bool
) -> DecisionRule:
    """The rule with the best temperature, and with the best biases if wanted."""
    if bias:
        absent = [name for k, name in enumerate(rule.classes) if not (labels == k).any()]
        if absent:
            raise ValueError(
                f"there is no picture of {', '.join(absent)}, and so no bias: calibrate by the "
                "temperature alone"
            )
        temperature, biases = fit_bias_corrected_temperature(logits, labels)
        return replace(rule, temperature=temperature, offset=tuple(biases))
    with warnings.catch_warnings():
        # An end of the search is no temperature to keep.
        warnings.filterwarnings("error", "no temperature is best", UserWarning)
        try:
            return replace(rule, temperature=fit_temperature(logits, labels))
        except UserWarning as error:
            raise ValueError(error) from error
