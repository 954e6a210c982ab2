"""What the docs show must be what the program does: its lines, its commands, its defaults."""

import argparse
import ast
import re
import shlex
import shutil
from pathlib import Path

import pytest

from kvmlun import cli, config, errors, schema
from man import make
from tests import pictures

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHORTEST = 9  # characters of a line that are not to be found everywhere


def templates() -> list[str]:
    """Return each text in the code, with … for what is put into it."""
    files = [*sorted((ROOT / "kvmlun").rglob("*.py")), ROOT / "hooks/qemu"]
    trees = [ast.parse(file.read_text()) for file in files]
    found = [text(node) for tree in trees for node in ast.walk(tree)]
    whole = "".join((ROOT / "kvmlun/schema.json").read_text())
    return [re.sub(r"%[sd]|%\.\df|\{\w+\}", "…", each) for each in found if each] + [whole]


def text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) or "…" for part in node.values)
    return ""


TEMPLATES = templates()


def quoted(page: str) -> list[str]:
    """Return the lines in the first column of tables."""
    return re.findall(r"^\| `([^`]+)` \|", page, flags=re.M)


def is_told(line: str) -> bool:
    """Tell whether one text of the code has the line's parts, in their order."""
    parts = [part.strip() for part in line.split("…") if part.strip(" :;,.()")]
    if max(map(len, parts), default=0) < SHORTEST:
        return False
    pattern = re.compile(".*".join(map(re.escape, parts)), flags=re.S)
    return any(pattern.search(each) for each in TEMPLATES)


@pytest.mark.parametrize("line", quoted((ROOT / "docs/troubleshooting.md").read_text()))
def test_the_program_says_the_line(line):
    assert is_told(line)


def test_a_line_that_nobody_says_is_found():
    assert not is_told("the portal does not answer; is the moon up?")
    assert not is_told("…: …")


def commands() -> list[str]:
    """Return each command line of kvmlun's that a page shows as one to be typed."""
    found = []
    for page in PAGES:
        text = re.sub(r"\\\n *", "", page.read_text())
        for line in re.findall(r"^ {4,}((?:sudo )?kvmlun .*)$", text, flags=re.M):
            found += [line.split(" # ")[0].split(" | ")[0].split(" >")[0].split("  ")[0]]
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_the_command_exists(line):
    words = shlex.split(line.removeprefix("sudo "))[1:]
    words = [word for word in words if word not in ("…", "&&")]
    try:
        cli.parser().parse_args(words)
    except (SystemExit, argparse.ArgumentError):
        pytest.fail(f"kvmlun does not know: {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_configuration_is_good(page, tmp_path):
    """A part of one is indented."""
    for text in re.findall(r"^```yaml\n(\w.*?)^```", page.read_text(), flags=re.M | re.S):
        (tmp_path / "kvmlun.yaml").write_text(text)
        assert config.read(tmp_path)[1] == [], text


def anchors(page: Path) -> set[str]:
    """Return the names of its headings, as forges make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


def test_the_table_of_settings_has_the_defaults():
    """A default that is no number or bool is told in words."""
    page = (ROOT / "docs/interfaces.md").read_text()
    table = page.partition("| key in `settings` |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, flags=re.M))
    members = schema.document()["properties"]["settings"]["properties"]
    assert list(rows) == list(members)
    for name, told in rows.items():
        value = getattr(config.Settings(), name)
        if value is not None:
            assert told.removesuffix(" s") == f"{value!s}".lower()


@pytest.fixture(scope="module")
def page():
    return lambda name: make.page(ROOT / "man" / name).replace("\\-", "-")


def test_the_man_page_has_each_command_and_option(page):
    shown = page("kvmlun.1")
    for parser, _ in make.leaves(cli.parser()):
        assert f".B {parser.prog}" in shown
        for action in parser._actions:
            if action.dest != "help":
                assert all(f"{name}" in shown for name in action.option_strings)
    assert "@" not in shown


def test_the_table_of_exit_codes_has_each_one():
    """The man page is made of them."""
    table = (ROOT / "docs/interfaces.md").read_text().partition("| exit code |")[2]
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", table.partition("\n\n")[0], flags=re.M)
    told = [(int(code), meaning.replace("`", "")) for code, meaning in rows]
    assert told == [(int(code), code.meaning) for code in errors.Exit]


def test_the_man_page_has_each_key_and_its_default(page):
    shown = page("kvmlun.yaml.5")
    document = schema.document()
    for name in document["$defs"]["volume"]["properties"]:
        assert re.search(rf"^\.BR? {name}\b", shown, flags=re.M)
    for name, member in document["properties"]["settings"]["properties"].items():
        assert re.search(rf"^\.BR? {name}\b.*\n.", shown, flags=re.M)
        assert member["description"].replace("…", "\\&...") in shown
    assert '.BR grace " (10 s)"' in shown
    assert "@" not in shown


@pytest.mark.parametrize("source", pictures.sources(), ids=lambda path: path.name)
def test_the_picture_is_made_of_its_source(source):
    assert pictures.is_current(source), "python3 -m tests.pictures makes it anew"
    assert f"pictures/{source.stem}.svg" in (ROOT / "docs/how-it-works.md").read_text()


def test_a_picture_of_another_source_is_found(tmp_path):
    source = Path(shutil.copy(pictures.sources()[0], tmp_path))
    shutil.copy(pictures.picture(pictures.sources()[0]), tmp_path)
    assert pictures.is_current(source)
    source.write_text(source.read_text() + "// changed\n")
    assert not pictures.is_current(source)
