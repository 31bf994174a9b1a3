import json
import re

from hypothesis import given
from hypothesis import strategies as st
from support.exchanges import make_exchange, make_record

from meshd.core.exchange import Exchange
from meshd.core.head import RequestHead
from meshd.core.peer import NOBODY
from meshd.telemetry.access_line import json_line, text_line

TEXT = re.compile(
    r'\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "[!-~ ]* HTTP/[!-~]+" \d+ [A-Z,-]+ \d+ \d+ \d+ (?:\d+|-)'
    r'(?: "(?:[^"\\]|\\x[0-9A-F]{2})+"){5}\n'
)

octets = st.binary(max_size=40)


def hostile(path, agent, forwarded, request_id):
    exchange = make_exchange(path=path, query=agent, fields=[(b"user-agent", agent), (b"x-forwarded-for", forwarded)])
    exchange.request_id = request_id
    exchange.head.authority = forwarded
    exchange.note("claim", agent.decode("latin-1"))
    return make_record(exchange)


def test_text_is_envoys_default_line():
    assert text_line(make_record(query=b"a=1")) == (
        '[2023-11-14T22:15:00.000Z] "GET /orders/17?a=1 HTTP/1.1" 200 - 12 345 5 3 "203.0.113.9, 10.0.0.1" "curl/8.5" '
        '"f5a4c6e0-0000-4000-8000-000000000000" "orders.default:80" "10.1.0.1:8080"\n'
    )


def test_what_is_missing_is_a_dash():
    exchange = Exchange(RequestHead(b"GET", b"/", b""), NOBODY, 5.0)
    exchange.head.protocol = b"h2"
    exchange.ended = 5.001
    exchange.flag("DC")
    assert text_line(make_record(exchange)).endswith('] "GET / HTTP/2" 0 DC 0 0 1 - "-" "-" "-" "-" "-"\n')


@given(octets, octets, octets, octets)
def test_whatever_a_client_sends_text_stays_one_line_of_the_same_fields(path, agent, forwarded, request_id):
    line = text_line(hostile(path, agent, forwarded, request_id))
    assert TEXT.fullmatch(line)
    assert line.isascii()


@given(octets, octets, octets, octets)
def test_whatever_a_client_sends_json_stays_one_line_of_json(path, agent, forwarded, request_id):
    line = json_line(hostile(path, agent, forwarded, request_id))
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["response_code"] == 200


def test_quotes_and_controls_are_escaped_as_nginx_does():
    line = text_line(make_record(path=b'/"\\\n\xc3\xa9'))
    assert '"GET /\\x22\\x5C\\x0A\\xC3\\xA9 HTTP/1.1"' in line
