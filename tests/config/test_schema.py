"""JSON Schemas say what loading checks."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import document, text_of
from support.openapi import violations

from meshd.config.schema import READ, json_schema


def resolved(schema, whole):
    """A schema with its references put in, so that the small validator can read it."""
    if isinstance(schema, list):
        return [resolved(item, whole) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return resolved(whole["$defs"][name], whole)
    return {key: resolved(item, whole) for key, item in schema.items() if key != "$defs"}


@pytest.mark.parametrize("kind", READ)
def test_every_kind_has_a_schema(kind):
    schema = json_schema(kind)
    assert schema["properties"]["kind"] == {"const": kind}
    assert schema["properties"]["apiVersion"]["enum"][0] == next(iter(READ[kind]))
    assert schema["additionalProperties"] is False


def test_unknown_kinds_are_told():
    with pytest.raises(LookupError, match="did you mean 'HTTPRoute'"):
        json_schema("HTTPRout")


def test_what_is_refused_is_not_offered():
    schema = json_schema("HTTPRoute")
    assert "externalAuth" not in schema["$defs"]["HTTPFilter"]["properties"]
    assert "useDefaultGateways" not in schema["$defs"]["HTTPRouteSpec"]["properties"]
    assert schema["$defs"]["HTTPRule"]["properties"]["timeouts"] == {"$ref": "#/$defs/Timeouts"}


def test_null_is_offered_where_it_means_something():
    telemetry = json_schema("Proxy")["$defs"]["Telemetry"]["properties"]
    assert {"type": "null"} in telemetry["otlp"]["anyOf"]
    assert "anyOf" not in json_schema("Proxy")["$defs"]["Identity"]["properties"]["serviceAccount"]


SPECS = {
    "HTTPRoute": "rules: [{matches: [{path: {value: /a}, method: GET}], timeouts: {request: 1s}}]",
    "BackendPolicy": "targetRefs: [{name: a}]\nretry: {on: [5xx], bufferLimit: 1Ki}\nwarm: {min: 2}",
    "DestinationRule": "host: a\ntrafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}",
}


@functools.cache
def fitting(kind):
    """The schema of a kind's spec, and a spec that loads."""
    whole = json_schema(kind)
    text = text_of(kind, next(iter(READ[kind])), SPECS[kind])
    data = document(text).model.model_dump(by_alias=True, exclude_unset=True)
    return resolved(whole, whole)["properties"]["spec"], data["spec"]


@pytest.mark.parametrize("kind", SPECS)
def test_what_loads_fits_the_schema(kind):
    assert violations(*fitting(kind)) == []


@pytest.mark.parametrize("kind", SPECS)
@given(key=st.from_regex(r"\A[a-z]{1,8}X\Z"))
def test_an_unknown_key_does_not_fit_the_schema(kind, key):
    schema, data = fitting(kind)
    assert violations(schema, data | {key: 1}) == [f".{key}: unknown"]
