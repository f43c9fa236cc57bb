"""A prediction: a question before the experiment, and the learner's guess beside what was measured after it."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets

Guess = str | float


@dataclass(frozen=True)
class Question:
    """What a lesson asks: one of `choices`, or a number of the unit `number` ("" for a bare one)."""

    text: str
    choices: tuple[str, ...] | None
    number: str | None

    def __post_init__(self) -> None:
        if (self.choices is None) == (self.number is None):
            raise ValueError("a prediction takes choices=... or number=UNIT: give one of the two")
        if self.choices is not None and (len(self.choices) < 2 or len(set(self.choices)) < len(self.choices)):
            raise ValueError("the choices of a prediction must be two or more different ones")

    @property
    def headline(self) -> str:
        """The question alone."""
        return f"**Predict.** {self.text}"

    @property
    def markdown(self) -> str:
        """The question as somebody reads it who cannot answer, on paper or on the site."""
        listed = "".join(f"\n- {choice}" for choice in self.choices or ())
        return self.headline + (f"\n{listed}" if listed else "")

    def shown(self, guess: Guess) -> str:
        """A guess or a measured value with its unit."""
        return guess if isinstance(guess, str) else f"{guess:.4g} {self.number}".rstrip()

    def is_right(self, guess: Guess, value: Guess, within: float) -> bool:
        """Whether the guess is the choice that came out, or a number at most `within` of the measured value off it."""
        if isinstance(guess, str) or isinstance(value, str):
            return guess == value
        return abs(guess - value) <= within * abs(value)

    def checked(self, value: Guess) -> Guess:
        """A measured value, if it can be an answer. Raises ValueError otherwise."""
        if self.choices is not None:
            if value not in self.choices:
                raise ValueError(f"{value!r} is none of the choices {', '.join(map(repr, self.choices))}")
            return value
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"a measured value must be finite, got {number}")
        return number


def answer_box(question: Question, guess: Guess | None, keep: Callable[[Guess], str | None]) -> ipywidgets.Widget:
    """Where the learner answers, by mouse or keyboard; `keep` stores a guess, and says what was in the way."""
    note = ipywidgets.HTML(_kept(question, guess))

    def store(value: Guess) -> None:
        problem = keep(value)
        note.value = problem or _kept(question, value)

    if question.choices is not None:
        field = ipywidgets.RadioButtons(
            options=question.choices, value=guess, layout=ipywidgets.Layout(width="max-content", max_width="100%")
        )
        field.observe(lambda change: store(change["new"]), names="value")
    else:
        field = ipywidgets.Text(
            value="" if guess is None else f"{guess:g}",
            placeholder="your guess, then Enter",
            description=question.number or "number",
            continuous_update=False,  # kept at Enter, or when the field is left
        )

        def read(change: dict) -> None:
            try:
                number = float(change["new"].replace(",", "."))
            except ValueError:
                number = math.nan
            if math.isfinite(number):
                store(number)
            else:
                note.value = "Write a number, such as 2.5."

        field.observe(read, names="value")
    return ipywidgets.VBox([field, note])


def measured(question: Question, guess: Guess | None, value: Guess, within: float) -> str:
    """The sentence after the experiment: what came out and, where there is one, the guess beside it."""
    said = f"**Measured:** {question.shown(value)}"
    if guess is None:
        return f"{said} · {question.text}"
    right = question.is_right(guess, value, within)
    rule = "" if question.choices is not None else f" (within {within:.0%} counts)"
    return f"{said} · **you said** {question.shown(guess)}: {'right' if right else 'not so'}{rule} · {question.text}"


def _kept(question: Question, guess: Guess | None) -> str:
    return "" if guess is None else f"Kept: {html.escape(question.shown(guess))}."
