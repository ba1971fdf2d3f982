import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fedstill_sim.report.run_report import render_report, write_report
from fedstill_sim.results.run_result import QuarantinedReply, RunResult

from tests.sim.sample_results import sample_result

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Fails on elements that are not closed in order; keeps every address that a page could fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [
            value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "data")
        ]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [
            value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "data")
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def result() -> RunResult:
    return sample_result(devices=6, rounds=4)


@pytest.fixture(scope="module")
def page(result: RunResult) -> str:
    return render_report(result)


def test_the_page_is_well_formed_and_asks_for_nothing(page: str) -> None:
    addresses = Page(page).addresses

    assert [one for one in addresses if not one.startswith(("#", "data:image/png;base64,"))] == []
    assert "<script" not in page
    assert not re.search(r"url\((?!#)|@import", page)


def test_it_shows_the_figures_of_the_run_and_its_baselines(page: str, result: RunResult) -> None:
    for run in (result, *result.baselines.values()):
        assert f"{100 * (run.final.personal_accuracy or 0):.1f} %" in page
    assert "842 B" in page
    assert "19.4 kB" in page
    assert "1/23.1 of fedavg" in page


@pytest.mark.parametrize(
    "title",
    [
        "Accuracy by round",
        "Personal against global accuracy",
        "Spread over devices",
        "Accuracy against bytes",
        "Personalizing without forgetting",
        "Who holds what",
    ],
)
def test_every_chart_is_there_and_said_in_words(page: str, title: str) -> None:
    figure = page[page.index(f'aria-label="{title}"') :]

    assert re.search(r'role="img" aria-label="[^"]{20,}"', figure[:2000])
    assert "<svg" in figure[:4000]


def test_charts_follow_the_page_s_colours(page: str) -> None:
    assert "var(--series-0)" in page
    assert not re.search(r"#0[123]0[123]0[123]|#010a1", page)


def test_what_came_from_outside_cannot_become_markup(result: RunResult) -> None:
    bad = QuarantinedReply(
        device="<img src=x onerror=alert(1)>", reason="bad-values", text="</table><script>"
    )
    first = dataclasses.replace(result.rounds[0], quarantined=(bad,))
    described = dataclasses.replace(result.data, description="<b>folder</b>", name="<i>")
    hostile = dataclasses.replace(result, rounds=(first, *result.rounds[1:]), data=described)

    page = render_report(hostile)

    Page(page)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "<b>folder" not in page


def test_a_large_fleet_s_page_stays_small() -> None:
    page = render_report(sample_result(devices=5_000, rounds=1))

    assert len(page) < 1_500_000
    assert page.count("writer-") < 50


def test_a_run_without_baselines_or_tradeoff_has_a_page_too(result: RunResult) -> None:
    page = render_report(dataclasses.replace(result, baselines={}, tradeoff=()))

    Page(page)
    assert "without baselines" in page
    assert "Personalizing without forgetting" not in page


def test_the_same_result_gives_the_same_page(result: RunResult, page: str, tmp_path: Path) -> None:
    write_report(result, tmp_path / "report.html")

    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page
