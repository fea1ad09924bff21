"""The gate: a model that is not better is kept, reported, and not published."""

from pydantic import Field

from tasks.contracts import Contract, EvaluationReport, GateDecision, Score


class GateRules(Contract):
    """What a model must reach to be published. Rates are fractions: 0.05 is 5 points of WER."""

    guard_margin: float = Field(0.05, ge=0, description="How much WER a guard set may lose, in fractions (0.05 is 5 points).")


def decide(report: EvaluationReport, rules: GateRules, duel: EvaluationReport | None = None) -> GateDecision:
    """Publish only if the WER of the target falls and no guard set loses more than the margin, against a rival too if there is one.

    A guard set as a whole is judged by its measured change; one of its languages, on which there are fewer utterances, only when even
    the lower end of its interval lies above the margin.
    """
    own = _decide(report, rules)
    if duel is None:
        return own
    other = _decide(duel, rules)
    reasons = (*own.reasons, *(f"against {duel.rival}: {reason}" for reason in other.reasons))
    return GateDecision(publish=own.publish and other.publish, reasons=reasons)


def _decide(report: EvaluationReport, rules: GateRules) -> GateDecision:
    target = report.target
    better = target.wer_tuned.value < target.wer_base.value
    verdicts = [(better, f"{report.dataset.name}: WER {_change(target)}, {'better' if better else 'not better'}")]
    for guard in report.guard_scores:
        whole = guard.language == "all"
        lost = guard.wer_change.value if whole else guard.wer_change.low
        held = lost <= rules.guard_margin
        name = guard.set_name if whole else f"{guard.set_name} ({guard.language})"
        verdicts.append((held, f"{name}: WER {_change(guard)}, {'held' if held else f'lost more than {rules.guard_margin:.0%}'}"))
    return GateDecision(publish=all(good for good, _ in verdicts), reasons=tuple(reason for _, reason in verdicts))


def _change(score: Score) -> str:
    change = score.wer_change
    return (
        f"{score.wer_base.value:.1%} -> {score.wer_tuned.value:.1%} "
        f"(change {change.value:+.1%}, 95 % interval {change.low:+.1%} to {change.high:+.1%}, n={score.utterances})"
    )
