from hypothesis import given
from hypothesis import strategies as st

from sciten.datasets.schema import escape, unescape


@given(st.text(min_size=1))
def test_any_key_survives_as_the_name_of_a_dataset(name):
    escaped = escape(name)
    assert unescape(escaped) == name
    assert "/" not in escaped and "\0" not in escaped and escaped != "."
