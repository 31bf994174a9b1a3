"""The processes of the demonstration: a CA, three apps, two sidecars, all on loopback and in one folder.

Rule 1: every process is ended by whoever leaves the `with` block, however it is left: sidecars first, so that they
drain while their apps are there.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from meshd.identity.ca import Authority, Order
from meshd.identity.spiffe import SpiffeId

TRUST_DOMAIN: Final = "demo.mesh"
START_LIMIT: Final = 20.0  # seconds
END_LIMIT: Final = 15.0


class DemoFailed(Exception):
    """The mesh did not come up; the message says which part and what it said."""


class Mesh:
    """A running mesh. `folder` keeps documents, certificates and logs; a temporary one is removed at the end. With
    `copies` it runs on a copy of the policies there, for those of an installed package are nobody's to change."""

    def __init__(self, policies: Path, otlp: str | None, folder: Path | None = None, *, copies: bool = False) -> None:
        self.policies = policies.resolve()
        self.otlp = otlp
        self.folder = folder.resolve() if folder else Path(tempfile.mkdtemp(prefix="meshd-up-"))
        self.storefront = ""  # host:port of the app that customers call
        self.reviews: dict[str, str] = {}  # version to host:port of the app itself
        self.admin: dict[str, str] = {}  # sidecar to host:port
        self._temporary = folder is None
        self._copies = copies
        self._sidecars: list[subprocess.Popen[bytes]] = []
        self._apps: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "endpoints").mkdir(exist_ok=True)
        if self._copies:
            packaged, self.policies = self.policies, self.folder / "policies"
            if not self.policies.exists():
                shutil.copytree(packaged, self.policies)
        self._issue()
        for version in ("v1", "v2"):
            self.reviews[version] = self._app(f"reviews-{version}", "reviews", version)
        inbound = [{"listen": "127.0.0.1:0", "app": app, "protocol": "http"} for app in self.reviews.values()]
        told = self._sidecar("reviews", inbound=inbound)
        places = [each["address"] for each in told["listeners"]]
        self._write_endpoints(dict(zip(self.reviews, places, strict=True)))
        told = self._sidecar("storefront", outbound=[{"listen": "127.0.0.1:0", "protocol": "http"}])
        self.storefront = self._app("storefront", "storefront", told["listeners"][0]["address"])

    def _issue(self) -> None:
        """A CA and the identities it vouches for."""
        home = self.folder / "ca"
        now = time.time()
        with Authority.open(home) if home.exists() else Authority.create(home, TRUST_DOMAIN, now) as authority:
            for name in ("storefront", "reviews"):
                spiffe_id = SpiffeId.parse(f"spiffe://{TRUST_DOMAIN}/ns/default/sa/{name}")
                authority.issue(Order(spiffe_id, self.folder / "identities" / name), now, force=True)

    def _write_endpoints(self, places: dict[str, str]) -> None:
        """Where the services are: the part of the documents that depends on which ports were free."""
        slices = [_slice(f"reviews-{version}", address) for version, address in places.items()]
        text = "\n---\n".join(json.dumps(each, indent=2) for each in slices)
        (self.folder / "endpoints" / "endpoints.yaml").write_text(text + "\n")

    def _sidecar(self, name: str, **listeners: object) -> dict[str, list[dict[str, str]]]:
        """Start `meshd run`, wait until it serves, and return what it says of itself."""
        telemetry: dict[str, object] = {
            "accessLog": {"path": str(self.folder / f"{name}.access.log")},
            "istioMetrics": True,
        }
        if self.otlp:
            telemetry["otlp"] = {"endpoint": self.otlp, "logs": True}
        document = {
            "apiVersion": "meshd.dev/v1alpha1",
            "kind": "Proxy",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {
                "identity": {
                    "trustDomain": TRUST_DOMAIN,
                    "serviceAccount": name,
                    "certificates": str(self.folder / "identities" / name),
                },
                **listeners,
                "admin": {"listen": "127.0.0.1:0"},
                "policies": [str(self.policies), str(self.folder / "endpoints")],
                "telemetry": telemetry,
                "drain": "2s",
            },
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(document, indent=2) + "\n")
        ready, log = self.folder / f"{name}.ready", self.folder / f"{name}.log"
        ready.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "meshd", "run", "-f", str(path), "--ready-file", str(ready)]
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603  # ourselves
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._sidecars.append(process)
        end = time.perf_counter() + START_LIMIT
        while not ready.exists():
            if process.poll() is not None or time.perf_counter() > end:
                raise DemoFailed(f"the sidecar of {name} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.01)
        told: dict[str, list[dict[str, str]]] = json.loads(ready.read_text())
        self.admin[name] = str(told["admin"])
        return told

    def _app(self, name: str, *arguments: str) -> str:
        """Start an app and return its address."""
        argv = [sys.executable, "-m", "meshd.demo.app", *arguments]
        with (self.folder / f"{name}.app.log").open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        self._apps.append(process)
        port = _first_line(process.stdout)
        if not port:
            raise DemoFailed(f"the app {name} did not start; see {self.folder}/{name}.app.log")
        return f"127.0.0.1:{port}"

    def _stop(self) -> None:
        for processes in (self._sidecars, self._apps):
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(END_LIMIT)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                if process.stdout is not None:
                    process.stdout.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __repr__(self) -> str:
        return f"<Mesh in {self.folder}>"


def _first_line(stream: IO[bytes] | None) -> str:
    return stream.readline().decode().strip() if stream is not None else ""


def _slice(service: str, address: str) -> dict[str, object]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": service, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": int(address.rpartition(":")[2])}],
        "endpoints": [{"addresses": ["127.0.0.1"]}],
    }
