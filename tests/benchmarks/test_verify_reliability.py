"""What `labkit verify` is worth on another machine than the baseline's, lesson by lesson, from the stored seeds."""

from labkit.course.baselines import load_baseline
from labkit.course.reliability import of_course, reliability
from labkit.course.summary import text_table


def test_false_alarms_and_what_is_noticed(benchmark, capsys):
    entries = load_baseline("quick")["lessons"]
    lessons = benchmark.pedantic(
        lambda: {name: reliability(entry) for name, entry in entries.items()}, rounds=1, iterations=1
    )
    body = [
        [name, f"{100 * one.false_alarms:.2f}", str(len(one.noticed)), str(len(one.unnoticed))]
        for name, one in lessons.items()
    ]
    false_alarms, noticed = of_course(lessons)
    with capsys.disabled():
        print("\n" + text_table(["lesson", "false alarms %", "notice 20 %", "do not"], body))
        print(f"whole course: {100 * false_alarms:.2f} % false alarms, {100 * noticed:.1f} % of the metrics notice")
