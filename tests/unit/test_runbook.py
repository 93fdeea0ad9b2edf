"""The runbook has a page for each risk, in both languages, whole, and names no command that does not exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fairgate.cli.main import build

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook"
RISKS = [f"R{number}" for number in range(1, 9)]
SECTIONS = {
    "en": [
        "Symptom",
        "Cause",
        "What Fairgate does by itself",
        "What to do",
        "How to prevent it",
        "With Kafka's own tools",
        "Proof",
    ],
    "ko": ["증상", "원인", "Fairgate가 스스로 하는 일", "조치", "예방", "Kafka 기본 도구만 있을 때", "검증"],
}
FOLDERS = {"en": RUNBOOK, "ko": RUNBOOK / "ko"}


def page_of(language: str, risk: str) -> str:
    [page] = FOLDERS[language].glob(f"{risk.lower()}-*.md")
    return page.read_text(encoding="utf-8")


def named_commands() -> set[str]:
    """Every `fairgate …` of every page, in text and in blocks."""
    found: set[str] = set()
    for page in RUNBOOK.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        found |= {match[1] for match in re.finditer(r"`fairgate ([^`\n]+)`", text)}
        found |= {match[1].strip() for match in re.finditer(r"(?m)^(?:\$ )?fairgate (.+)$", text)}
    return found


def blocks(text: str) -> list[str]:
    return re.findall(r"(?s)```(.*?)```", text)


@pytest.mark.parametrize("language", SECTIONS)
@pytest.mark.parametrize("risk", RISKS)
def test_each_risk_has_a_page_with_every_section(language: str, risk: str) -> None:
    text = page_of(language, risk)
    assert text.startswith(f"# {risk} · ")
    assert re.findall(r"(?m)^## (.+)$", text) == SECTIONS[language]
    assert f"fairgate chaos --scenario {risk}\n" in text


@pytest.mark.parametrize("risk", RISKS)
def test_both_languages_show_the_same_commands_and_outputs(risk: str) -> None:
    assert blocks(page_of("en", risk)) == blocks(page_of("ko", risk))


@pytest.mark.parametrize("language", SECTIONS)
def test_the_index_leads_to_every_page(language: str) -> None:
    index = (FOLDERS[language] / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\((r\d-[a-z-]+\.md)\)", index))
    assert linked == {page.name for page in FOLDERS[language].glob("r*-*.md")}
    assert len(linked) == len(RISKS)


@pytest.mark.parametrize("command", sorted(named_commands()))
def test_every_command_that_it_names_exists_with_its_options(command: str) -> None:
    words = shlex.split(command, comments=True)
    called: Any = typer.main.get_command(build(words))
    answer = CliRunner().invoke(build(words), [*words, "--help"])
    assert answer.exit_code == 0, answer.output
    while words and words[0] in getattr(called, "commands", {}):
        called = called.commands[words.pop(0)]
    assert called.invoke_without_command if hasattr(called, "commands") else True, f"{command} is a group of commands"
    options = {name for parameter in called.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options
