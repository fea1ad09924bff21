"""What the suite takes for granted: the accounts of its testing_constants.py, and repositories of the public Hub under the same names.

The latter hold just enough for tests that were written for huggingface.co; nothing of their contents comes from there.
Import this only where HF_ENDPOINT and HF_HUB_DISABLE_XET are set: huggingface_hub reads them once.
"""

import json
import struct
from dataclasses import dataclass, field
from types import ModuleType

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from infra.local_hub.accounts import Accounts

_SPACE_TEST_USER, _SPACE_TEST_TOKEN = "user", "hf_fake_token"  # of the suite's TestSpaceAPIProduction


@dataclass(frozen=True)
class Seed:
    """A repository: the metadata of its card, as YAML; files, or their lengths in bytes; and what else it has."""

    repo_id: str
    kind: str = "model"
    card: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    gated: bool = False
    pull_requests: int = 0


_COLLECTED, _DISCUSSED, _LIKED = (
    "teknium/OpenHermes-2.5-Mistral-7B",
    "open-llm-leaderboard/open_llm_leaderboard",
    "julien-c/linked",
)
_WEIGHTS = {
    "flax_model.msgpack": 65_000,
    "merges.txt": 400,
    "pytorch_model.bin": 65_074,
    "tf_model.h5": 65_000,
    "vocab.json": 900,
}
_TAGGED = "language: [en, fr]\nlanguage_creators: [crowdsourced]\nmultilinguality: [multilingual]\nsize_categories: [100K<n<1M]\n"
_TASKS = "task_categories: [audio-classification]\ntask_ids: [natural-language-inference]\ntags: [fiftyone, 'benchmark:official']"

SEEDS = [
    Seed("julien-c/dummy-unknown", card="tags: [ci]", sizes={"config.json": 496, **_WEIGHTS}, pull_requests=1),
    Seed("hf-internal-testing/dummy-will-be-renamed", sizes={"config.json": 200}),
    Seed("huggingface-hub-ci/test_safetensors_metadata", card="tags: [ci]"),
    Seed(
        "HuggingFaceH4/zephyr-7b-beta",
        card="widget: [{text: Hello}]",
        sizes={"pytorch_model-00001-of-00008.bin": 300},
    ),
    Seed("openchat/openchat_3.5", pull_requests=2),
    Seed("zai-org/GLM-5.2", gated=True),
    Seed("muellerzr/a-model"),
    Seed("facebook/bart-base"),
    Seed("microsoft/wavlm-base-sd", card="tags: [pytorch]"),
    Seed("albert/albert-base-v2", card="pipeline_tag: fill-mask\nlanguage: fr"),
    Seed("HuggingFaceBR4/a-model", card="tags: [tensorboard]"),
    Seed("google/co2", card="tags: [co2_eq_emissions]\nco2_eq_emissions: 50"),
    *(Seed(f"google/bert-{number}", card="tags: [bert, jax]") for number in range(11)),
    Seed("adapters/a-model", card="tags: [adapter-transformers, bert]", files={"config.json": b'{"model_type": "bert"}'}),
    Seed(_COLLECTED),
    Seed("HuggingFaceH4/no_robots", "dataset", card="language: [en]"),
    Seed("lhoestq/custom_squad", "dataset", sizes={"custom_squad.py": 400, "data.bin": 3_000}),
    Seed("openai/gsm8k", "dataset", gated=True),
    Seed("huggingface/DataMeasurementsFiles", "dataset", card=_TAGGED + _TASKS),
    *(Seed(f"huggingface/wikipedia-{number}", "dataset", card="language: [en]") for number in range(6)),
    Seed("HuggingFaceH4/zephyr-chat", "space"),
    Seed("black-forest-labs/FLUX.1-dev", "space"),
    Seed("victor/static-space", "space"),
    Seed("julien-c/linked", "space", card="sdk: gradio\nmodels: [bert-base-uncased]\ndatasets: [wikipedia]"),
    Seed(_DISCUSSED, "space"),
    *(Seed(f"julien-c/wikipedia-{number}", "space", card="title: Demo") for number in range(11)),
]


def seed_accounts(accounts: Accounts, names: ModuleType) -> None:
    """Users, organisations and tokens; `names` is the suite's testing_constants."""
    accounts.create(names.USER, fullname=names.FULL_NAME)
    accounts.create(names.OTHER_USER)
    accounts.create(names.ENTERPRISE_USER)
    accounts.create(_SPACE_TEST_USER)
    accounts.create("valid_org_hub", fullname="Dummy Hub Org", kind="org")
    accounts.create(names.ENTERPRISE_ORG, kind="org", private_by_default=True)
    accounts.join("valid_org_hub", names.USER)
    accounts.join(names.ENTERPRISE_ORG, names.ENTERPRISE_USER)
    for name, token in (
        (names.USER, names.TOKEN),
        (names.OTHER_USER, names.OTHER_TOKEN),
        (names.ENTERPRISE_USER, names.ENTERPRISE_TOKEN),
        (_SPACE_TEST_USER, _SPACE_TEST_TOKEN),
    ):
        accounts.add_token(name, token=token)


def seed_repositories(accounts: Accounts, url: str) -> None:
    """The repositories of SEEDS, each by its owner, and what single tests want of them."""
    owners = {seed.repo_id.split("/")[0] for seed in SEEDS}
    apis = {}
    for owner in owners:
        accounts.create(owner)
        apis[owner] = HfApi(endpoint=url, token=accounts.add_token(owner))
    for seed in SEEDS:
        _make(seed, apis[seed.repo_id.split("/")[0]])
    _extras(apis)


def _extras(apis: dict[str, HfApi]) -> None:
    for number in range(3):
        collection = apis["teknium"].create_collection(f"Collection {number}")
        apis["teknium"].add_collection_item(collection.slug, _COLLECTED, "model")
    for number in range(51):
        apis["open-llm-leaderboard"].create_discussion(_DISCUSSED, f"Question {number}", repo_type="space")
    like = f"{apis['julien-c'].endpoint}/api/spaces/{_LIKED}/like"
    hf_raise_for_status(get_session().post(like, headers=build_hf_headers(token=apis["julien-c"].token)))
    apis["hf-internal-testing"].move_repo("hf-internal-testing/dummy-will-be-renamed", "hf-internal-testing/dummy-renamed")
    apis["huggingface-hub-ci"].upload_file(
        repo_id="huggingface-hub-ci/test_safetensors_metadata",
        path_in_repo="model.safetensors",
        path_or_fileobj=_tiny_safetensors(),
        create_pr=True,
    )


def _make(seed: Seed, api: HfApi) -> None:
    sdk = {"space_sdk": "gradio"} if seed.kind == "space" else {}
    api.create_repo(seed.repo_id, repo_type=seed.kind, **sdk)
    contents = seed.files | {path: path.encode() + b"\n" * (size - len(path)) for path, size in seed.sizes.items()}
    if seed.card:
        contents["README.md"] = f"---\nlicense: mit\n{seed.card}\n---\n# {seed.repo_id}\n".encode()
    operations = [CommitOperationAdd(path, content) for path, content in contents.items()]
    if operations:
        api.create_commit(seed.repo_id, operations, commit_message="Seed", repo_type=seed.kind)
    for number in range(seed.pull_requests):
        api.create_pull_request(seed.repo_id, f"Pull request {number}", repo_type=seed.kind)
    if seed.gated:
        api.update_repo_settings(seed.repo_id, gated="manual", repo_type=seed.kind)


def _tiny_safetensors() -> bytes:
    header = json.dumps(
        {"__metadata__": {"format": "pt"}, "weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)
