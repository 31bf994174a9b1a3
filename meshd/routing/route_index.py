"""Routes by the parents they name, so that a service port looks at its own alone."""

from collections.abc import Iterable, Sequence

from meshd.routing.http_routes import AnyRoute, Parent


class RouteIndex:
    """HTTPRoutes and GRPCRoutes, in the order they were added."""

    __slots__ = ("_by_parent",)

    def __init__(self, routes: Iterable[AnyRoute] = ()) -> None:
        self._by_parent: dict[tuple[str, str, str], list[AnyRoute]] = {}
        for route in routes:
            self.add(route)

    def add(self, route: AnyRoute) -> None:
        """One more, after those that are there."""
        for ref in route.spec.parent_refs:
            if ref.is_service or ref.is_service_entry:
                found = self._by_parent.setdefault((ref.kind, ref.namespace or route.namespace, ref.name), [])
                if not found or found[-1] is not route:  # it may name several ports of one service
                    found.append(route)

    def find(self, parent: Parent) -> Sequence[AnyRoute]:
        """Those that name this service, whichever of its ports."""
        return self._by_parent.get((parent.kind, parent.namespace, parent.name), ())

    def __repr__(self) -> str:
        return f"<RouteIndex of {len(self._by_parent)} services>"
