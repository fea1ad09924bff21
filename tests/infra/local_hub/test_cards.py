"""A card or a configuration that its author got wrong is that repository's matter: it still answers, and so do all lists."""

import pytest

from tests.builders.hubs import Workplace, written

pytestmark = pytest.mark.fast

_SMALL_BYTES = 1 << 20
_BOMB = "\n".join(
    f"{'abcdefgh'[n]}: &{'abcdefgh'[n]} [{', '.join(['x' if n == 0 else '*' + 'abcdefgh'[n - 1]] * 10)}]" for n in range(6)
)
_FRONTS = {
    "day that is none": "date: 2023-02-30",
    "no number": "wer: .nan",
    "endless": "wer: .inf",
    "bytes": "k: !!binary aGk=",
    "a set": "k: !!set {a, b}",
    "its own child": "x: &a [*a]",
    "nested without end": f"k: {'[' * 3000}",
    "number of another type": "k: !!int foo",
    "long number": f"k: {'9' * 5000}",
    "half a character": 'k: "\\uD800"',
    "python object": "k: !!python/object/apply:os.getcwd []",
    "no YAML": "k: [",
    "two documents": "a: 1\n--- \nb: 2",
    "a list": "- a\n- b",
    "keys of other types": "1: a\nnull: b\ntrue: c\n2024-01-01: d\n? [a, b]\n: e",
    "tags of other types": "tags: {a: b}\nlanguage: 5\nlicense: [x]\nbase_model: {}\npipeline_tag: [a]\nlibrary_name: 1.5\nmodel-index: 5",
    "bomb": _BOMB,
    "text that is named often": f"a: &a {'x' * 50_000}\nb: [{'*a, ' * 200}]",
}
_CONFIGS = {
    "nested without end": "[" * 100_000,
    "no number": '{"model_type": NaN}',
    "half a character": '{"model_type": "\\ud800"}',
    "long number": f'{{"model_type": {"9" * 5000}}}',
    "a list": "[1]",
    "no JSON": "{",
    "not UTF-8": b'{"model_type": "\xff"}',
}
_CARD = """---
license: cc-by-4.0
language: [de, gsw]
tags: [speech]
library_name: transformers
pipeline_tag: automatic-speech-recognition
base_model: anna/base
base_model_relation: finetune
released: 2026-11-23
wer: 0.125
---
# Words
"""


def _check_shown_everywhere(hub: Workplace, kind: str, name: str, content: str | bytes) -> None:
    """Look for a public repository with that file wherever it is listed."""
    path = hub.new(kind)
    repository = path if kind == "model" else f"{kind}s/{path}"
    try:
        hub.commit(repository, written(name, content)).raise_for_status()
        for address in (
            f"/api/{kind}s/{path}",
            f"/api/{kind}s?full=true",
            f"/api/{kind}s?expand=cardData",
            "/",
            f"/{repository}",
        ):
            answer = hub.http(None).get(address)
            assert answer.status_code == 200, f"{address}: {answer.text[:200]}"
            assert len(answer.content) < _SMALL_BYTES, address
    finally:
        hub.api().delete_repo(path, repo_type=kind)


@pytest.mark.parametrize("front", _FRONTS.values(), ids=_FRONTS.keys())
def test_a_wrong_card_leaves_every_list_whole(hub: Workplace, front: str):
    _check_shown_everywhere(hub, "model", "README.md", f"---\n{front}\n---\n# Words\n")


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_a_wrong_card_of_another_kind_leaves_every_list_whole(hub: Workplace, kind: str):
    front = "wer: .nan\nsdk: 5\nmodels: {a: .nan}\ncitation: .inf\ndescription: [2023-01-01]\nlicense: !!set {a}"
    _check_shown_everywhere(hub, kind, "README.md", f"---\n{front}\n---\n# Words\n")


@pytest.mark.parametrize("front", _FRONTS.values(), ids=_FRONTS.keys())
def test_a_wrong_card_is_named_or_passed_when_it_is_checked(hub: Workplace, front: str):
    body = {"content": f"---\n{front}\n---\n# Words\n", "repoType": "model"}
    assert hub.http(None).post("/api/validate-yaml", json=body).status_code in (200, 400)


@pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS.keys())
def test_a_wrong_configuration_leaves_every_list_whole(hub: Workplace, config: str | bytes):
    _check_shown_everywhere(hub, "model", "config.json", config)


def test_what_a_card_says_is_what_the_hub_says(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, written("README.md", _CARD), written("config.json", '{"model_type": "voxtral"}')).raise_for_status()
    info = hub.api(None).model_info(repository)
    assert info.card_data is not None
    assert info.tags is not None
    assert (info.card_data["license"], info.card_data["released"], info.card_data["wer"]) == ("cc-by-4.0", "2026-11-23", 0.125)
    assert {"de", "gsw", "license:cc-by-4.0", "base_model:finetune:anna/base", "speech", "transformers"} <= set(info.tags)
    assert (info.pipeline_tag, info.library_name, info.config) == (
        "automatic-speech-recognition",
        "transformers",
        {"model_type": "voxtral"},
    )
    assert [model.id for model in hub.api(None).list_models(filter="gsw")] == [repository]
    assert list(hub.api(None).list_models(filter="fr")) == []
