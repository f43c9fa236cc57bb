"""The files that say what to install agree with each other, and importing labkit costs nothing."""

import ast
import itertools
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
NEEDED = [
    *PROJECT["dependencies"],
    *(dependency for extra in EXTRAS.values() for dependency in extra),
    *PYPROJECT["build-system"]["requires"],  # labkit itself is installed without build isolation
]
PYTHONS = ["3.11", "3.12", "3.13"]


def locked() -> list[tuple[Requirement, str]]:
    """Each pinned requirement of the lock with the text of its hashes."""
    entries = re.findall(r"^([a-z0-9][^\\\n]*?) \\\n((?:    --hash=.*\n)+)", LOCK, flags=re.MULTILINE)
    return [(Requirement(requirement), hashes) for requirement, hashes in entries]


def environment_yml() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_environment_yml_asks_for_the_same_python_as_pyproject():
    (python,) = [
        item for item in environment_yml()["dependencies"] if isinstance(item, str) and item.startswith("python")
    ]
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])


def test_environment_yml_leaves_every_package_to_pyproject():
    python, pip, through_pip = environment_yml()["dependencies"]
    assert (python.startswith("python>="), pip) == (True, "pip")
    ((editable,),) = through_pip.values()
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", editable)
    assert extras, editable
    assert set(extras[1].split(",")) <= EXTRAS.keys()


def test_the_lock_holds_one_fitting_version_of_every_dependency_on_every_python():
    pins: dict[str, list[Requirement]] = {}
    for pin, _ in locked():
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    wrong = []
    for python, dependency in itertools.product(PYTHONS, map(Requirement, NEEDED)):
        environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
        versions = [
            next(iter(pin.specifier)).version
            for pin in pins.get(canonicalize_name(dependency.name), [])
            if pin.marker is None or pin.marker.evaluate(environment)
        ]
        if len(versions) != 1 or not dependency.specifier.contains(versions[0]):
            wrong.append(f"{dependency} on Python {python}: the lock has {versions}")
    assert not wrong, "\n".join(["run `make lock`:", *wrong])


def test_every_entry_of_the_lock_is_one_exact_version_with_hashes():
    names = re.findall(r"^[a-z0-9]\S*?(?=[=<>~!@ ])", LOCK, flags=re.MULTILINE)
    assert len(locked()) == len(names) > 100
    for pin, hashes in locked():
        (specifier,) = pin.specifier
        assert (specifier.operator, pin.url) == ("==", None)
        assert re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", hashes)


@pytest.mark.parametrize(
    ("folder", "extras"), [("labkit", []), ("notebooks/source", []), ("tests", ["dev"]), ("docs", ["docs"])]
)
def test_every_package_that_is_imported_is_asked_for_in_pyproject(folder, extras):
    asked = [*PROJECT["dependencies"], *(dependency for extra in extras for dependency in EXTRAS[extra])]
    names = {canonicalize_name(Requirement(dependency).name) for dependency in asked}
    owners = packages_distributions()
    files = list((ROOT / folder).rglob("*.py"))
    ours = {"labkit"} | {path.stem for path in files} | {path.parent.name for path in files}
    for path in files:
        for module in imported(ast.parse(path.read_text(encoding="utf-8"))) - sys.stdlib_module_names - ours:
            owner = {canonicalize_name(name) for name in owners.get(module, [module])}
            assert owner & names, (
                f"{path.relative_to(ROOT)} imports {module}: add it to pyproject.toml, run `make lock`"
            )


def imported(tree: ast.AST) -> set[str]:
    """The top-level modules that a Python file imports anywhere in it."""
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.append(node.module)
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("address", ["://", "--index-url", "--extra-index-url", "--find-links", " @ ", "file:"])
def test_the_lock_holds_no_address(address):
    assert address not in LOCK


@pytest.mark.parametrize("module", ["labkit", "labkit.course.lessons"])
def test_importing_labkit_loads_no_heavy_package(module):
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "labkit" in loaded
    assert loaded & {"torch", "torchvision", "numpy", "scipy", "matplotlib", "sklearn", "pandas", "IPython"} == set()


def test_the_citation_names_this_version_and_its_licences():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == PROJECT["version"]
    assert " AND ".join(citation["license"]) == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    assert {"message", "title"} <= citation.keys()


def test_the_changelog_tells_about_this_version():
    assert f"\n## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_licence_files_of_the_package_exist():
    assert "MIT License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "creativecommons.org/licenses/by/4.0/" in (ROOT / "LICENSE-TEXT").read_text(encoding="utf-8")
    assert PROJECT["license-files"] == ["LICENSE", "LICENSE-TEXT"]


def test_ci_runs_make_test_and_make_knows_every_documented_command():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text(encoding="utf-8").rstrip().endswith("\nmake test")
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commands = set(re.findall(r"^make (\w+) ", listed, flags=re.MULTILINE))
    assert commands == {"help", "course", "test", "lab", "bench", "lint", "build", "baseline", "docs", "lock", "clean"}
