"""A guess is asked for before the experiment, kept, and set beside what was measured; nothing blocks or spoils."""

from __future__ import annotations

from types import SimpleNamespace
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
    """What the lab displays, in order: text, or a widget, which may be updated in its place."""
    outputs: list[Any] = []

    def display(data: Any, *, raw: bool = False, display_id: bool = False, **_: Any) -> Any:
        assert raw == isinstance(data, dict)
        place = len(outputs)
        outputs.append(_text(data))
        return SimpleNamespace(update=lambda new, raw: outputs.__setitem__(place, _text(new))) if display_id else None

    monkeypatch.setattr(session, "display", display)
    return outputs


def _text(data: Any) -> Any:
    return data.get("text/markdown", data["text/plain"]) if isinstance(data, dict) else data


@pytest.fixture
def lab(shown) -> session.Lab:
    lab = labkit.start(LESSON)
    shown.clear()
    return lab


def answer(box: Any, value: str) -> str:
    """Answer in the box; returns what is said below it."""
    field, note = box.children
    if hasattr(field, "children"):
        next(button for button in field.children if button.description[2:] == value).click()
    else:
        field.value = value
    return note.value


def chosen(box: Any) -> list[str]:
    """The choices that are marked, for the eye and for a screen reader alike."""
    buttons = box.children[0].children
    marked = [button.description[2:] for button in buttons if button.description.startswith("●")]
    assert marked == [button.description[2:] for button in buttons if button.tooltip == "your guess"]
    return marked


def test_a_choice_is_kept_and_set_beside_what_came_out(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    assert shown[0] == "**Predict.** Who wins?"
    assert chosen(shown[1]) == [], "nothing is suggested"
    assert answer(shown[1], "the VAE") == "Kept: the VAE."
    assert answer(shown[1], "the AE") == "Kept: the AE."
    assert chosen(shown[1]) == ["the AE"]
    lab.reveal("who", "the VAE")
    assert shown[-1] == "**Measured:** the VAE · **you said** the AE: not so · Who wins?"
    assert Progress().standing(LESSON, []).guesses == {"who": Guess("the AE", "the VAE", False)}


@pytest.mark.parametrize(("guess", "verdict"), [("9", "right"), ("8,0", "right"), ("20", "not so")])
def test_a_number_counts_as_right_when_it_is_near(lab, shown, guess: str, verdict: str) -> None:
    lab.predict(*HOW_MUCH, number="nats")
    assert answer(shown[-1], guess).endswith("nats.")
    lab.reveal("kl", 9.9)
    assert shown[-1].startswith(
        f"**Measured:** 9.9 nats · **you said** {float(guess.replace(',', '.')):g} nats: {verdict}"
    )


@pytest.mark.parametrize("typed", ["much", "nan", "inf"])
def test_what_is_no_number_is_not_kept(lab, shown, typed: str) -> None:
    lab.predict(*HOW_MUCH, number="nats")
    assert answer(shown[-1], typed) == "Write a number, such as 2.5."
    assert Progress().standing(LESSON, []).guesses == {}


def test_a_guess_is_there_again_in_the_next_session(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    answer(shown[-1], "the VAE")
    labkit.start(LESSON).predict(*WHO, choices=CHOICES)
    assert chosen(shown[-1]) == ["the VAE"]
    labkit.start(LESSON).predict(*HOW_MUCH, number="nats")
    answer(shown[-1], "2,5")
    labkit.start(LESSON).predict(*HOW_MUCH, number="nats")
    assert [child.value for child in shown[-1].children] == ["2.5", "Kept: 2.5 nats."]


def test_after_it_was_measured_the_first_guess_stands(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    box = shown[-1]
    answer(box, "the VAE")
    lab.reveal("who", "the VAE")
    assert answer(box, "the AE") == "Kept: the VAE."
    lab.predict(*WHO, choices=CHOICES)
    assert shown[-1] == "You said the VAE, before it was measured."


def test_when_it_was_measured_a_sentence_takes_the_place_of_the_box(lab, shown) -> None:
    """A widget in a saved notebook is an error message once its kernel is gone."""
    lab.predict(*WHO, choices=CHOICES)
    answer(shown[1], "the AE")
    lab.predict(*HOW_MUCH, number="nats")
    lab.reveal("who", "the VAE")
    lab.reveal("kl", 2.0)
    assert shown[1] == "You said the AE, before it was measured."
    assert shown[3] == "Nothing was guessed before it was measured."


def test_a_guess_after_it_was_measured_is_kept_and_does_not_count(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    lab.reveal("who", "the VAE")
    lab.predict(*WHO, choices=CHOICES)
    box = shown[-1]
    assert box.children[1].value == "It was measured already: a guess is kept, and does not count."
    assert answer(box, "the VAE") == "Kept: the VAE, after it was measured: it does not count."
    lab.reveal("who", "the VAE")
    assert shown[-1] == "**Measured:** the VAE · **you said** the VAE, after it was measured · Who wins?"
    labkit.start(LESSON).predict(*WHO, choices=CHOICES)
    assert shown[-1] == "You said the VAE, after it was measured."
    lab.progress()
    assert shown[-1].endswith("\n\nPredictions: 0 of 0 right; 1 too late to count.")


def test_a_guess_that_the_question_no_longer_allows_is_asked_for_again(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    answer(shown[-1], "the VAE")
    lab.predict(*WHO, choices=("both", "neither"))
    assert chosen(shown[-1]) == []


def test_another_question_under_the_same_name_can_be_answered_in_time(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    answer(shown[-1], "the VAE")
    lab.reveal("who", "the VAE")
    lab.predict(*WHO, choices=("both", "neither"))
    assert answer(shown[-1], "both") == "Kept: both."
    lab.reveal("who", "both")
    assert Progress().standing(LESSON, []).guesses == {"who": Guess("both", "both", True)}


def test_without_a_guess_the_measured_value_is_shown_and_noted(lab, shown) -> None:
    lab.predict(*WHO, choices=CHOICES)
    lab.reveal("who", "the VAE")
    assert shown[-1] == "**Measured:** the VAE · Who wins?"
    assert Progress().standing(LESSON, []).guesses == {"who": Guess(None, "the VAE")}


def test_the_rule_is_not_told_where_it_leaves_no_room(lab, shown) -> None:
    lab.predict(*HOW_MUCH, number="nats")
    answer(shown[-1], "0")
    lab.reveal("kl", 0.0)
    assert shown[-1] == "**Measured:** 0 nats · **you said** 0 nats: right · What does it cost?"


def test_a_batch_run_shows_the_question_alone(lab, shown, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_BATCH", "1")
    lab.predict(*WHO, choices=CHOICES)
    assert shown == ["**Predict.** Who wins?\n\n- the AE\n- the VAE"]


def test_the_box_says_what_was_in_the_way() -> None:
    box = answer_box(Question("Who?", CHOICES, None), None, "", lambda _: "The <disk> is full.")
    assert answer(box, "the AE") == "The &lt;disk&gt; is full."


def test_a_choice_needs_no_arrow_key(lab, shown) -> None:
    """JupyterLab takes the arrow keys for itself: each choice is reached with Tab, and chosen with Space or Enter."""
    lab.predict(*WHO, choices=CHOICES)
    assert [type(button) for button in shown[-1].children[0].children] == [ipywidgets.Button] * len(CHOICES)


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
    answer(shown[-1], "the VAE")
    lab.predict(*HOW_MUCH, number="nats")
    answer(shown[-1], "2")
    lab.reveal("who", "the VAE")
    lab.progress()
    assert shown[-1].endswith("\n\nPredictions: 1 of 1 right; 1 not measured yet.")
