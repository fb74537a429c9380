"""A placeholder is never bought, and what Oxen hardly expects is warned of; the sandbox takes anything."""

from drive import Place, cartesia, oxen

PARAMS = """[jobs.chat.spec.training_params]
question_colum = "q"
epochs = "two"
steps = 100
logging_steps = true
lora_rank = 8
neftune_noise_alpha = 5
"""


def test_a_placeholder_is_an_error_with_its_place_and_cure(place: Place) -> None:
    left = ("YOUR-DATASET-ID", "<dataset-id>", "your-dataset", "data/YOUR_FILE.parquet", "REPLACE_ME", "TODO")
    place.write(*(cartesia(f"voice-{number}", dataset=text) for number, text in enumerate(left)))
    for found in place.together(("validate",), ("plan",), ("apply", "-y"), ("up",), code=2):
        for number, text in enumerate(left):
            said = f'jobs.voice-{number}.spec.dataset: "{text}" is a placeholder, put your own value there'
            assert said in found.err
        assert "6 problems; to read more: orchestrator explain placeholder" in found.err
    assert place.ledger().requests == []
    place("--sandbox", "validate")


def test_what_only_looks_like_one_is_bought(place: Place) -> None:
    place.write(
        cartesia("voice", dataset="ds-your-voice-1", description="Change this voice to your liking: <b>")
    )
    place("apply", "-y")
    assert place.ledger().counts["cartesia"] == 1


def test_a_starter_file_is_tried_as_it_is_and_bought_only_with_data(place: Place) -> None:
    place("init")
    valid = place("validate")
    assert "warning: jobs.toml:29:11: jobs.narrator-en.spec.dataset: only the sandbox has" in valid.err
    place("--sandbox", "apply", "-y", "--wait", env={"ORCHESTRATOR_SANDBOX_STAGE_SECONDS": "0"})
    for found in place.together(("plan",), ("apply", "-y"), ("up",), code=2):
        assert "only the sandbox has" in found.err
        assert "put your own value there" in found.err
    assert place.ledger().requests == []


def test_what_oxen_does_not_document_is_warned_of(place: Place) -> None:
    place.write(oxen("chat", resource="train.parquet") + PARAMS)
    valid, plan = place.together(("validate",), ("plan",))
    for said in (
        'spec.resource: not of the form branch/path, did you mean "main/train.parquet"?',
        'question_colum: not among the documented parameters of text_generation, did you mean "question_c',
        "epochs: documented as a whole number",
        "steps: not among the documented parameters of text_generation, image_generation has it",
        "logging_steps: documented as a whole number",
    ):
        assert said in valid.err
        assert said in plan.out
    assert valid.err.count("warning: jobs.toml:") == 5
