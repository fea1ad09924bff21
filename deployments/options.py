"""`--set NAME=VALUE` and `--check NAME=VALUE`: every option of a training, and every check of ingestion, on the command line."""

from collections.abc import Mapping, Sequence

from infra.errors import SettingsError


def set_options(pairs: Sequence[str]) -> dict[str, str]:
    """Names and values as they were typed; the options' own types read the values.

    Raises:
        SettingsError: no `=`, a name that no option has, or one that is given twice.

    """
    from tasks.training.options import TrainingOptions

    return _named(pairs, "--set", "option of a training", list(TrainingOptions.model_fields))


def set_checks(pairs: Sequence[str]) -> dict[str, object]:
    """The checks of ingestion as their settings: a check's name says what it does, any other name is a limit.

    Raises:
        SettingsError: no `=`, a name that no check or limit has, or one that is given twice.

    """
    from tasks.speech.checks import Check, SpeechChecks

    checks = {check.replace(" ", "_"): check for check in Check}
    limits = [name for name in SpeechChecks.model_fields if name != "answers"]
    given = _named(pairs, "--check", "check or limit", [*checks, *limits])
    answers = {checks[name]: value for name, value in given.items() if name in checks}
    return {name: value for name, value in given.items() if name in limits} | {"answers": answers}


def _named(pairs: Sequence[str], flag: str, kind: str, known: Sequence[str]) -> dict[str, str]:
    options = dict[str, str]()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(f"{flag} {pair} names no value", f"Write {flag} NAME=VALUE")
        if name not in known:
            raise SettingsError(f"{flag} {name}: no {kind} is called so", f"There are {', '.join(known)}")
        if options.get(name, value) != value:
            raise SettingsError(f"{flag} {name} is given twice, as {options[name]} and as {value}", "Give it once")
        options[name] = value
    return options


def refuse_contradiction(chosen: Mapping[str, object], flags: Mapping[str, object], named: Mapping[str, str]) -> None:
    """An option may be given by its flag and by --set, if that is the same.

    Args:
        chosen: the options that --set led to.
        flags: those given by a flag of their own.
        named: those given by --set.

    Raises:
        SettingsError: they are not the same.

    """
    for name in flags.keys() & named.keys():
        if flags[name] != chosen[name]:
            flag = f"--{name.replace('_', '-')}"
            raise SettingsError(
                f"{flag} {flags[name]} and --set {name}={named[name]} contradict each other", "Give one of the two"
            )
