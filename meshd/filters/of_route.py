"""The filters of a route rule, or of one of its backends, as the steps of a chain, in their order."""

from collections.abc import Iterable

from meshd.config.route_filters import HTTPFilter
from meshd.core.chain import EMPTY_CHAIN, Chain, RequestStep, ResponseStep
from meshd.filters import cors, headers, redirect, rewrite


def chain_of(filters: Iterable[HTTPFilter], prefix: bytes) -> Chain:
    """`prefix` is the path prefix that the rule matched, for what is put in its place."""
    requests: list[RequestStep] = []
    responses: list[ResponseStep] = []
    for each in filters:
        if each.request_header_modifier is not None:
            requests.append(headers.request_step(each.request_header_modifier))
        if each.response_header_modifier is not None:
            responses.append(headers.response_step(each.response_header_modifier))
        if each.cors is not None:
            requests.append(cors.request_step(each.cors))
            responses.append(cors.response_step(each.cors))
        if each.url_rewrite is not None:
            requests.append(rewrite.request_step(each.url_rewrite, prefix))
        if each.request_redirect is not None:
            requests.append(redirect.request_step(each.request_redirect, prefix))
    return Chain(tuple(requests), tuple(responses)) if requests or responses else EMPTY_CHAIN
