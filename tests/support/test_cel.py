"""Rules of CRDs mean what Google's Common Expression Language makes of them."""

import pytest
from support.cel import Broken, compiled

BROKEN = None


@pytest.mark.parametrize(
    ("rule", "value", "result"),
    [
        ("has(self.a) ? self.a.size() <= 2 : true", {"a": (1, 2, 3)}, False),
        ("has(self.a) ? self.a.size() <= 2 : true", {}, True),
        ("self.a == 1", {}, BROKEN),
        ("self.a == 1 || true", {}, True),  # the side that decides may stand behind the one that is broken
        ("self.a == 1 && false", {}, False),
        ("self.a == 1 || false", {}, BROKEN),
        ("!(has(self.b) && self.b)", {"b": True}, False),
        ("self.all(x, self.exists_one(y, x == y))", (1, 2), True),
        ("self.all(x, self.exists_one(y, x == y))", (1, 1), False),
        ("self.filter(f, f.type == 'A').size() <= 1", ({"type": "A"}, {"type": "A"}), False),
        ("self.exists(k, k.contains('/'))", (), False),
        ("self.__namespace__ == 'a'", {"namespace": "a"}, True),
        (
            "(self.type in ['Exact', \"Prefix\"]) ? self.value.startsWith('/') : true",
            {"type": "Exact", "value": "a"},
            False,
        ),
        ('self.matches(r"""^(?i)\\.?[a-z]+$""")', "A", True),
        ("self.matches('^[a-z]$')", "a\n", False),
        ("self.matches('^a\\\\.b$')", "axb", False),
        ("duration(self) > duration('1h1m') || duration(self) < duration('1.5s')", "1h", False),
        ("duration(self) >= duration('1ms')", "1d", BROKEN),
        ("self.all(key, 0 < int(key) && int(key) <= 65535)", {"80": 1}, True),
        ("self.all(key, int(key) > 0)", {"a": 1}, BROKEN),
        ("self.substring(7, 8) == '/'", "unix:///a", True),
        ("url(self).getScheme() in ['http', 'https']", "ftp://a", False),
        ("!isIP(self)", "::1", False),
        ("self[0].a.size() + self[1].a.size() <= 128", ({"a": ()},), BROKEN),
        ("((has(self.a) && has(self.a.b)) ? self.a.b : {}).size() > 0", {}, False),
    ],
)
def test_a_rule(rule, value, result):
    if result is BROKEN:
        with pytest.raises(Broken):
            compiled(rule)(value)
    else:
        assert compiled(rule)(value) is result
