"""Every entry: its mechanism is as described, and the check fails where a part of it is switched off."""

import pytest

from crossplay.gallery import check_entry, names
from crossplay.gallery.shelf import entry


@pytest.mark.parametrize("name", names())
def test_the_mechanism_holds_and_its_check_can_fail(name):
    checked = check_entry(entry(name))
    assert not checked.faults
    assert [f.name for f in checked.findings if not f.holds] == []
    assert any(f.null for f in checked.findings)
    assert set(checked.off) == {m.name for m in entry(name).mechanisms}
