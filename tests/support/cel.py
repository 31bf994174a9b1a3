"""As much of the Common Expression Language as the rules of published CRDs speak (x-kubernetes-validations).

`compiled(text)` is a function of the value that the rule calls `self`. It raises `Broken` where CEL has no value, such
as for a key that is not there; `&&` and `||` take no harm from a side that does not decide (CEL, "Logical Operators").
"""

import functools
import ipaddress
import re
from urllib.parse import urlsplit

TOKEN = re.compile(
    r"""\s*(?:(?P<raw>r\"{3}.*?\"{3})|(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<number>\d+)"""
    r"""|(?P<name>[A-Za-z_]\w*)|(?P<sign>\|\||&&|[=!<>]=|[-!<>+?:.,()\[\]{}]))""",
    re.DOTALL,
)
UNIT = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
SPAN = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


class Broken(Exception):
    """There is no value."""


@functools.cache
def compiled(text):
    """A function of `self`."""
    tokens, end = [], 0
    while end < len(text.rstrip()):
        found = TOKEN.match(text, end)
        assert found, text[end:]
        tokens.append((found.lastgroup, found[found.lastgroup]))
        end = found.end()
    parser = _Parser(tokens)
    run = parser.ternary()
    assert parser.peek() == "", tokens[parser.at :]
    return lambda value: run({"self": value})


class _Parser:
    """From tokens to functions of the names that are bound."""

    def __init__(self, tokens):
        self.tokens, self.at = tokens, 0

    def peek(self):
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        return "" if kind in ("raw", "text") else text

    def take(self, *wanted):
        if self.peek() in wanted and self.peek():
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def need(self, wanted):
        assert self.take(wanted), (wanted, self.tokens[self.at :])

    def ternary(self):
        condition = self.either()
        if not self.take("?"):
            return condition
        yes = self.ternary()
        self.need(":")
        no = self.ternary()
        return lambda names: yes(names) if _bool(condition(names)) else no(names)

    def either(self):
        parts = [self.both()]
        while self.take("||"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else lambda names: _decide(parts, names, stop=True)

    def both(self):
        parts = [self.relation()]
        while self.take("&&"):
            parts.append(self.relation())
        return parts[0] if len(parts) == 1 else lambda names: _decide(parts, names, stop=False)

    def relation(self):
        left = self.sum()
        while sign := self.take("==", "!=", "<", "<=", ">", ">=", "in"):
            left = _relation(sign, left, self.sum())
        return left

    def sum(self):
        left = self.unary()
        while self.take("+"):
            left = functools.partial(lambda a, b, names: a(names) + b(names), left, self.unary())
        return left

    def unary(self):
        if self.take("!"):
            inner = self.unary()
            return lambda names: not _bool(inner(names))
        return self.member(self.primary())

    def primary(self):
        if self.take("("):
            inner = self.ternary()
            self.need(")")
            return inner
        if self.take("["):
            items = self.arguments("]")
            return lambda names: [each(names) for each in items]
        if self.take("{"):
            self.need("}")
            return lambda _: {}
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind != "name":
            literal = int(text) if kind == "number" else text[4:-3] if kind == "raw" else _unescaped(text[1:-1])
            return lambda _: literal
        if text in ("true", "false"):
            return lambda _: text == "true"
        if not self.take("("):
            return lambda names: names[text]
        if text == "has":
            return self.has()
        (argument,) = self.arguments(")")
        return lambda names: FUNCTIONS[text](argument(names))

    def has(self):
        """Whether there is a field: all before its name must be there."""
        end = self.at
        while self.tokens[end][1] != ")":
            end += 1
        owner = _Parser(self.tokens[self.at : end - 2]).unary()
        name = _key(self.tokens[end - 1][1])
        self.at = end + 1
        return lambda names: name in owner(names)

    def member(self, owner):
        while True:
            if self.take("["):
                index = self.ternary()
                self.need("]")
                owner = functools.partial(lambda of, at, names: _item(of(names), at(names)), owner, index)
            elif self.take("."):
                name = self.tokens[self.at][1]
                self.at += 1
                owner = self.call(owner, name) if self.take("(") else functools.partial(_field, owner, _key(name))
            else:
                return owner

    def call(self, owner, name):
        if name in MACROS:
            bound = self.tokens[self.at][1]
            self.at += 1
            self.need(",")
            body = self.ternary()
            self.need(")")
            return lambda names: MACROS[name](owner(names), lambda item: _bool(body({**names, bound: item})))
        arguments = self.arguments(")")
        return lambda names: METHODS[name](owner(names), *(each(names) for each in arguments))

    def arguments(self, end):
        found = []
        while not self.take(end):
            found.append(self.ternary())
            self.take(",")
        return found


def _bool(value):
    if not isinstance(value, bool):
        raise Broken(value)
    return value


def _decide(parts, names, *, stop):
    """Of `||` and `&&`: the value that decides, wherever it stands; else what is broken, or the other value."""
    broken = None
    for part in parts:
        try:
            if _bool(part(names)) is stop:
                return stop
        except Broken as error:
            broken = error
    if broken is not None:
        raise broken
    return not stop


def _relation(sign, left, right):
    test = RELATIONS[sign]
    return lambda names: test(left(names), right(names))


def _unescaped(text):
    return re.sub(r"\\(.)", r"\1", text)


def _key(name):
    """Words of CEL are written with underscores around them."""
    return name.strip("_") if name.startswith("__") else name


def _field(owner, name, names):
    found = owner(names)
    if not isinstance(found, dict) or name not in found:
        raise Broken(name)
    return found[name]


def _item(owner, index):
    if not isinstance(owner, (list, tuple)) or not 0 <= index < len(owner):
        raise Broken(index)
    return owner[index]


def _matches(text, pattern):
    # RE2 takes a flag anywhere, Python in front; Go's $ ends the text, Python's would let a newline through.
    pattern = re.sub(r"^\^\(\?i\)", "(?i)^", pattern)
    return not text.endswith("\n") and re.search(pattern, text) is not None


def _duration(text):
    if not SPAN.match(text) or SPAN.sub("", text):
        raise Broken(text)
    return sum(float(number) * UNIT[unit] for number, unit in SPAN.findall(text))


def _is_ip(text):
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _int(text):
    if not re.fullmatch("-?[0-9]+", text):
        raise Broken(text)
    return int(text)


def _url(text):
    found = urlsplit(text)
    if not found.scheme and not text.startswith("/"):
        raise Broken(text)
    return found


def _all(items, test):
    return _decide([functools.partial(lambda item, _: test(item), item) for item in items], None, stop=False)


def _exists(items, test):
    return _decide([functools.partial(lambda item, _: test(item), item) for item in items], None, stop=True)


RELATIONS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
}
FUNCTIONS = {"size": len, "duration": _duration, "isIP": _is_ip, "int": _int, "url": _url}
METHODS = {
    "size": len,
    "contains": lambda text, part: part in text,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "matches": _matches,
    "substring": lambda text, start, end=None: text[start:end],
    "getScheme": lambda found: found.scheme,
}
MACROS = {
    "all": _all,
    "exists": _exists,
    "exists_one": lambda items, test: sum(map(test, items)) == 1,
    "filter": lambda items, test: [each for each in items if test(each)],
}
