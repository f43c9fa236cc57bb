"""A guess is asked for before the experiment, kept, and set beside what was measured; nothing blocks or spoils."""

from __future__ import annotations

from typing import Any

import ipywidgets
import pytest

import labkit
from labkit.lab import session
from labkit.lab.predictions import Question, answer_box
from labkit.progress import Guess, Progress

LESSON = "01_autoencoders"
WHO, HOW_MUCH = ("who", "Who wins?"), ("kl", "What does it cost?")
CHOICES = ("the AE", "the VAE")


@pytest.fixture(autouse=True)
def _own_progress(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("LABKIT_BATCH", raising=False)
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "progress.json"))


@pytest.fixture(autouse=True)
def shown(monkeypatch) -> list[Any]:
    """What the lab displays, in order: text, or a widget."""
    outputs: list[Any] = []
    monkeypatch.setattr(session, "display", lambda data, **_: outputs.append(_text(data)))
    return outputs


def _text(data: Any) -> Any:
    return data.get("text/markdown", data["text/plain"]) if isinstance(data, dict) else data


@pytest.fixture
def lab(shown) -> session.Lab:
    lab = labkit.start(LESSON)
    shown.clear()
    return lab


def answer(shown: list[Any], value: Any) -> str:
    """Answer in the box that was shown last; returns what is said below it."""
    field, note = shown[-1].children
    field.value = value
    return note.value


def test_a_choice_is_kept_and_set_beside_what_came_out(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    assert shown[0] == "**Predict.** Who wins?"
    assert shown[1].children[0].value is None, "nothing is suggested"
    assert answer(shown, "the AE") == "Kept: the AE."
    lab.reveal("who", "the VAE")
    assert shown[-1] == "**Measured:** the VAE · **you said** the AE: not so · Who wins?"
    assert Progress().standing(LESSON, []).guesses == {"who": Guess("the AE", "the VAE", False)}


@pytest.mark.parametrize(("guess", "verdict"), [("9", "right"), ("8,0", "right"), ("20", "not so")])
def test_a_number_counts_as_right_when_it_is_near(lab, shown, guess: str, verdict: str) -> None:
    lab.predict(*HOW_MUCH, number="nats")
    assert answer(shown, guess).endswith("nats.")
    lab.reveal("kl", 9.9)
    assert shown[-1].startswith(
        f"**Measured:** 9.9 nats · **you said** {float(guess.replace(',', '.')):g} nats: {verdict}"
    )


@pytest.mark.parametrize("typed", ["much", "nan", "inf"])
def test_what_is_no_number_is_not_kept(lab, shown, typed: str) -> None:
    lab.predict(*HOW_MUCH, number="nats")
    assert answer(shown, typed) == "Write a number, such as 2.5."
    assert Progress().standing(LESSON, []).guesses == {}


def test_a_guess_is_there_again_in_the_next_session(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    answer(shown, "the VAE")
    labkit.start(LESSON).predict(*WHO, choices=CHOICES)
    assert shown[-1].children[0].value == "the VAE"


def test_after_it_was_measured_the_first_guess_stands(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    answer(shown, "the VAE")
    lab.reveal("who", "the VAE")
    lab.predict(*WHO, choices=CHOICES)
    assert shown[-1] == "You said the VAE, before it was measured."


def test_a_guess_that_the_question_no_longer_allows_is_asked_for_again(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    answer(shown, "the VAE")
    lab.predict(*WHO, choices=("both", "neither"))
    assert shown[-1].children[0].value is None


def test_without_a_guess_the_measured_value_is_shown_and_nothing_is_noted(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    lab.reveal("who", "the VAE")
    assert shown[-1] == "**Measured:** the VAE · Who wins?"
    assert Progress().standing(LESSON, []).guesses == {}


def test_a_batch_run_shows_the_question_alone(lab, shown, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_BATCH", "1")
    lab.predict(*WHO, choices=CHOICES)
    assert shown == ["**Predict.** Who wins?\n\n- the AE\n- the VAE"]


def test_the_box_says_what_was_in_the_way() -> None:
    box = answer_box(Question("Who?", CHOICES, None), None, lambda _: "The disk is full.")
    assert answer([box], "the AE") == "The disk is full."
    assert isinstance(box.children[0], ipywidgets.RadioButtons)


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({}, "give one of the two"),
        ({"choices": CHOICES, "number": ""}, "give one of the two"),
        ({"choices": ("a",)}, "two or more different"),
        ({"choices": ("a", "a")}, "two or more different"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(lab, form: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        lab.predict("x", "What?", **form)


def test_what_cannot_be_an_answer_is_refused(lab) -> None:
    lab.predict(*WHO, choices=CHOICES)
    lab.predict(*HOW_MUCH, number="nats")
    with pytest.raises(ValueError, match="none of the choices 'the AE', 'the VAE'"):
        lab.reveal("who", "a GAN")
    with pytest.raises(ValueError, match="must be finite"):
        lab.reveal("kl", float("nan"))
    with pytest.raises(KeyError, match="was not asked"):
        lab.reveal("when", 1.0)


def test_progress_counts_predictions(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    answer(shown, "the VAE")
    lab.reveal("who", "the VAE")
    lab.progress()
    assert shown[-1].endswith("Predictions: 1 of 1 measured ones right.")
