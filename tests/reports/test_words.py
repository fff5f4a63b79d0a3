import pytest

from mentorch.reports import sentence
from mentorch.reports._study import Study
from mentorch.reports._words import failures, remarks


def told(fake, **methods):
    rows = [fake.row(name.replace("_", "+"), s, a) for name, values in methods.items() for s, a in enumerate(values)]
    return sentence(fake.results(rows))


def test_a_clear_gain_is_told_with_its_interval(fake):
    words = told(fake, scratch=[0.80, 0.81, 0.79], kd=[0.83, 0.841, 0.819])
    assert words == "kd is 3.0 points above scratch (95 % interval of the difference 2.8 to 3.2; 3 seeds)."


def test_a_gain_within_the_noise_is_none(fake):
    words = told(fake, scratch=[0.80, 0.81, 0.79], kd=[0.83, 0.78, 0.82])
    assert words.startswith("No method beats scratch beyond the noise; the highest: kd is 1.0 points above scratch")


def test_a_loss_is_not_sold_as_a_gain(fake):
    words = told(fake, scratch=[0.80, 0.81, 0.79], kd=[0.70, 0.711, 0.689])
    assert words.startswith(
        "Every method is below scratch beyond the noise; the nearest: kd is 10.0 points below scratch"
    )


def test_gains_and_losses_side_by_side(fake):
    words = told(fake, scratch=[0.80, 0.81], kd=[0.83, 0.8401], dkd=[0.85, 0.8601], hint=[0.7, 0.7101])
    assert words.startswith("dkd is 5.0 points above scratch (95 %")
    assert "kd 3.0 (" in words
    assert words.endswith("; below it beyond the noise: hint.")


def test_one_seed_cannot_tell(fake):
    words = told(fake, scratch=[0.80], kd=[0.83])
    assert words == "kd is 3.0 points above scratch (1 seed); without several seeds this cannot be told from noise."


def test_without_scratch_the_highest_is_named(fake):
    assert "kd is highest with 90.0 ± 0.0 % test accuracy (2 seeds)" in told(fake, kd=[0.9, 0.9], hint=[0.8, 0.8])
    assert "only scratch was measured" in told(fake, scratch=[0.9])


def test_an_untrained_classifier_is_left_out(fake):
    assert "pkt" not in told(fake, scratch=[0.80, 0.81], kd=[0.83, 0.8401], pkt=[0.1, 0.1])


def test_failures_are_counted(fake):
    results = fake.results([{"method": "kd", "seed": 3, "error": "NaN loss\nat epoch 2"}])
    assert sentence(results) == "No accuracy was measured. 1 of 1 trainings failed."
    assert failures(Study(results)) == ["kd, seed 3: NaN loss at epoch 2"]


@pytest.mark.parametrize("rows", [[], None])
def test_an_empty_run_has_nothing_to_say(fake, rows):
    assert sentence(fake.results(rows)) == "No accuracy was measured."


def test_remarks_say_when_only_validation_was_measured(fake):
    row = fake.row("kd", 0, 0.9)
    del row["test"]
    assert any("validation accuracies" in remark for remark in remarks(Study(fake.results([row]))))
    assert any("†" in remark for remark in remarks(Study(fake.results([fake.row("pkt", 0, 0.9)]))))
