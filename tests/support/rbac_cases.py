"""The adversarial cases about authorization: their rows, their policies in Istio's words, what their labels mean."""

from support.authorization import rule
from support.shared import cases

ROWS = cases("shared_rbac.jsonl") + cases("either_rbac.jsonl")
REGEX = {"/api/v[0-9]+/admin.*": "/api/v1/admin*"}  # Istio has no expressions: the prefix that the rows are about
ACCEPTABLE = {
    "deny": {403},
    "deny_or_reject": {403, 400, 404, 405, 414, 431, 501},
    "allow": {200},
    "handshake_fail_or_deny": {403},
    "allow_or_reject": {200, 400},
    "either_safe": {200, 400, 403},
    "allow_or_close": {200},
}


def rules_of(given):
    """ALLOW and DENY policies as lists of rules, by action; None where Istio has no word for a matcher."""
    found = {}
    for action in ("allow", "deny"):
        rules = [_rule(each) for each in given.get(action, ())]
        if None in rules:
            return None
        if rules or (action == "allow" and given["default"] == "deny"):
            found[action.upper()] = rules
    return found


def decisions(row) -> dict[int, str]:
    """What is to become of each request of the row's connection, counted from 0."""
    decision = row["decision"]
    return {int(place) - 1: label for place, label in decision.items()} if isinstance(decision, dict) else {0: decision}


def _rule(matcher):
    ((kind, value),) = matcher.items()
    if kind == "header":
        key = f"request.headers[{value['name']}]"
        if "exact" in value:
            return rule(when=[{"key": key, "values": [value["exact"]]}])
        if "present" in value:
            return rule(when=[{"key": key, "values" if value["present"] else "notValues": ["*"]}])
        return None
    if kind == "path_regex":
        return rule(None, {"paths": [REGEX[value]]}) if value in REGEX else None
    return {
        "path_prefix": lambda: rule(None, {"paths": [value + "*"]}),
        "path_exact": lambda: rule(None, {"paths": [value]}),
        "path_suffix": lambda: rule(None, {"paths": ["*" + value]}),
        "path_template": lambda: rule(None, {"paths": [value]}),
        "host_exact": lambda: rule(None, {"hosts": [value]}),
        "methods": lambda: rule(None, {"methods": value}),
        "principal_exact": lambda: rule({"principals": [value.removeprefix("spiffe://")]}),
        "principal_prefix": lambda: rule({"principals": [value.removeprefix("spiffe://") + "*"]}),
        "principal_present": lambda: rule({"principals" if value else "notPrincipals": ["*"]}),
        "source_ip": lambda: rule({"ipBlocks": [value]}),
    }[kind]()
