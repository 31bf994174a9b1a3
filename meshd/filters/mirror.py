"""RequestMirror: which requests are also sent elsewhere (Gateway API HTTPRequestMirrorFilter).

The step only draws and says where to; the copies are made by the forwarder, once the whole body is there.
"""

from random import Random

from meshd.config.route_filters import RequestMirror
from meshd.core.asked import Asked
from meshd.core.chain import RequestStep
from meshd.core.exchange import Exchange
from meshd.core.reply import Reply


def request_step(mirror: RequestMirror, cluster: str, random: Random) -> RequestStep:
    """Asks for a copy to `cluster` of the share of requests that the document says. Several draw apart."""
    share = mirror.share

    def step(exchange: Exchange) -> Reply | None:
        if random.random() < share:
            if exchange.asked is None:
                exchange.asked = Asked()
            exchange.asked.mirrors.append(cluster)
        return None

    return step
