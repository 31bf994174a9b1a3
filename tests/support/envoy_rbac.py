"""Just enough of Envoy's RBAC filter to say what a generated configuration allows (envoy/config/rbac/v3/rbac.proto).

Requests are plain dictionaries: method, path, authority, headers, uri (of the peer, empty for none), ip, port, sni,
destination. Tokens and dynamic metadata there are none.
"""

import ipaddress
import re


def allows(filters, request):
    """Whether a chain of RBAC filters lets the request pass; shadow rules never count."""
    return all(_passes(each["typedConfig"].get("rules"), request) for each in filters)


def _passes(rules, request):
    if rules is None or rules.get("action") == "LOG":
        return True
    matched = any(matches(policy, request) for policy in rules.get("policies", {}).values())
    return not matched if rules.get("action") == "DENY" else matched


def matches(policy, request):
    """Whether one policy of the filter, which is one rule of a document, matches."""
    return all(any(holds(each, request) for each in policy[part]) for part in ("permissions", "principals"))


def alternatives(policy):
    """For each pair of a permission and a principal of the policy, what must hold for it to match."""
    for permission in policy["permissions"]:
        for principal in policy["principals"]:
            parts = [*_parts(permission, "andRules", "rules"), *_parts(principal, "andIds", "ids")]
            yield [each for each in parts if each != {"any": True}]


def _parts(matcher, kind, inside):
    return matcher[kind][inside] if kind in matcher else [matcher]


def holds(matcher, request):
    """One permission or principal."""
    ((kind, value),) = matcher.items()
    return MATCHERS[kind](value, request)


def string_matches(match, value):
    """One StringMatcher."""
    if "safeRegex" in match:
        return re.fullmatch(match["safeRegex"]["regex"], value, re.DOTALL) is not None
    fold = str.lower if match.get("ignoreCase") else str
    for kind, test in (("exact", str.__eq__), ("prefix", str.startswith), ("suffix", str.endswith)):
        if kind in match:
            return test(fold(value), fold(match[kind]))
    raise AssertionError(match)


def _header(match, request):
    special = {":authority": "authority", ":method": "method"}
    name = match["name"].lower()
    value = request[special[name]] if name in special else request["headers"].get(name)
    if value is None:
        return False
    if "presentMatch" in match:
        return match["presentMatch"]
    if "safeRegexMatch" in match:
        return re.fullmatch(match["safeRegexMatch"]["regex"], value) is not None
    return string_matches(match["stringMatch"], value)


def _block(block, address):
    return ipaddress.ip_address(address) in ipaddress.ip_network(
        f"{block['addressPrefix']}/{block['prefixLen']}", strict=False
    )


def _template(match, request):
    template = match["typedConfig"]["pathTemplate"]
    source = re.escape(template).replace(r"\*\*", ".*").replace(r"\*", "[^/]+")
    return re.fullmatch(source, request["path"]) is not None


def _authenticated(match, request):
    return bool(request["uri"]) and (
        "principalName" not in match or string_matches(match["principalName"], request["uri"])
    )


MATCHERS = {
    "any": lambda value, _: value,
    "andRules": lambda value, request: all(holds(each, request) for each in value["rules"]),
    "orRules": lambda value, request: any(holds(each, request) for each in value["rules"]),
    "notRule": lambda value, request: not holds(value, request),
    "andIds": lambda value, request: all(holds(each, request) for each in value["ids"]),
    "orIds": lambda value, request: any(holds(each, request) for each in value["ids"]),
    "notId": lambda value, request: not holds(value, request),
    "header": _header,
    "urlPath": lambda value, request: string_matches(value["path"], request["path"]),
    "uriTemplate": _template,
    "destinationPort": lambda value, request: value == request["port"],
    "destinationIp": lambda value, request: _block(value, request["destination"]),
    "requestedServerName": lambda value, request: string_matches(value, request["sni"]),
    "metadata": lambda _value, _request: False,
    "authenticated": _authenticated,
    "directRemoteIp": lambda value, request: _block(value, request["ip"]),
    "remoteIp": lambda value, request: _block(value, request["ip"]),
}
