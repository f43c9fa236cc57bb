"""A sentence breaks between words, and shows what is to be typed as code."""

from __future__ import annotations

from labkit.lab.prose import prose


def test_a_sentence_is_html_beside_plain_text(monkeypatch) -> None:
    monkeypatch.delenv("LABKIT_BATCH", raising=False)
    text = 'kl: not yet. Not yet `x < 1`:\nlab.hint("kl") costs $1 or $2.'
    assert prose(text, bold="not yet") == {
        "text/plain": text,
        "text/html": "kl: <b>not yet</b>. Not yet <code>x &lt; 1</code>:<br>"
        '<code>lab.hint("kl")</code> costs <span>$</span>1 or <span>$</span>2.',
    }


def test_a_batch_run_keeps_the_plain_text_alone(monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_BATCH", "1")
    assert prose("a < b", bold="a") == {"text/plain": "a < b"}
