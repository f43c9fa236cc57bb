"""What the guides say is so: their commands, files, names, fields and links exist."""

from __future__ import annotations

import ast
import base64
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import click
import pytest

from labkit.course.cli import main
from labkit.course.lessons import Lesson, load_lessons, readme_table, source_path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDE = ROOT / "docs" / "contributing.md"
RECORDS = ROOT / "docs" / "records.md"
SCHEMA = json.loads((ROOT / "labkit" / "course" / "results.schema.json").read_text(encoding="utf-8"))
FENCE = re.compile(r"^( *)(`{3,})(\S*)[^\n]*\n(.*?)^\1\2$", re.MULTILINE | re.DOTALL)
SUFFIXES = {".cff", ".ipynb", ".json", ".lock", ".md", ".png", ".py", ".toml", ".txt", ".yml"}
WRITTEN_BY_RUNS = {"results.json", "report.html", "progress.json"}
MINUTES = "labkit/course/minutes.py"
NUMBERS = {  # words of contributing.md: the constant that they tell about, where tests find it
    "at most {} lines, half of them at most": (MINUTES, "LONGEST"),
    "half of them at most {}; ": (MINUTES, "TYPICAL"),
    "; at most {} in a lesson": (MINUTES, "CELLS"),
    "| text | {} words a minute": (MINUTES, "WORDS"),
    "| code | {} lines a minute": (MINUTES, "LINES"),
    "A core takes at most {} minutes": (MINUTES, "CORE"),
    "a lesson has at least {} ": ("tests/notebooks/test_notebook_outputs.py", "COMPARED"),
}

over_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [match[4] for match in FENCE.finditer(read(page)) if match[3] == language]


def spans(page: Path) -> list[str]:
    """The text in single backticks, outside fenced blocks."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", read(page)))]


def commands(page: Path) -> list[list[str]]:
    """Every command line of a page, in a console block or in backticks, without `VARIABLE=value` before it."""
    lines = [line.strip() for block in blocks(page, "console") for line in block.splitlines() if line.strip()]
    lines += [span for span in spans(page) if re.match(r"(labkit|make|git|source) [a-z0-9.-]", span)]
    found = []
    for line in lines:
        words = shlex.split(line)
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        found.append(words)
    return found


def named_for_each_lesson(text: str) -> Iterator[str]:
    """The text with NAME, TOPIC and PROFILE filled in: for every lesson, or unchanged if it holds none of them."""
    for lesson in load_lessons():
        yield text.replace("NAME", lesson.name).replace("TOPIC", lesson.topic).replace("PROFILE", "quick")


def is_path(span: str) -> bool:
    """Whether a span names a file or folder of the project: `labkit/lab/`, `notebooks/NAME.ipynb`, `.ci/run`."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", span) or span.startswith(("build/", ".venv/", "MNIST/", "work/")):
        return False
    return "/" in span and (span.endswith("/") or Path(span).suffix in SUFFIXES or span.startswith(".ci/"))


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", read(ROOT / "Makefile"), re.MULTILINE))


@cache
def names_in(path: Path, within: str = "") -> set[str]:
    """The names that a module defines or imports at its top level; with `within`, those of that class."""
    body = ast.parse(read(path)).body
    if within:
        (body,) = (node.body for node in body if isinstance(node, ast.ClassDef) and node.name == within)
        body = [*body, *(node for method in body if isinstance(method, ast.FunctionDef) for node in method.body)]
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            leaves = [leaf for target in targets for leaf in ast.walk(target)]
            names |= {leaf.id for leaf in leaves if isinstance(leaf, ast.Name) and not within}
            names |= {leaf.attr for leaf in leaves if isinstance(leaf, ast.Attribute)}
    return names


def exists_in_labkit(dotted: str) -> bool:
    """Whether `labkit.course.records.read_results` and the like lead somewhere."""
    path, rest = ROOT, dotted.split(".")
    while rest and (path / rest[0]).is_dir():
        path /= rest.pop(0)
    module = path / f"{rest.pop(0)}.py" if rest and (path / f"{rest[0]}.py").exists() else path / "__init__.py"
    return not rest or (len(rest) == 1 and rest[0] in names_in(module))


# ---- commands -------------------------------------------------------------------------------------------------------


@over_pages
def test_every_command_can_be_given_as_written(page: Path) -> None:
    for words in commands(page):
        tool, arguments = words[0], words[1:]
        if tool == "make":
            assert set(arguments) <= make_targets(), " ".join(words)
        elif tool == "labkit":
            name, *rest = arguments
            assert name in main.commands, " ".join(words)
            try:
                main.commands[name].make_context(name, rest)
            except click.UsageError as error:
                pytest.fail(f"{' '.join(words)}: {error.message}")
        elif tool == ".venv/bin/python":
            ast.parse(arguments[arguments.index("-c") + 1])
        else:
            assert words[:2] in (["git", "pull"], ["git", "restore"], ["source", ".venv/bin/activate"]), " ".join(words)


def test_the_guide_and_the_readme_hold_commands_to_check() -> None:
    assert ["labkit", "build", "NAME"] in commands(GUIDE)
    assert ["make", "course"] in commands(ROOT / "README.md")


def test_the_command_that_prints_the_readmes_table_does(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [words[2] for words in commands(GUIDE) if words[0] == ".venv/bin/python"]
    exec(code, {})
    assert capsys.readouterr().out.strip() == readme_table(load_lessons())


# ---- files and names ------------------------------------------------------------------------------------------------


@over_pages
def test_every_file_that_is_named_exists_for_every_lesson(page: Path) -> None:
    for span in filter(is_path, spans(page)):
        for path in named_for_each_lesson(span):
            assert (ROOT / path).exists(), f"{page.name} names {span}, and there is no {path}"


def test_files_named_without_a_folder_lie_at_the_top() -> None:
    bare = {span for span in spans(GUIDE) if "/" not in span and Path(span).suffix in SUFFIXES and " " not in span}
    assert "pyproject.toml" in bare
    assert {name for name in bare if not (ROOT / name).exists()} <= WRITTEN_BY_RUNS


def test_the_guide_names_every_file_of_a_lesson() -> None:
    named = {path for span in spans(GUIDE) for path in named_for_each_lesson(span)}
    for lesson in load_lessons():
        for path in (
            f"labkit/papers/{lesson.topic}.py",
            f"labkit/exercises/{lesson.topic}.py",
            f"notebooks/source/{lesson.name}.py",
            f"notebooks/{lesson.name}.ipynb",
            f"tests/papers/test_{lesson.topic}.py",
        ):
            assert path in named


@over_pages
def test_every_name_in_labkit_and_every_call_of_the_lab_exists(page: Path) -> None:
    code = [*spans(page), *blocks(page, "python"), *blocks(page, "console")]
    session = ROOT / "labkit" / "lab" / "session.py"
    for text in code:
        for name in re.findall(r"(?<![\w./])lab\.(\w+)", text):
            assert name in names_in(session, within="Lab"), f"{page.name}: lab.{name}"
        for dotted in re.findall(r"(?<![\w./])labkit(?:\.\w+)+", text):
            assert exists_in_labkit(next(named_for_each_lesson(dotted))), f"{page.name}: {dotted}"


def test_a_wrong_name_would_be_found() -> None:
    assert exists_in_labkit("labkit.course.results.read_results")
    assert not exists_in_labkit("labkit.course.records.read_everything")
    assert not exists_in_labkit("labkit.corse")


@cache
def variables_of_labkit() -> set[str]:
    return {name for path in (ROOT / "labkit").rglob("*.py") for name in re.findall(r"LABKIT_[A-Z]+", read(path))}


@over_pages
def test_every_variable_is_known_to_the_package(page: Path) -> None:
    assert set(re.findall(r"LABKIT_[A-Z]+", read(page))) <= variables_of_labkit()


def test_the_learners_guide_explains_every_variable() -> None:
    guide = read(ROOT / "docs" / "learner.md")
    assert set(re.findall(r"^\| `(LABKIT_[A-Z]+)` \|", guide, re.MULTILINE)) == variables_of_labkit()


# ---- contributing.md ------------------------------------------------------------------------------------------------


def test_the_example_of_an_entry_has_every_field_of_a_lesson_and_no_other() -> None:
    (block,) = blocks(GUIDE, "toml")
    (entry,) = tomllib.loads(block)["lesson"]
    assert list(entry) == [field.name for field in fields(Lesson) if field.name != "root"]


@over_pages
def test_examples_are_python(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block)


def test_the_guide_explains_every_tag_that_a_lesson_uses() -> None:
    explained = set(re.findall(r"^\| `([a-z-]+)` \| ", read(GUIDE), re.MULTILINE))
    for lesson in load_lessons():
        tags = re.findall(r"^# %%.*tags=(\[.*\])", read(source_path(lesson)), re.MULTILINE)
        used = {tag for listed in tags for tag in json.loads(listed)}
        assert used
        assert used <= explained


@pytest.mark.parametrize("words", NUMBERS)
def test_a_number_in_the_guide_is_the_one_that_is_tested(words: str) -> None:
    file, constant = NUMBERS[words]
    values: dict[str, int] = {}
    for node in ast.parse(read(ROOT / file)).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple | ast.Name):
            names = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
            numbers = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            values |= {n.id: v.value for n, v in zip(names, numbers, strict=False) if isinstance(v, ast.Constant)}
    assert words.format(values[constant]) in " ".join(read(GUIDE).split())


# ---- records.md -----------------------------------------------------------------------------------------------------


def properties(definition: dict) -> set[str]:
    """The fields of a definition of the schema, those that it takes over from others included."""
    if "$ref" in definition:
        return properties(SCHEMA["definitions"][definition["$ref"].rpartition("/")[2]])
    return set(definition.get("properties", {})).union(*(properties(part) for part in definition.get("allOf", [])))


def documented() -> dict[str, set[str]]:
    """{heading: fields in the table with a type below it} of records.md."""
    sections = re.split(r"^### `(\w+)`$", read(RECORDS), flags=re.MULTILINE)[1:]
    tables = {name: text.partition("\n## ")[0] for name, text in zip(sections[::2], sections[1::2], strict=True)}
    row = re.compile(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", re.MULTILINE)
    return {name: set(row.findall(text)) for name, text in tables.items()}


def test_every_field_of_the_schema_is_documented_and_no_other() -> None:
    expected = {name: properties(definition) for name, definition in SCHEMA["definitions"].items()}
    del expected["named"]  # a part of record_metric and record_exercise
    expected = {"results": properties(SCHEMA)} | {name: found for name, found in expected.items() if found}
    assert documented() == expected


def test_the_version_and_every_value_of_a_choice_is_documented() -> None:
    version = SCHEMA["properties"]["schema_version"]["const"]
    assert f"**Schema version: {version}.**" in read(RECORDS)
    choices = re.findall(r'"enum": (\[[^]]+\])', (ROOT / "labkit/course/results.schema.json").read_text())
    assert {value for listed in choices for value in json.loads(listed)} <= set(spans(RECORDS))


def test_every_kind_of_record_has_a_section() -> None:
    kinds = {name.removeprefix("record_") for name in SCHEMA["definitions"] if name.startswith("record_")}
    assert set(re.findall(r"^Kind `(\w+)`, from `lab", read(RECORDS), re.MULTILINE)) == kinds


# ---- links and the README -------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@over_pages
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", read(page))
    images = re.findall(r"^`{3}\{image\} (\S+)$", read(page), re.MULTILINE)
    for link in [*re.findall(r"\]\(([^)\s]+)\)", text), *images]:
        assert not link.startswith("http:")
        if not link.startswith("https:"):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), f"{page.name} links to {link}"
            assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@over_pages
def test_every_image_has_alt_text(page: Path) -> None:
    text = read(page)
    alts = [*re.findall(r"!\[(.*?)\]\(", text), *re.findall(r"^`{3}\{image\} .*\n:alt: (.*)$", text, re.MULTILINE)]
    assert len(alts) == text.count("![") + text.count("```{image}")
    assert all(len(alt.split()) >= 10 for alt in alts)


def test_every_page_is_reached_from_the_index() -> None:
    (toctree,) = blocks(ROOT / "docs" / "index.md", "{toctree}")
    assert {f"{name}.md" for name in toctree.split()[1:]} | {"index.md"} == {page.name for page in PAGES[1:]}


def test_the_readmes_table_is_that_of_the_lessons() -> None:
    shown = read(ROOT / "README.md").partition("<!-- lessons:start -->\n")[2].partition("\n<!-- lessons:end -->")[0]
    assert shown == readme_table(load_lessons())


@over_pages
def test_no_place_is_left_to_be_filled_in(page: Path) -> None:
    assert not re.findall(r"<<.*?>>|TODO|TBD", read(page))


def test_the_picture_in_the_readme_is_the_one_in_the_lesson() -> None:
    picture = base64.b64encode((ROOT / "docs" / "images" / "latent_spaces.png").read_bytes()).decode()
    notebook = json.loads((ROOT / "notebooks" / "01_autoencoders.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    stored = {
        "".join(output["data"]["image/png"]).strip() for output in outputs if "image/png" in output.get("data", {})
    }
    assert picture in stored, "save the scatter plot of section 5 as docs/images/latent_spaces.png"
