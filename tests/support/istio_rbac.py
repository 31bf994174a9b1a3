"""What Istio makes of AuthorizationPolicies for Envoy, as its own golden files show it: two RBAC configurations, one of
what is denied and one of what is allowed (None where there is none)."""

import re

TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"


def rbac_of(policies):
    """`policies` are the specs of documents in namespace foo, in order: dictionaries as people write them."""
    return _rules(policies, "DENY"), _rules(policies, "ALLOW")


def _rules(policies, action):
    chosen = [each for each in policies if each.get("action", "ALLOW") == action]
    if not chosen:
        return None
    found = {}
    for number, policy in enumerate(chosen):
        for place, rule in enumerate(policy["rules"]):
            found[f"policy[{number}]-rule[{place}]"] = _policy(rule)
    never = {"permissions": [{"notRule": {"any": True}}], "principals": [{"notId": {"any": True}}]}
    return {"action": action, "policies": found or {"none": never}}


def _policy(rule):
    conditions = [_condition(each) for each in rule.get("when", ())]
    rules = [each for kind, found in conditions if kind == "Rule" for each in found]
    ids = [each for kind, found in conditions if kind == "Id" for each in found]
    permissions = [[*_all(each["operation"], OPERATION, "Rule"), *rules] for each in rule.get("to", ())] or [rules]
    principals = [[*_all(each["source"], SOURCE, "Id"), *ids] for each in rule.get("from", ())] or [ids]
    return {
        "permissions": [{"andRules": {"rules": each or [{"any": True}]}} for each in permissions],
        "principals": [{"andIds": {"ids": each or [{"any": True}]}} for each in principals],
    }


def _all(document, fields, kind):
    for name, make in fields.items():
        twin = "not" + name[0].upper() + name[1:]
        yield from _pair(document.get(name), document.get(twin), make, kind)


def _pair(wanted, unwanted, make, kind):
    many = {"Rule": ("orRules", "rules", "notRule"), "Id": ("orIds", "ids", "notId")}[kind]
    either, inside, inverse = many
    if wanted:
        yield {either: {inside: [make(each) for each in wanted]}}
    if unwanted:
        yield {inverse: {either: {inside: [make(each) for each in unwanted]}}}


def _condition(condition):
    key = condition["key"]
    header = re.fullmatch(r"request\.headers\[(.+)\]", key)
    kind, make = ("Id", _header(header[1])) if header else CONDITIONS[key]
    return kind, list(_pair(condition.get("values"), condition.get("notValues"), make, kind))


def _string(value, **more):
    if value == "*":
        return {"safeRegex": {"regex": ".+"}}
    if value.startswith("*"):
        return {"suffix": value[1:], **more}
    return {"prefix": value[:-1], **more} if value.endswith("*") else {"exact": value, **more}


def _header(name, **more):
    def make(value):
        if value == "*":
            return {"header": {"name": name, "presentMatch": True}}
        return {"header": {"name": name, "stringMatch": _string(value, **more)}}

    return make


def _path(value):
    if "{" in value:
        template = {"@type": TEMPLATE, "pathTemplate": value.replace("{*}", "*").replace("{**}", "**")}
        return {"uriTemplate": {"name": "uri-template", "typedConfig": template}}
    return {"urlPath": {"path": _string(value)}}


def _authenticated(match):
    return {"authenticated": {"principalName": match}}


def _regex(text):
    return _authenticated({"safeRegex": {"regex": text}})


def _quoted(value, star):
    return star.join(re.escape(part) for part in value.split("*"))


def _principal(value):
    if value == "*":
        return _regex(".+")
    if value.startswith("*"):
        return _regex("spiffe://.*" + re.escape(value[1:]))
    return _authenticated(_string("spiffe://" + value))


def _namespace(value):
    return _regex(f".*/ns/{_quoted(value, '.*')}/.*")


def _account(value):
    namespace, _, name = value.rpartition("/")
    return _regex(f"spiffe://.+/ns/{re.escape(namespace or 'foo')}/(.+/|)sa/{re.escape(name)}(/.+)?")


def _trust_domain(value):
    if "*" in value:
        return _regex(f"spiffe://{_quoted(value, '[^/]*')}/.*")
    return _authenticated({"prefix": f"spiffe://{value}/"})


def _block(kind):
    def make(value):
        address, _, length = value.partition("/")
        return {kind: {"addressPrefix": address, "prefixLen": int(length or 32)}}

    return make


def _port(value):
    return {"destinationPort": int(value)}


def _of_token(_value):
    """There is no token: any part of one is missing."""
    path, value = [{"key": "payload"}, {"key": "iss"}], {"stringMatch": {"safeRegex": {"regex": ".+"}}}
    return {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": path, "value": value}}


OPERATION = {
    "hosts": _header(":authority", ignoreCase=True),
    "methods": _header(":method"),
    "paths": _path,
    "ports": _port,
}
SOURCE = {
    "principals": _principal,
    "requestPrincipals": _of_token,
    "namespaces": _namespace,
    "serviceAccounts": _account,
    "trustDomains": _trust_domain,
    "ipBlocks": _block("directRemoteIp"),
    "remoteIpBlocks": _block("remoteIp"),
}
CONDITIONS = {
    "source.ip": ("Id", _block("directRemoteIp")),
    "remote.ip": ("Id", _block("remoteIp")),
    "source.namespace": ("Id", _namespace),
    "source.principal": ("Id", _principal),
    "source.serviceAccount": ("Id", _account),
    "request.auth.principal": ("Id", _of_token),
    "destination.ip": ("Rule", _block("destinationIp")),
    "destination.port": ("Rule", _port),
    "connection.sni": ("Rule", lambda value: {"requestedServerName": _string(value)}),
}
