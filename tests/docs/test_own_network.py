"""The page for a reader's own network: its blocks, one after the other, as a reader copies them."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs/own_network.md"
pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_blocks_of_the_page_run_and_draw_what_they_say() -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
    # Short, and in steps for a network without trained weights, whose activations are small.
    for shown, here in {"side, steps = 128, 200": "side, steps = 64, 10", '"desired": 5.0': '"desired": 0.1'}.items():
        assert shown in code
        code = code.replace(shown, here)
    names: dict[str, object] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(code, str(PAGE), "exec"), names)
    assert len(plt.get_fignums()) == 4  # filters, maps, ascent, occlusion
    plt.close("all")
    assert (names["ascent"].activations.max(0).values > names["ascent"].activations[0]).all()
    assert names["lost"].shape == (6, 8, 8)
    assert not names["model"].training
