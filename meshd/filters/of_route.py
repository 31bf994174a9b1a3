"""The filters of a route rule, or of one of its backends, as the steps of a chain, in their order."""

from collections.abc import Callable, Iterable
from random import Random

from meshd.config.references import BackendObjectRef
from meshd.config.route_filters import HTTPFilter
from meshd.core.chain import EMPTY_CHAIN, Chain, RequestStep, ResponseStep
from meshd.filters import cors, headers, mirror, redirect, rewrite

random = Random()  # noqa: S311  # draws shares


def chain_of(filters: Iterable[HTTPFilter], prefix: bytes, cluster_of: Callable[[BackendObjectRef], str]) -> Chain:
    """`prefix` is the path prefix that the rule matched, for what is put in its place. `cluster_of` a backend that does
    not exist is empty: such a mirror is dropped, as the standard says."""
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
        if each.request_mirror is not None and (cluster := cluster_of(each.request_mirror.backend_ref)):
            requests.append(mirror.request_step(each.request_mirror, cluster, random))
        if each.url_rewrite is not None:
            requests.append(rewrite.request_step(each.url_rewrite, prefix))
        if each.request_redirect is not None:
            requests.append(redirect.request_step(each.request_redirect, prefix))
    return Chain(tuple(requests), tuple(responses)) if requests or responses else EMPTY_CHAIN
