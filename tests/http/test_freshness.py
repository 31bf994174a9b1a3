"""How long an answer may be kept, by RFC 9111."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.http.freshness import LONGEST, freshness

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"cache-control": "public"}, None),
        ({"cache-control": "max-age=60"}, 60),
        ({"cache-control": "public, MAX-AGE=60 , must-revalidate"}, 60),
        ({"cache-control": 'max-age="60"'}, 60),
        ({"cache-control": "max-age=60, max-age=5"}, 60),
        ({"cache-control": "s-maxage=5, max-age=60"}, 60),
        ({"cache-control": "s-maxage=5"}, None),
        ({"cache-control": "max-age=60", "age": "15"}, 45),
        ({"cache-control": "max-age=60", "age": "90"}, 0),
        ({"cache-control": "max-age=60", "age": "soon"}, 60),
        ({"cache-control": "max-age=0"}, 0),
        ({"cache-control": "max-age=soon"}, 0),
        ({"cache-control": "max-age=-1"}, 0),
        ({"cache-control": "max-age=60, no-store"}, 0),
        ({"cache-control": "no-cache"}, 0),
        ({"cache-control": "max-age=" + "9" * 5000}, LONGEST),
        ({"expires": "Sun, 06 Nov 1994 08:50:37 GMT", "date": DATE}, 60),
        ({"expires": "Sun, 06 Nov 1994 08:50:37 GMT", "date": DATE, "cache-control": "max-age=5"}, 5),
        ({"expires": DATE, "date": "Sun, 06 Nov 1994 08:50:37 GMT"}, 0),
        ({"expires": "0", "date": DATE}, 0),
        ({"expires": DATE}, 0),
    ],
)
def test_what_an_answer_says(fields, seconds):
    assert freshness(fields) == seconds


@given(st.dictionaries(st.sampled_from(["cache-control", "age", "expires", "date"]), st.text(max_size=40)))
def test_whatever_it_says_it_is_none_or_a_number_that_is_not_negative(fields):
    found = freshness(fields)
    assert found is None or 0 <= found <= 1e12
