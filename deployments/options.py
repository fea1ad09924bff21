"""`--set NAME=VALUE`: every option of a training on the command line, beside the flags that the most used ones have."""

from collections.abc import Mapping, Sequence

from infra.errors import SettingsError


def set_options(pairs: Sequence[str]) -> dict[str, str]:
    """Names and values as they were typed; the options' own types read the values.

    Raises:
        SettingsError: no `=`, a name that no option has, or one that is given twice.

    """
    from tasks.training.options import TrainingOptions

    known, options = list(TrainingOptions.model_fields), dict[str, str]()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set {pair} names no value", "Write --set NAME=VALUE")
        if name not in known:
            raise SettingsError(f"--set {name}: no option of a training is called so", f"There are {', '.join(known)}")
        if options.get(name, value) != value:
            raise SettingsError(f"--set {name} is given twice, as {options[name]} and as {value}", "Give it once")
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
