"""The gate: a model that is not better is kept, reported, and not published."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import Field

from tasks.contracts import APPROVED, Contract, EvaluationReport, GateDecision, Score, Silence


class GateRules(Contract):
    """What a model must reach to be published. Rates are fractions: 0.05 is 5 points of WER."""

    least_utterances: int = Field(10, ge=1, description="Held-out utterances of the target under which nothing can be said.")
    guard_margin: float = Field(0.05, ge=0, description="How much WER a guard set may lose, in fractions (0.05 is 5 points).")
    loops_margin: float = Field(0.01, ge=0, description="Which share of outputs more than before may run in circles, in any set.")
    silence_margin: float = Field(
        10.0,
        ge=0,
        description="How many words more than before it may write in a minute in which nobody speaks, if that is more than twice.",
    )
    guard_margins: dict[str, float] = Field(default_factory=dict, description="The same for single guard sets, by their names.")


class _Verdict(NamedTuple):
    holds: bool
    reason: str
    more_utterances: int | None = None  # that might turn it


def decide(report: EvaluationReport, rules: GateRules, duel: EvaluationReport | None = None) -> GateDecision:
    """Publish only what is better beyond chance, against a rival too if there is one.

    - The whole 95 % interval of the target's change of WER lies below zero. Where WER falls but the interval does not, there is not enough
      data; its width shrinks with the root of the number of utterances, which tells about how many more would do.
    - No guard set loses more WER than its margin. As a whole it is judged by its measured change; one of its languages, on which there
      are fewer utterances, only when even the lower end of its interval lies above the margin.
    - In no set more outputs are endless than before, and hardly more run in circles.
    - Where nobody speaks, it hardly writes more words than before.
    """
    verdicts = list(_verdicts(report, rules))
    if duel is not None:
        verdicts += [one._replace(reason=f"against {duel.rival}: {one.reason}") for one in _verdicts(duel, rules)]
    against = [verdict for verdict in verdicts if not verdict.holds]
    wanting = [verdict.more_utterances for verdict in against]
    return GateDecision(
        publish=not against,
        reasons=tuple(verdict.reason for verdict in verdicts),
        more_utterances=max((more for more in wanting if more), default=None) if all(wanting) else None,
    )


def question(report: EvaluationReport, decision: GateDecision) -> str:
    """What a person is asked who has the last word, as Markdown."""
    reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
    return (
        f"The gate would publish the model that was made of **{report.dataset.name}**, fine-tuned from {report.model.base.label}:\n\n"
        f"{reasons}\n\nWhat it hears, to listen to: `{report.folder / 'report.html'}`\n\nShall it be published?"
    )


def settled(decision: GateDecision, answer: tuple[bool, str] | None, timeout_h: float) -> GateDecision:
    """A favourable decision after a person was asked: whether it may be published and their words; None: nobody answered in time."""
    if answer is None:
        said, publish = f"not approved: nobody answered within {timeout_h:g} h", False
    else:
        publish, words = answer
        said = f"{APPROVED if publish else 'refused by a person'}{f': {words.strip()}' if words.strip() else ', without a word'}"
    return decision.model_copy(update={"publish": publish, "reasons": (*decision.reasons, said)})


def _verdicts(report: EvaluationReport, rules: GateRules) -> Iterator[_Verdict]:
    yield _of_target(report.target, rules)
    for guard in report.guard_scores:
        yield _of_guard(guard, rules)
    for score in report.scores:
        before, after = score.errors_base.endless, score.errors_tuned.endless
        if score.language == "all" and after > before:
            yield _Verdict(False, f"{score.set_name}: {after} outputs do not end by themselves, {before} before")
        before, after = score.errors_base.loops, score.errors_tuned.loops
        if score.language == "all" and after - before > rules.loops_margin * score.utterances:
            yield _Verdict(False, f"{score.set_name}: {after} outputs run in circles, {before} before")
    if report.silence:
        yield _of_silence(report.silence, rules)


def _of_silence(silence: Silence, rules: GateRules) -> _Verdict:
    held = silence.more_a_minute <= rules.silence_margin or silence.words_tuned <= 2 * silence.words_base
    verdict = "held" if held else f"more than twice as many, and {rules.silence_margin:g} a minute more"
    words = f"{silence.words_base} -> {silence.words_tuned} words in {silence.seconds:.0f} s"
    return _Verdict(held, f"where nobody speaks: {words}, {verdict}")


def _of_target(target: Score, rules: GateRules) -> _Verdict:
    change, more = target.wer_change, _more_utterances(target, rules)
    if change.value >= 0:
        verdict, more = "not better", None
    elif more:
        verdict = f"not enough data to say that it is better: about {more:,} held-out utterances more might do"
    else:
        verdict = "better"
    return _Verdict(verdict == "better", f"{target.set_name}: WER {_change(target)}, {verdict}", more)


def _more_utterances(target: Score, rules: GateRules) -> int | None:
    """How many would narrow the interval enough, if what was measured stayed as it is; None where it is narrow enough."""
    change = target.wer_change
    needed = rules.least_utterances
    if change.value < 0 <= change.high:
        needed = max(needed, math.ceil(target.utterances * ((change.high - change.value) / change.value) ** 2) + 1)
    return needed - target.utterances if needed > target.utterances else None


def _of_guard(guard: Score, rules: GateRules) -> _Verdict:
    margin = rules.guard_margins.get(guard.set_name, rules.guard_margin)
    whole = guard.language == "all"
    held = (guard.wer_change.value if whole else guard.wer_change.low) <= margin
    name = guard.set_name if whole else f"{guard.set_name} ({guard.language})"
    return _Verdict(held, f"{name}: WER {_change(guard)}, {'held' if held else f'lost more than {margin:.0%}'}")


def _change(score: Score) -> str:
    change = score.wer_change
    return (
        f"{score.wer_base.value:.1%} -> {score.wer_tuned.value:.1%} "
        f"(change {change.value:+.1%}, 95 % interval {change.low:+.1%} to {change.high:+.1%}, n={score.utterances})"
    )
