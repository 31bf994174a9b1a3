"""The distribution: what is in it, and that what is installed from it works where no checkout is."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from meshd import __version__

TOP = Path(__file__).parents[1]
NAME = "meshd-proxy"
PARTS = ("meshd", "policies", "certs", "deploy")
FILES = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "requirements.lock")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
PYPROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())


def run(*argv, cwd, env=None, timeout=300):
    done = subprocess.run(
        [str(each) for each in argv], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(what, source, target):
    """What setuptools makes of a tree, without a network."""
    name = run(sys.executable, "-W", "ignore", "-c", BUILD, what, target, cwd=source).splitlines()[-1]
    return target / name


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        ignored = shutil.ignore_patterns("__pycache__", "out")
        shutil.copytree(TOP / part, source / part, symlinks=True, ignore=ignored)
    for name in FILES:
        shutil.copy(TOP / name, source / name)
    return build("build_sdist", source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Made of the source distribution, as an installer does that finds no wheel."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [unpacked] = folder.iterdir()
    return build("build_wheel", unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel, which sees this one's packages but not this checkout."""
    home = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    options = ("--no-index", "--no-deps", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=home)
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    Path(packages, "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


@pytest.fixture
def meshd(installed, tmp_path):
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return lambda *words: run(installed / "meshd", *words, cwd=tmp_path, env=environ)


def test_the_name_is_ours_alone():
    assert PYPROJECT["project"]["name"] == NAME
    assert PYPROJECT["project"]["scripts"] == {"meshd": "meshd.cli.main:main"}


def test_nothing_tells_anybody_to_install_the_project_of_another():
    wrong = re.compile(r"(?:pip|pipx|uv)\b[^\n`]*\b(?:install|run|add)\b[^\n`]*[ '\"]meshd(?![-\w./])")
    assert wrong.search("pip install meshd")
    assert wrong.search("pipx install 'meshd[fast]'")
    assert not wrong.search(f"pip install '{NAME}[fast]'")
    texts = [path for part in (*PARTS, "tests") for path in (TOP / part).rglob("*") if path.suffix in (".py", ".md")]
    texts += [TOP / name for name in FILES]
    assert not [str(path) for path in texts if path != Path(__file__) and wrong.search(path.read_text())]


@pytest.mark.slow
def test_the_source_distribution_is_whole(sdist):
    assert sdist.name == f"meshd_proxy-{__version__}.tar.gz"
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "Makefile", "policies/demo/canary.yaml", "deploy/Dockerfile"} <= names
    assert not [name for name in names if name.endswith((".pyc", ".key"))]


@pytest.mark.slow
def test_the_wheel_has_the_package_and_what_it_runs_on(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [archive.read(name).decode() for name in names if name.endswith("/METADATA")]
    policies = {f"meshd/demo/policies/{path.name}" for path in (TOP / "policies" / "demo").glob("*.yaml")}
    assert policies
    assert policies | {"meshd/py.typed", "meshd/cli/main.py"} <= names
    assert {name.split("/")[0] for name in names} == {"meshd", f"meshd_proxy-{__version__}.dist-info"}
    assert f"Name: {NAME}\n" in metadata
    assert "Author: the meshd authors\n" in metadata
    assert "Keywords: " in metadata


@pytest.mark.slow
def test_it_runs_from_an_empty_folder(meshd, installed, tmp_path):
    assert meshd("--version") == f"meshd {__version__}\n"
    where = run(installed / "python", "-c", "import meshd; print(meshd.__file__)", cwd=tmp_path).strip()
    assert str(TOP) not in where
    assert json.loads(meshd("schema", "Proxy"))["title"] == "Proxy"
    meshd("ca", "init")
    meshd("ca", "issue", "--service-account", "orders")
    meshd("ca", "verify")


@pytest.mark.slow
def test_the_whole_mesh_comes_up_from_a_wheel_and_on_documents_of_its_own(meshd, tmp_path):
    told = json.loads(meshd("up", "--for", "1s", "--json", "--folder", tmp_path / "mesh"))
    assert told["ok"]
    copied = {path.name: path.read_text() for path in (tmp_path / "mesh" / "policies").iterdir()}
    assert copied == {path.name: path.read_text() for path in (TOP / "policies" / "demo").iterdir()}
