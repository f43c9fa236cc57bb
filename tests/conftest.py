"""What tests of several folders share; helpers that are no fixtures are in tests/tensors.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tensors as small as a test's are only slowed down by a second one."""
    import torch  # many tests do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
