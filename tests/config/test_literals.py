"""A secret that is written into a job file is refused, and its text is shown nowhere."""

import pytest

from .files import KINDS, loaded, problems, real_kinds

CANARY = "canary7f3a9b"
FORMS = [
    f'"{CANARY}"',
    f"'{CANARY}'",
    f'"""{CANARY}"""',
    f"'''\n{CANARY}'''",
    f'"sk-{CANARY}"',
    f'"Bearer {CANARY}"',
    f'"whsec_{CANARY}"',
    f'"${{{CANARY}}}"',
    f'"$({CANARY})"',
    f'"env:{CANARY}"',
    f'"%{CANARY}%"',
    f'["{CANARY}"]',
    f'[["{CANARY}"]]',
    f'["{CANARY}", "{CANARY}"]',
    f'[{{ value = "{CANARY}" }}]',
    f'{{ value = "{CANARY}" }}',
    f'{{ literal = "{CANARY}" }}',
    f'{{ secret = "{CANARY}" }}',
    f'{{ key = "{CANARY}" }}',
    f'{{ env = ["{CANARY}"] }}',
    f'{{ env = {{ name = "{CANARY}" }} }}',
    f'{{ env = "{CANARY} " }}',
    f'{{ env = "{CANARY}-x" }}',
    f'{{ env = "sk_car_{CANARY}{CANARY}" }}',
    f'{{ env = "whsec_{CANARY}{CANARY}" }}',
    f'{{ env = "hf_{CANARY}{CANARY}" }}',
    f'{{ env = "A", value = "{CANARY}" }}',
    f'{{ env = "A", default = "{CANARY}" }}',
    f'{{ env = "A", file = "{CANARY}" }}',
    f'{{ file = ["{CANARY}"] }}',
    f'{{ file = {{ path = "{CANARY}" }} }}',
    f'{{ command = "echo {CANARY}" }}',
    f'{{ command = [["{CANARY}"]] }}',
    f'{{ command = [{{ a = "{CANARY}" }}] }}',
    f'{{ command = "{CANARY}", env = "A" }}',
    f'{{ keyring = "{CANARY}" }}',
    f'{{ keyring = "{CANARY}", env = "A" }}',
    "{ }",
    "8675309",
    "86.75309",
    "true",
    "2020-01-01",
    "nan",
    "9223372036854775808",
]
FIELDS = [
    ("[providers.voice]\napi_key = ", KINDS),
    ("[providers.cartesia]\napi_key = ", real_kinds()),
    ("[providers.oxen]\nnamespace = 'a'\nrepo = 'a'\napi_key = ", real_kinds()),
    ("[providers.cloudflare]\naccount_id = 'a'\napi_token = ", real_kinds()),
    ("[providers.cloudflare]\naccount_id = 'a'\napi_key = ", real_kinds()),
    ("[providers.cohere]\napi_key = ", real_kinds()),
    ("[jobs.a]\nprovider = 'voice'\nspec.dataset = 'd'\nspec.deep.api_key = ", KINDS),
    (
        (
            "[jobs.a]\nprovider = 'cohere'\nspec.settings.dataset_id = 'd'\n"
            "spec.settings.base_model.base_type = 'BASE_TYPE_CHAT'\nspec.settings.wandb.project = 'p'\n"
            "spec.settings.wandb.api_key = "
        ),
        real_kinds(),
    ),
]


@pytest.mark.parametrize("form", FORMS)
def test_literals_are_refused(form: str) -> None:
    assert len(FORMS) >= 40
    for before, kinds in FIELDS:
        said = "\n".join(problems(before + form, kinds=kinds))
        assert CANARY not in said
        assert "8675309" not in said
        assert "86.75309" not in said


@pytest.mark.parametrize("form", FORMS)
def test_literals_are_refused_for_a_webhook(form: str) -> None:
    said = problems(
        f"[hooks.a]\nkind = 'webhook'\nurl = 'https://example.com'\nsecret = {form}", kinds=real_kinds()
    )
    assert CANARY not in "\n".join(said)


@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("{")])
def test_literals_are_refused_by_the_drivers_word_alone(form: str) -> None:
    assert CANARY not in "\n".join(
        problems(f"[jobs.a]\nprovider = 'voice'\nspec.dataset = 'd'\nspec.loose = {form}")
    )


def test_the_hint_names_a_variable() -> None:
    assert problems("[providers.voice]\napi_key = 'x'") == [
        (
            "jobs.toml:2:11: providers.voice.api_key: a secret is written as a reference, not as a value, "
            'write { env = "VOICE_API_KEY" }'
        )
    ]
    assert problems("[providers.voice]\napi_key = { keyring = 'a/b' }") == [
        "jobs.toml:2:11: providers.voice.api_key: keyring is not supported yet"
    ]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("'x'", "many: a secret is written as a reference, not as a value"),
        ("['x']", "many[0]: a secret is written as a reference, not as a value"),
        ("[{ env = 1 }]", "many[0].env: expected a text in quotes, got 1"),
        ("{ env = 'A', fle = 'b' }", 'many.fle: unknown key, did you mean "file"?'),
    ],
)
def test_of_a_union_the_branch_that_was_meant_speaks(form: str, said: str) -> None:
    found = problems(f"[jobs.a]\nprovider = 'voice'\nspec = {{ dataset = 'd', many = {form} }}")
    assert len(found) == 1
    assert f"jobs.a.spec.{said}" in found[0]


@pytest.mark.parametrize("form", ["{ env = 'A' }", "{ file = 'a' }", "{ command = ['a', 'b'] }"])
def test_references_are_taken_and_kept(form: str) -> None:
    manifest = loaded(
        f"[providers.voice]\napi_key = {form}\n[jobs.a]\nprovider = 'voice'\n"
        f"spec = {{ dataset = 'd', deep.api_key = {form}, many = [{form}] }}"
    )
    (kept,) = manifest.jobs["a"].spec["many"]
    assert kept == manifest.jobs["a"].spec["deep"]["api_key"]
    assert list(kept) == [form.split()[1]]


def test_a_look_alike_elsewhere_is_a_warning() -> None:
    key = "sk-proj-abcdefghijklmnop"
    manifest = loaded(f"# {key}\n[jobs.a]\nprovider = 'voice'\nspec.dataset = 'd'\nspec.free.x = ['{key}']")
    (warning,) = manifest.warnings
    assert str(warning) == (
        "jobs.toml:5:16: jobs.a.spec.free.x[0]: looks like a secret, but is stored and shown in plain text"
    )
