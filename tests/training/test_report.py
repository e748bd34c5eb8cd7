from html.parser import HTMLParser
from pathlib import Path

from sciten.training.plots import learning_curves
from sciten.training.report import Section, write_report


class Page(HTMLParser):
    """Collects the tags, their addresses, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_needs_only_the_figures_beside_it(tmp_path: Path) -> None:
    lines = [
        {"epoch": i, "stage": 1 + i // 3, "train_loss": 1 / (i + 1), "learning_rate": 0.01} for i in range(5)
    ]
    figure = learning_curves(lines, tmp_path)
    sections = [
        Section("Curves", "Before & after <training>", figures=[figure]),
        Section("Errors", table=[["type", "E"], ["<300 K>", "1.5"]]),
    ]
    path = write_report(tmp_path / "report.html", "A & B", sections)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.addresses == ["learning_curves.png"]
    assert (tmp_path / page.addresses[0]).stat().st_size > 1000
    assert "http" not in text
    assert "@import" not in text
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert page.tags.count("td") == 2
    assert "Before & after <training>" in page.text  # escaped on the way in
    assert "<300 K>" in page.text
