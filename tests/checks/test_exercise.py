"""What a check says to a learner, for everything that a learner's function can do."""

from __future__ import annotations

import random
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from labkit.checks.exercise import Exercise, Mistake, Probe, Result, check, solution

HINT = 'lab.hint("row_means") gives a hint.'


def row_means(x: Tensor, scale: float = 1.0) -> Tensor:
    """The mean of each row, (B, D) -> (B,)."""
    return scale * x.mean(dim=1)


def over_columns(x: Tensor) -> Tensor:
    print("a mistake that prints")
    return x.mean(dim=0)


def over_everything(x: Tensor) -> Tensor:
    return x.mean()


def needs_a_square(x: Tensor) -> Tensor:
    return (x @ x).mean(dim=1)


def by_sum(x: Tensor) -> Tensor:
    return x.sum(dim=1) / x.shape[1]


def gradient(function: Callable) -> Tensor:
    x = torch.ones(2, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(function(x).sum(), x)
    return slope


EXERCISE = Exercise(
    name="row_means",
    reference=row_means,
    answer=row_means,
    probes=(
        Probe("x = [[1, 2], [3, 6]]", lambda function: function(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))),
        Probe("64 random rows of 10", lambda function: function(torch.randn(64, 10))),
        Probe("the gradient", gradient),
    ),
    hints=("Which axis?", "One number for each row.", "x.mean(dim=...)"),
    mistakes=(
        Mistake("over-columns", over_columns, "The mean runs down the columns: average over dim=1."),
        Mistake("over-everything", over_everything, "The mean runs over everything: keep the rows apart."),
        Mistake("matrix-product", needs_a_square, "A matrix product is not needed: average x itself."),
    ),
)


def fails(function: object) -> str:
    """The message of a check that finds `function` wanting without knowing the mistake."""
    result = check(EXERCISE, function)
    assert (result.outcome, result.mistake) == ("not yet", None)
    assert result.message.endswith(HINT)
    return result.message.removesuffix(f" {HINT}")


@pytest.mark.parametrize("function", [lambda x: row_means(x), by_sum, lambda x: x.mean(1)])
def test_a_right_answer_is_correct_however_it_is_written(function: Callable) -> None:
    assert check(EXERCISE, function) == Result("row_means", "correct", 3, 3, "correct (3 checks)")


def test_the_library_s_own_function_is_no_answer_however_often_it_is_checked() -> None:
    mine = row_means
    for _ in range(2):
        result = check(EXERCISE, mine)
        assert (result.outcome, result.passed) == ("reference", 0)
        assert result.text == (
            "row_means: this is the library's own function, not yours: run the cell with your `def` again, "
            "then this one."
        )
    assert check(replace(EXERCISE, answer=by_sum), by_sum).outcome == "reference"


def test_a_single_check_is_counted_in_the_singular() -> None:
    assert check(replace(EXERCISE, probes=EXERCISE.probes[:1]), by_sum).message == "correct (1 check)"


@pytest.mark.parametrize("error", [NotImplementedError, NotImplementedError("write the mean here")])
def test_a_stub_is_not_attempted(error: Exception) -> None:
    def stub(x):
        raise error

    result = check(EXERCISE, stub)
    assert (result.outcome, result.passed) == ("not attempted", 0)
    assert result.message == "not attempted yet: the lab goes on with the reference."


def test_a_stub_whose_source_is_not_known_is_not_attempted() -> None:
    scope: dict = {}
    exec("def stub(x):\n    raise NotImplementedError", scope)
    assert check(EXERCISE, scope["stub"]).outcome == "not attempted"


def test_a_not_implemented_operation_of_torch_is_an_attempt() -> None:
    def on_another_device(x):
        return x.to("meta").cpu()

    assert "raised NotImplementedError" in fails(on_another_device)


def test_a_part_left_for_later_is_an_attempt() -> None:
    def only_two_rows(x):
        if len(x) == 2:
            return x.mean(1)
        raise NotImplementedError

    assert fails(only_two_rows).startswith("At 64 random rows of 10: raised NotImplementedError")


def test_a_method_left_out_in_a_module_is_an_attempt() -> None:
    def module_without_forward(x):
        return torch.nn.Module()(x)

    assert "raised NotImplementedError: Module [Module] is missing" in fails(module_without_forward)


def test_a_body_of_dots_returned_nothing() -> None:
    def body_of_dots(x): ...

    assert fails(body_of_dots) == "At x = [[1, 2], [3, 6]]: returned None: is the `return` missing?"


@pytest.mark.parametrize(("thing", "called"), [(None, "None"), (..., "Ellipsis"), (3, "of the type int")])
def test_something_that_is_not_a_function_is_said_to_be_none(thing: object, called: str) -> None:
    result = check(EXERCISE, thing)
    assert (result.outcome, result.passed) == ("not yet", 0)
    assert result.message == f"row_means is {called}, not a function: run the cell that defines it with `def`."


@pytest.mark.parametrize("mistake", EXERCISE.mistakes, ids=lambda mistake: mistake.name)
def test_a_common_mistake_is_called_by_its_name(mistake: Mistake) -> None:
    result = check(EXERCISE, mistake.function)
    assert (result.outcome, result.mistake) == ("not yet", mistake.name)
    assert result.message.startswith(f"{mistake.message} At ")
    assert HINT not in result.message


def test_a_common_mistake_is_recognised_though_written_differently() -> None:
    assert check(EXERCISE, lambda x: x.sum(0) / x.shape[0]).mistake == "over-columns"


def test_another_mistake_of_the_same_shape_is_not_taken_for_a_common_one() -> None:
    message = fails(lambda x: x.sum(dim=0))
    assert message.startswith("At x = [[1, 2], [3, 6]]: expected [1.5, 4.5], got [4, 8] (largest difference 3.5 at")


def test_the_probes_that_passed_are_counted_and_the_first_that_failed_is_described() -> None:
    result = check(EXERCISE, lambda x: x.mean(1) if len(x) < 64 else x.mean(1) + 1)
    assert (result.checks, result.passed) == (3, 2)
    assert result.message.startswith("At 64 random rows of 10: 64 of 64 elements differ; largest difference 1 at index")


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda x: x.mean(1).double(), "expected dtype float32, got float64"),
        (lambda x: x.mean(1).detach().numpy(), "expected a torch tensor of shape (2,), got a numpy array"),
        (lambda x: float(x.mean()), "expected a torch tensor of shape (2,), got a float"),
        (lambda x: x.mean(1, keepdim=True), "expected shape (2,), got (2, 1)"),
        (lambda x: (x - x).mean(1).log().mul(0), "expected finite values, got NaN in 2 of 2 elements"),
    ],
)
def test_what_differs_is_said(function: Callable, what: str) -> None:
    assert fails(function) == f"At x = [[1, 2], [3, 6]]: {what}."


def test_an_exception_is_shown_with_the_line_of_the_learners_own_code() -> None:
    def wrong_product(x):
        y = x + 1
        return torch.cat([y, x.mean(1)])

    message = fails(wrong_product)
    line = wrong_product.__code__.co_firstlineno + 2
    assert message.startswith(
        "At x = [[1, 2], [3, 6]]: raised RuntimeError: Tensors must have same number of dimensions"
    )
    assert message.endswith(f"(line {line}: `return torch.cat([y, x.mean(1)])`).")
    assert "Traceback" not in message


def test_leaving_python_is_an_exception_like_any_other() -> None:
    assert "raised SystemExit" in fails(lambda x: exit())


def test_ctrl_c_passes_and_leaves_the_random_numbers_as_they_were() -> None:
    def interrupted(x):
        torch.rand(3)
        raise KeyboardInterrupt

    before = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        check(EXERCISE, interrupted)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("function", [lambda: 1, lambda x, y: x, lambda *, x: x])
def test_a_wrong_signature_is_answered_with_the_right_one(function: Callable) -> None:
    message = fails(function)
    assert message.startswith("At x = [[1, 2], [3, 6]]: it cannot be called as it should be (")
    assert message.endswith("its first line should read `def row_means(x, scale=1.0):`.")


def test_a_type_error_inside_the_function_is_not_taken_for_a_wrong_signature() -> None:
    assert "raised TypeError: can only concatenate" in fails(lambda x: [] + "a")


def test_a_lost_gradient_is_named() -> None:
    message = fails(lambda x: x.detach().mean(1))
    assert "At the gradient" in message
    assert "what it returned carries no gradient: look for `.detach()`." in message


def test_what_the_probe_cannot_use_is_described_by_what_was_returned() -> None:
    only_the_gradient = replace(EXERCISE, probes=EXERCISE.probes[2:])
    assert "returned None: is the `return` missing?" in check(only_the_gradient, lambda x: None).message
    assert "got a numpy array" in check(only_the_gradient, lambda x: x.detach().numpy()).message
    assert "that holds no numbers" in check(only_the_gradient, lambda x: x.detach().mean(1).to("meta")).message


def test_a_result_that_only_the_probe_trips_over_is_still_not_correct() -> None:
    probe = Probe("its rows", lambda function: function(torch.ones(2, 2)).sparse_dim_of_mine)
    exercise = replace(EXERCISE, reference=lambda x: _Rows(x.mean(1)), probes=(probe,))
    result = check(exercise, lambda x: x.mean(1))
    assert result.outcome == "not yet"
    assert "what it returned cannot be used, the check raised AttributeError" in result.message


class _Rows(Tensor):
    """A tensor with one attribute more, which a plain tensor lacks."""

    sparse_dim_of_mine = 1


def test_gradients_are_on_even_where_the_notebook_switched_them_off() -> None:
    with torch.no_grad():
        assert check(EXERCISE, by_sum).outcome == "correct"


def test_a_check_leaves_every_random_generator_and_the_grad_mode_as_they_were() -> None:
    def greedy(x):
        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)
        torch.set_grad_enabled(False)
        return x.mean(1) + torch.rand(len(x)) + np.random.rand() + random.random()

    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    untouched = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    check(EXERCISE, greedy)
    assert torch.is_grad_enabled()
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == untouched


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_check_leaves_the_random_numbers_of_the_gpu_as_they_were() -> None:
    torch.cuda.manual_seed(1)
    untouched = torch.rand(1, device="cuda").item()
    torch.cuda.manual_seed(1)
    check(EXERCISE, lambda x: torch.manual_seed(7) and torch.rand(len(x), device="cuda"))
    assert torch.rand(1, device="cuda").item() == untouched


def test_learner_and_reference_draw_the_same_random_numbers() -> None:
    def noisy(x):
        return x + torch.randn(x.shape) + np.random.rand() + random.random()

    exercise = replace(EXERCISE, reference=noisy, probes=EXERCISE.probes[:2])
    assert check(exercise, lambda x: noisy(x)).outcome == "correct"


def test_a_check_says_the_same_whatever_random_numbers_were_drawn_before_it() -> None:
    first = check(EXERCISE, lambda x: torch.rand(len(x)) + np.random.rand() + random.random())
    torch.rand(1), np.random.rand(), random.random()
    assert check(EXERCISE, lambda x: torch.rand(len(x)) + np.random.rand() + random.random()) == first


def test_inputs_changed_in_place_harm_neither_reference_nor_mistakes() -> None:
    def in_place(x):
        with torch.no_grad():
            return x.mul_(0).mean(1)

    assert fails(in_place).startswith("At x = [[1, 2], [3, 6]]: expected [1.5, 4.5], got [0, 0]")
    assert check(EXERCISE, over_columns).mistake == "over-columns"
    assert check(EXERCISE, by_sum).outcome == "correct"


def test_a_result_changed_after_it_was_returned_is_judged_as_it_was() -> None:
    buffer = torch.zeros(2)

    def reuses_a_buffer(x):
        return torch.mean(x, dim=0, out=buffer)

    inputs = ([[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [1.0, 1.0]])
    probes = tuple(Probe(str(rows), lambda function, rows=rows: function(torch.tensor(rows))) for rows in inputs)
    assert check(replace(EXERCISE, probes=probes), reuses_a_buffer).mistake == "over-columns"


def test_prints_are_let_through_with_a_label_up_to_the_first_failure_and_those_of_mistakes_never(capsys) -> None:
    def talkative(x):
        print("rows:", len(x))
        return x.mean(1) if len(x) == 2 and x.shape[1] == 2 else x.mean(1) + 1

    fails(talkative)
    assert capsys.readouterr().out == (
        "probe 1 (x = [[1, 2], [3, 6]]):\nrows: 2\nprobe 2 (64 random rows of 10):\nrows: 64\n"
    )


def test_a_learners_warning_is_shown_and_a_references_is_not() -> None:
    def warns(x):
        warnings.warn("mine", stacklevel=1)
        return row_means(x)

    with pytest.warns(UserWarning, match="mine"):
        check(EXERCISE, warns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(replace(EXERCISE, reference=warns), by_sum).outcome == "correct"


def test_a_probe_may_ask_for_an_exception() -> None:
    def refuses_negative(function: Callable) -> str:
        try:
            function(torch.tensor([[-1.0]]))
        except ValueError:
            return "raised ValueError"
        return "took it"

    def strict(x):
        if x.min() < 0:
            raise ValueError
        return x.mean(1)

    exercise = replace(EXERCISE, reference=strict, probes=(Probe("x = -1", refuses_negative),))
    assert check(exercise, lambda x: strict(x)).outcome == "correct"
    assert "expected 'raised ValueError', got 'took it'" in check(exercise, by_sum).message


def test_a_mistake_may_be_an_exception() -> None:
    assert check(EXERCISE, lambda x: torch.cat([x.mean(1), x])).mistake is None
    always = Mistake("always-raises", lambda x: torch.cat([x.mean(1), x]), "The rows cannot be joined to the means.")
    exercise = replace(EXERCISE, mistakes=(*EXERCISE.mistakes, always))
    assert check(exercise, lambda x: torch.cat([x.mean(1), x])).mistake == "always-raises"
    assert check(exercise, lambda x: x.reshape(7)).mistake is None  # also a RuntimeError, of another cause


def test_a_mistake_that_is_an_exception_is_known_whichever_number_it_names() -> None:
    def raises(index: int) -> Callable:
        def function(x: Tensor) -> Tensor:
            raise IndexError(f"index {index} is out of bounds")

        return function

    exercise = replace(EXERCISE, mistakes=(*EXERCISE.mistakes, Mistake("out-of-bounds", raises(3), "It is too far.")))
    assert check(exercise, raises(17)).mistake == "out-of-bounds"


def test_an_exercise_whose_reference_fails_is_at_fault_itself() -> None:
    def broken(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check(replace(EXERCISE, reference=broken), by_sum)


def test_an_exercise_that_observes_what_cannot_be_compared_is_at_fault_itself() -> None:
    probes = (Probe("an object", lambda function: object()),)
    with pytest.raises(
        TypeError, match="exercise 'row_means', probe 'an object': what it observes, of type object, cannot"
    ):
        check(replace(EXERCISE, probes=probes), by_sum)


@pytest.mark.parametrize(
    ("change", "need"),
    [
        ({"probes": ()}, "at least one probe"),
        ({"hints": ("one", "two")}, "exactly three hints"),
        ({"mistakes": EXERCISE.mistakes[:2]}, "at least three mistakes"),
        ({"mistakes": EXERCISE.mistakes[:1] * 3}, "mistakes with different names"),
    ],
)
def test_an_exercise_that_lacks_a_part_cannot_be_made(change: dict, need: str) -> None:
    with pytest.raises(ValueError, match=f"exercise 'row_means' needs {need}"):
        replace(EXERCISE, **change)


def test_the_solution_is_the_source_of_the_plain_answer() -> None:
    assert solution(EXERCISE).startswith("def row_means(x, scale=1.0):\n    ")
    assert solution(EXERCISE).endswith("return scale * x.mean(dim=1)\n")


def test_the_solution_of_a_nested_answer_begins_at_the_margin() -> None:
    def nested(x):
        return x.mean(1)

    assert solution(replace(EXERCISE, answer=nested)) == "def nested(x):\n    return x.mean(1)\n"


# ---- what is watched for every exercise ------------------------------------------------------------------------------


def test_an_argument_that_is_changed_is_named_as_the_learner_calls_it_though_all_values_are_right() -> None:
    def in_place(rows):
        means = rows.mean(1)
        rows.data[:] = 0
        return means

    result = check(EXERCISE, in_place)
    assert (result.outcome, result.passed, result.failure.kind) == ("not yet", 0, "argument")
    assert result.message.startswith(
        "At x = [[1, 2], [3, 6]]: it changes its argument `rows`: work on a copy. lab.hint"
    )


def test_an_argument_that_is_changed_is_told_beside_a_wrong_value() -> None:
    assert "It changes its argument `x`: work on a copy." in fails(lambda x: x.data.mul_(3).mean(1))


def test_arguments_that_the_reference_changes_or_the_exercise_allows_are_free() -> None:
    def halve_(x):
        return x.data.div_(2).mean(1)

    probes = EXERCISE.probes[:2]
    assert check(replace(EXERCISE, reference=halve_, probes=probes), lambda x: halve_(x)).outcome == "correct"

    def means_and_zero_(x):
        means = x.mean(1)
        x.data.zero_()
        return means

    assert check(replace(EXERCISE, probes=probes), means_and_zero_).failure.kind == "argument"
    assert check(replace(EXERCISE, probes=probes, changes=("x",)), means_and_zero_).outcome == "correct"


def test_the_same_tensor_twice_and_views_of_it_are_no_change() -> None:
    x = torch.ones(2, 2)
    probe = Probe("x and its first row", lambda f: f(x, x, x[0]))
    exercise = replace(EXERCISE, reference=lambda a, b, c: a + b + c, probes=(probe,))
    assert check(exercise, lambda a, b, c: c + b + a).outcome == "correct"


def test_a_mistake_may_be_to_change_an_argument() -> None:
    def in_place(x):
        means = x.mean(1)
        x.data += 1
        return means

    mistake = Mistake("in-place", in_place, "The rows are changed.")
    exercise = replace(EXERCISE, mistakes=(*EXERCISE.mistakes, mistake), probes=EXERCISE.probes[:2])
    result = check(exercise, lambda x: 1 * in_place(x))
    assert (result.mistake, result.passed) == ("in-place", 0)
    assert check(exercise, lambda x: x.detach().mean(1)).mistake is None


def test_a_setting_of_the_process_is_named_and_undone() -> None:
    def sets(x):
        torch.set_default_dtype(torch.float64)
        return x.mean(1)

    result = check(EXERCISE, sets)
    assert torch.get_default_dtype() is torch.float32
    assert (result.outcome, result.failure.kind) == ("not yet", "setting")
    assert "it sets torch's default dtype for everybody" in result.message


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer")
def test_what_never_ends_is_stopped_and_named_with_its_line(monkeypatch) -> None:
    def forever(x):
        while True:
            pass

    monkeypatch.setattr("labkit.checks.exercise.SECONDS", 0.05)
    result = check(EXERCISE, forever)
    assert (result.outcome, result.passed, result.failure.kind) == ("not yet", 0, "time")
    assert "it has not come to an end, and was stopped: is there a loop that never ends? (line" in result.message


def test_a_machine_on_which_the_reference_is_slow_gives_the_learner_more_time(monkeypatch) -> None:
    def slow(x):
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        return x.mean(1)

    monkeypatch.setattr("labkit.checks.exercise.SECONDS", 0.0)
    assert check(replace(EXERCISE, reference=slow), lambda x: slow(x)).outcome == "correct"


# ---- messages --------------------------------------------------------------------------------------------------------


def test_a_place_that_points_at_the_one_before_is_said_in_full() -> None:
    places = (
        "12 random steps",
        "the same, truncated",
        "the same with beta = 1",
        "their gradient",
        "a convolution",
        "a pooling behind it",
    )
    probes = tuple(Probe(where, EXERCISE.probes[0].observe) for where in places)
    assert replace(EXERCISE, probes=probes).places == (
        "12 random steps",
        "12 random steps, truncated",
        "12 random steps, truncated, with beta = 1",
        "their gradient (12 random steps, truncated, with beta = 1)",
        "a convolution",
        "a pooling behind it (a convolution)",
    )


def test_small_inputs_are_shown_with_a_failure_and_kept_with_both_values() -> None:
    two = (Probe("two rows", lambda f: f(torch.tensor([[1.0, 2.0], [3.0, 6.0]]), 2.0)),)
    result = check(replace(EXERCISE, probes=two), lambda x, s: x.sum(1) + x[:, 0])
    assert result.message.startswith("At two rows, with x = [[1, 2], [3, 6]], s = 2: expected [3, 9], got [4, 12]")
    assert result.failure.inputs["x"].tolist() == [[1, 2], [3, 6]]
    assert (result.failure.expected.tolist(), result.failure.got.tolist()) == ([3, 9], [4, 12])


def test_large_inputs_are_pointed_to() -> None:
    large = replace(EXERCISE, probes=EXERCISE.probes[1:2])
    message = check(large, lambda x: x.mean(1) ** 2).message
    assert message.endswith(f'lab.inputs("row_means") shows the inputs. {HINT}')
    assert "lab.inputs" not in fails(lambda x: x.mean(1) ** 2)


def test_a_factor_is_named_where_no_mistake_is() -> None:
    assert fails(lambda x: x.mean(1) * 3).endswith("Its result is 3 times what is expected.")
    assert fails(lambda x: x.sum(1)).endswith("Its result is the expected one times the last dimension of `x`.")
    assert "Its result" not in check(EXERCISE, over_columns).message


def test_a_maximum_with_its_indices_is_named_where_it_is_used_and_where_it_is_returned() -> None:
    words = "take `.values`"
    assert words in fails(lambda x: 0.5 * x.max(1))
    assert words in fails(lambda x: x.mean(1) + x.sort(1))
    assert "got all that torch.max returns, values and indices: take its `.values`" in fails(lambda x: x.max(1))
    assert words not in fails(lambda x: [] + (1,) + x.max(1).values)
