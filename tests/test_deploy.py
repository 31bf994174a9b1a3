"""The deploy folder: what it says is accepted by the program it deploys, and what it names is there."""

import argparse
import importlib
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from support.processes import program

from meshd.admin.api import PAGES
from meshd.cli.check import check
from meshd.cli.main import COMMANDS
from meshd.config.bootstrap import load_proxy
from meshd.identity.ca import Authority, Order
from meshd.identity.spiffe import SpiffeId
from meshd.process.data_path import Compiler
from meshd.process.source import OWN_VARIABLES, Source
from meshd.telemetry.resource import DOWNWARD

TOP = Path(__file__).parents[1]
DEPLOY = TOP / "deploy"
ACCOUNTS = ("storefront", "reviews")
PROBED = "spec.admin.listen"  # a warning that is meant: probes come from another address
PLAIN_IMAGE = re.compile(r"([a-z0-9-]+/)?[a-z0-9-]+(:[a-z0-9.-]+)?")  # a dot in the first part would be a registry


def documents(path):
    return [each for each in yaml.safe_load_all((DEPLOY / path).read_text()) if each is not None]


COMPOSE = documents("compose.yaml")[0]
SERVICES = COMPOSE["services"]
SIDECARS = {name: each for name, each in SERVICES.items() if name.endswith("-sidecar")}
WORKLOADS = {name: documents(f"kubernetes/{name}.yaml") for name in ACCOUNTS}


def of_kind(found, kind):
    return next(each for each in found if each["kind"] == kind)


def pod_of(name):
    return of_kind(WORKLOADS[name], "Deployment")["spec"]["template"]["spec"]


def seconds(text):
    """Of a duration such as 25s, or a number."""
    return float(str(text).removesuffix("s"))


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """Each account's folder as a container sees /etc/meshd, with certificates."""
    top = tmp_path_factory.mktemp("deploy")
    folders = {}
    with Authority.create(top / "ca", "cluster.local", time.time()) as authority:
        for name in (*ACCOUNTS, "orders"):
            folders[name] = top / name
            for part in ("proxies", "policies"):
                shutil.copytree(DEPLOY / part, folders[name] / part)
            spiffe_id = SpiffeId.parse(f"spiffe://cluster.local/ns/shop/sa/{name}")
            authority.issue(Order(spiffe_id, folders[name] / "identity"), time.time())
        shutil.copy(DEPLOY / "systemd/proxy.yaml", folders["orders"] / "proxies/orders.yaml")
        yield folders


# -- documents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_file_is_yaml_of_mappings(path):
    found = documents(path)
    assert found
    assert all(isinstance(each, dict) for each in found)


@pytest.mark.parametrize("name", ACCOUNTS)
def test_a_sidecars_documents_have_nothing_wrong_with_them(certified, name):
    count, problems = check(certified[name] / f"proxies/{name}.yaml", [], time.time())
    assert [each for each in problems if each.field != PROBED] == []
    assert count == 5  # the bootstrap, a service, three policies


@pytest.mark.parametrize("name", [*ACCOUNTS, "orders"])
def test_a_sidecar_would_start_with_them(certified, name):
    folder = certified[name]
    source = Source(
        folder / f"proxies/{name}.yaml", {"spec.identity.certificates": str(folder / "identity")}, Compiler()
    )
    accepted = source.read_all(source.read_proxy(), 1)
    assert accepted.proxy.spiffe_id == f"spiffe://cluster.local/ns/shop/sa/{name}"


@pytest.mark.parametrize("path", ["sidecar.env", "systemd/sidecar.env"])
def test_every_variable_means_something(certified, path):
    lines = [line for line in (DEPLOY / path).read_text().splitlines() if line and not line.startswith("#")]
    environ = dict(line.split("=", 1) for line in lines)
    assert all(name.startswith(("MESHD_", "OTEL_")) for name in environ)
    given = {name: value for name, value in environ.items() if name not in OWN_VARIABLES}
    loaded = load_proxy(certified["orders"] / "proxies/orders.yaml", environ=given)
    assert loaded.problems == ()


def test_the_sidecars_send_where_the_collector_listens():
    collector = documents("otel-collector.yaml")[0]
    for pipeline in collector["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(collector[part])
    listens = {each["endpoint"].rpartition(":")[2] for each in collector["receivers"]["otlp"]["protocols"].values()}
    for name in ACCOUNTS:
        proxy = documents(f"proxies/{name}.yaml")[0]
        host, _, port = proxy["spec"]["telemetry"]["otlp"]["endpoint"].removeprefix("http://").partition(":")
        assert host in SERVICES
        assert port in listens


# -- command lines -----------------------------------------------------------------------------------------------------


def understood(words):
    """Whether meshd takes this command line; the error is argparse's."""
    end = words.index("--") if "--" in words else len(words)
    name = words[0]
    assert name in COMMANDS, words
    parser = argparse.ArgumentParser(prog="meshd")
    importlib.import_module(f"meshd.cli.{name}").add_parser(parser.add_subparsers(required=True))
    try:
        parser.parse_args(words[:end])
    except SystemExit:
        return False
    return True


def written(text):
    """Every command line of meshd in a script, a unit or the code blocks of a page."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    for line in lines:
        found = re.match(r"\s*(?:ExecStart=|sudo -u meshd )?(?:/opt/meshd/bin/)?meshd ([a-z].*)", line)
        if found and not line.startswith("meshd"):
            yield shlex.split(found[1].replace("$", "").replace("%i", "orders"), comments=True)


@pytest.mark.parametrize(
    "path", ["README.md", "issue-certificates.sh", "systemd/meshd@.service", "systemd/meshd-renew.service"]
)
def test_commands_are_ones_that_meshd_has(path):
    text = (DEPLOY / path).read_text()
    text = text if path != "issue-certificates.sh" else text.replace("\nmeshd", "\n meshd")
    found = list(written(text))
    assert found
    assert all(understood(words) for words in found)


def test_containers_are_given_commands_that_meshd_has():
    lines = [each["command"] for each in SIDECARS.values()]
    lines += [pod_of(name)["initContainers"][0]["args"] for name in ACCOUNTS]
    lines.append(SERVICES["certificates"]["healthcheck"]["test"][2:])
    lines.append(yaml.safe_load(re.search(r"^CMD (.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[1]))
    assert len(lines) == 6
    assert all(understood([str(word) for word in words]) for words in lines)


# -- containers --------------------------------------------------------------------------------------------------------


def test_the_image_copies_what_is_there_and_is_not_ignored():
    text = (DEPLOY / "Dockerfile").read_text()
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    sources = [word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert sources
    for source in sources:
        assert (TOP / source).exists()
        assert source.split("/")[0] in kept
    images = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(images) == 2
    assert all(PLAIN_IMAGE.fullmatch(image) for image in images)
    user = re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    assert user == [("10001", "10001")]


def test_compose_names_files_services_and_volumes_that_exist():
    for service in SERVICES.values():
        assert PLAIN_IMAGE.fullmatch(service["image"])
        for volume in service.get("volumes", ()):
            source = volume["source"]
            assert source in COMPOSE["volumes"] if volume["type"] == "volume" else (DEPLOY / source).exists()
        for name in service.get("env_file", ()):
            assert (DEPLOY / name).is_file()
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        if (mode := service.get("network_mode", "")).startswith("service:"):
            assert mode.removeprefix("service:") in SIDECARS
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", ACCOUNTS)
def test_a_compose_sidecar_gets_its_own_identity_and_time_to_drain(name):
    sidecar = SIDECARS[f"{name}-sidecar"]
    proxy = documents(f"proxies/{name}.yaml")[0]["spec"]
    mounts = {each["target"]: each for each in sidecar["volumes"]}
    assert sidecar["command"][-1] == f"/etc/meshd/proxies/{name}.yaml"
    assert mounts["/etc/meshd/proxies"]["source"] == "./proxies"
    assert mounts["/etc/meshd/policies"]["source"] == "./policies"
    assert mounts["/etc/meshd/identity"]["volume"]["subpath"] == f"shop.{name}"
    assert "/ready" in sidecar["healthcheck"]["test"][-1]
    assert proxy["admin"]["listen"].rpartition(":")[2] in sidecar["healthcheck"]["test"][-1]
    assert seconds(sidecar["stop_grace_period"]) > seconds(proxy["drain"]) + 1
    app = SERVICES[name]
    assert app["depends_on"][f"{name}-sidecar"]["condition"] == "service_healthy"
    assert proxy["inbound"][0]["app"].endswith(f":{app['entrypoint'][-1]}")


# -- Kubernetes --------------------------------------------------------------------------------------------------------


def test_kustomization_names_files_that_exist():
    found = documents("kustomization.yaml")[0]
    listed = [*found["resources"], *(file for each in found["configMapGenerator"] for file in each["files"])]
    assert all((DEPLOY / path).is_file() for path in listed)
    assert {path.name for path in (DEPLOY / "kubernetes").iterdir()} == {Path(path).name for path in found["resources"]}
    for part in ("proxies", "policies"):
        assert {f"{part}/{path.name}" for path in (DEPLOY / part).iterdir()} <= set(listed)


@pytest.mark.parametrize("name", ACCOUNTS)
def test_a_pod_has_its_sidecar_first_and_everything_it_mounts(name):
    pod = pod_of(name)
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    proxy = documents(f"proxies/{name}.yaml")[0]["spec"]
    assert sidecar["args"][-1] == f"/etc/meshd/proxies/{name}.yaml"
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert {each["name"] for each in sidecar["volumeMounts"]} == set(volumes)
    assert [each["mountPath"] for each in sidecar["volumeMounts"]] == [
        f"/etc/meshd/{part}" for part in ("proxies", "policies", "identity")
    ]
    generated = {each["name"] for each in documents("kustomization.yaml")[0]["configMapGenerator"]}
    assert {volumes[part]["configMap"]["name"] for part in ("proxies", "policies")} <= generated
    assert volumes["identity"]["secret"] == {"secretName": f"{name}-identity", "defaultMode": 0o440}
    assert f"create secret generic {name}-identity" in (DEPLOY / "README.md").read_text()
    ports = {each["name"]: each["containerPort"] for each in sidecar["ports"]}
    listens = {int(each["listen"].rpartition(":")[2]) for each in (*proxy["inbound"], proxy["admin"])}
    assert set(ports.values()) == listens
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert sidecar[probe]["httpGet"]["path"] in PAGES
        assert ports[sidecar[probe]["httpGet"]["port"]] == 15000
    assert pod["terminationGracePeriodSeconds"] > seconds(proxy["drain"])
    assert pod["serviceAccountName"] == of_kind(WORKLOADS[name], "ServiceAccount")["metadata"]["name"] == name
    for container in (sidecar, *pod["containers"]):
        assert PLAIN_IMAGE.fullmatch(container["image"])
        assert container["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.parametrize("name", ACCOUNTS)
def test_a_service_leads_to_the_sidecar(name):
    service, pod = of_kind(WORKLOADS[name], "Service")["spec"], pod_of(name)
    labels = of_kind(WORKLOADS[name], "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    named = {each["name"] for each in pod["initContainers"][0]["ports"]}
    assert {port["targetPort"] for port in service["ports"]} <= named


def test_the_policies_look_for_reviews_where_it_is():
    (entry,) = documents("policies/services.yaml")
    (endpoint,) = entry["spec"]["endpoints"]
    assert endpoint["address"] in SIDECARS["reviews-sidecar"]["networks"]["default"]["aliases"]
    service = of_kind(WORKLOADS["reviews"], "Service")
    assert endpoint["address"] == service["metadata"]["name"]
    assert endpoint["ports"] == {"http": service["spec"]["ports"][0]["port"]}


def test_kustomize_builds_it():
    kubectl = program("kubectl")
    done = subprocess.run([kubectl, "kustomize", str(DEPLOY)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert {each["metadata"].get("namespace") for each in built if each["kind"] != "Namespace"} == {"shop"}
    maps = {each["metadata"]["name"]: set(each["data"]) for each in built if each["kind"] == "ConfigMap"}
    assert maps["mesh-proxies"] == {"storefront.yaml", "reviews.yaml"}


def test_documents_are_read_as_kubernetes_mounts_them(certified, tmp_path):
    """A ConfigMap is a folder of links into `..data`, itself a link to a folder with a date for a name."""
    (tmp_path / "identity").symlink_to(certified["reviews"] / "identity")
    for part in ("proxies", "policies"):
        shutil.copytree(DEPLOY / part, tmp_path / part / "..2026_01_01")
        (tmp_path / part / "..data").symlink_to("..2026_01_01")
        for file in (DEPLOY / part).iterdir():
            (tmp_path / part / file.name).symlink_to(f"..data/{file.name}")
    count, problems = check(tmp_path / "proxies/reviews.yaml", [], time.time())
    assert (count, [each.field for each in problems]) == (5, [PROBED])


# -- systemd -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path):
    """The units, with a program that is there."""
    for path in (DEPLOY / "systemd").glob("meshd*"):
        text = path.read_text().replace("/opt/meshd/bin/meshd", shutil.which("true") or "")
        (tmp_path / path.name).write_text(text)
    (tmp_path / "meshd@.service").rename(tmp_path / "meshd@orders.service")
    return tmp_path


def analyze(*arguments):
    argv = [program("systemd-analyze"), *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("unit", ["meshd@orders.service", "meshd-renew.service", "meshd-renew.timer"])
def test_systemd_understands_every_line(units, unit):
    done = analyze("verify", "--recursive-errors=no", "--man=no", units / unit)
    about = [line for line in done.stderr.splitlines() if unit in line]
    assert (done.returncode, about) == (0, []), done.stderr


def test_the_sidecar_is_locked_in(units):
    done = analyze("security", "--offline=true", "--no-pager", "--threshold=20", units / "meshd@orders.service")
    assert done.returncode == 0, done.stdout


def test_the_unit_gives_it_time_to_drain():
    unit = (DEPLOY / "systemd/meshd@.service").read_text()
    (limit,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(limit) > seconds(documents("systemd/proxy.yaml")[0]["spec"]["drain"]) + 1


def test_the_page_installs_files_that_exist():
    named = re.findall(r"deploy/[\w@./*-]*[\w*]", (DEPLOY / "README.md").read_text())
    assert len(named) > 5
    assert all(list(TOP.glob(name)) for name in named)


def test_the_collector_takes_every_signal():
    pipelines = documents("otel-collector.yaml")[0]["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics", "logs"}


@pytest.mark.parametrize("name", ACCOUNTS)
def test_the_pod_is_told_to_the_sidecar_by_names_that_it_reads(name):
    (sidecar,) = [each for each in pod_of(name)["initContainers"] if each["name"] == "meshd"]
    told = {each["name"] for each in sidecar["env"]} - {"MESHD_LOG_FORMAT"}
    assert {"POD_NAME", "POD_UID", "POD_NAMESPACE", "NODE_NAME"} <= told <= DOWNWARD.keys()
