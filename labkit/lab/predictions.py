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


def answer_box(question: Question, guess: Guess | None, note: str, keep: Callable[[Guess], str]) -> ipywidgets.Widget:
    """Where the learner answers, by mouse or keyboard, with a `note` below; `keep` stores a guess and says so."""
    below = ipywidgets.HTML(html.escape(note))

    def store(value: Guess) -> None:
        below.value = html.escape(keep(value))

    if question.choices is not None:
        return ipywidgets.VBox([_choice(question.choices, guess, store), below])
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
            below.value = "Write a number, such as 2.5."

    field.observe(read, names="value")
    return ipywidgets.VBox([field, below])


def _choice(choices: tuple[str, ...], guess: Guess | None, store: Callable[[Guess], None]) -> ipywidgets.Widget:
    """A button for each choice: among radio buttons one moves with the arrow keys, and JupyterLab takes these."""
    layout = ipywidgets.Layout(width="max-content", max_width="100%")
    buttons = {choice: ipywidgets.Button(layout=layout) for choice in choices}

    def mark(chosen: Guess | None) -> None:
        for choice, button in buttons.items():
            button.description = f"{'●' if choice == chosen else '○'} {choice}"
            button.tooltip = "your guess" if choice == chosen else ""  # in words, for a screen reader

    def choose(choice: str) -> None:
        mark(choice)
        store(choice)

    for choice, button in buttons.items():
        button.on_click(lambda _, choice=choice: choose(choice))
    mark(guess)
    return ipywidgets.VBox(list(buttons.values()))


def kept(question: Question, guess: Guess | None, *, late: bool) -> str:
    """What stands below the box: the guess that is kept, and whether it was `late`, after what was measured."""
    if guess is None:
        return "It was measured already: a guess is kept, and does not count." if late else ""
    return f"Kept: {question.shown(guess)}{', after it was measured: it does not count' if late else ''}."


def settled(question: Question, guess: Guess | None, *, late: bool) -> str:
    """What takes the place of the box when it was measured."""
    if guess is None:
        return "Nothing was guessed before it was measured."
    return f"You said {question.shown(guess)}, {'after' if late else 'before'} it was measured."


def measured(question: Question, guess: Guess | None, value: Guess, within: float, *, late: bool) -> str:
    """The sentence after the experiment: what came out and, where there is one, the guess beside it."""
    said = f"**Measured:** {question.shown(value)}"
    if guess is None:
        return f"{said} · {question.text}"
    if late:
        return f"{said} · **you said** {question.shown(guess)}, after it was measured · {question.text}"
    right = question.is_right(guess, value, within)
    rule = f" (within {within:.0%} counts)" if question.number is not None and value else ""
    return f"{said} · **you said** {question.shown(guess)}: {'right' if right else 'not so'}{rule} · {question.text}"
