"""The page for a reader's own network: its blocks, one after the other, as a reader copies them."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

PAGE = Path(__file__).parents[2] / "docs/own_network.md"
pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_blocks_of_the_page_run_and_draw_what_they_say() -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
    small = code.replace("side, steps = 128, 200", "side, steps = 64, 10")
    assert small != code, "the page no longer begins with the sizes that make this test short"
    names: dict[str, object] = {}
    exec(compile(small, str(PAGE), "exec"), names)
    assert len(plt.get_fignums()) == 4  # filters, maps, ascent, occlusion
    plt.close("all")
    assert (names["ascent"].activations[-1] > names["ascent"].activations[0]).all()
    assert names["lost"].shape == (6, 8, 8)
    assert not names["model"].training
