"""Names that are one to an app are one to whatever protects or restricts a field."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.core.head import RequestHead
from meshd.core.spelling import fold, fold_all, without, without_other_spellings

NAMES = st.text("abxyz019-_.!#$%&'*+^`|~", min_size=1, max_size=12).map(str.encode)


def variable(name):
    """What a CGI program has of a field: RFC 3875 section 4.1.18, with what servers do of other octets."""
    return "HTTP_" + "".join(each if each.isalnum() else "_" for each in name.decode().upper())


@given(NAMES, NAMES)
def test_names_fold_together_as_the_variables_of_an_app_do(one, other):
    assert (fold(one) == fold(other)) is (variable(one) == variable(other))
    assert fold(one.upper()) == fold(one)


def test_a_field_is_taken_out_in_every_spelling():
    fields = [(b"x_a", b"1"), (b"x-a", b"2"), (b"x.a", b"3"), (b"x-ab", b"4")]
    assert without(fields, fold_all([b"x-a"])) == [(b"x-ab", b"4")]
    assert without_other_spellings(fields, [b"x-a"]) == [(b"x-a", b"2"), (b"x-ab", b"4")]
    assert without_other_spellings(fields, []) == fields


def test_what_restricts_sees_the_values_of_every_spelling():
    head = RequestHead(b"GET", b"/", b"a.test", [(b"x_role", b"guest"), (b"x-role", b"admin"), (b"x-roles", b"no")])
    assert head.values(b"x-role") == [b"guest", b"admin"]
    assert head.values(b"x-none") == []
