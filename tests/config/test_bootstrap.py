"""The bootstrap from a file: order of sources, paths, where each value came from."""

import pickle

import pytest

from meshd.config.errors import ConfigError
from meshd.config.load import load_proxy

TEXT = """apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: orders}
spec:
  workers: ${WORKERS}
  identity: {certificates: certs}
  outbound:
  - {listen: "127.0.0.1:0"}
"""


@pytest.fixture
def write(tmp_path):
    def write(text=TEXT):
        file = tmp_path / "proxy.yaml"
        file.write_text(text)
        return file

    return write


def refusal(file, **more):
    with pytest.raises(ConfigError) as caught:
        load_proxy(file, more, {"WORKERS": "1"})
    return caught.value.problems


def test_flags_win_over_the_environment_and_that_over_the_document(write):
    environ = {"WORKERS": "2"}
    assert load_proxy(write(), {}, environ).proxy.spec.workers == 2
    environ["MESHD_WORKERS"] = "3"
    assert load_proxy(write(), {}, environ).proxy.spec.workers == 3
    loaded = load_proxy(write(), {"workers": "4"}, environ)
    assert loaded.proxy.spec.workers == 4
    assert loaded.sources["spec.workers"] == "flag spec.workers"


def test_every_value_knows_its_source(write):
    file = write()
    sources = load_proxy(file, {}, {"WORKERS": "2", "MESHD_ADMIN_LISTEN": "127.0.0.1:1"}).sources
    assert sources["spec.workers"] == f"{file}:5 (env)"
    assert sources["spec.admin.listen"] == "env MESHD_ADMIN_LISTEN"
    assert sources["spec.identity.certificates"] == f"{file}:6"
    assert sources["spec.outbound[0].listen"] == f"{file}:8"
    assert sources["spec.drain"] == sources["spec.telemetry.otlp"] == sources["spec.inbound"] == "default"


def test_the_environment_asks_for_an_exporter_by_one_field(write):
    environ = {"WORKERS": "1", "MESHD_TELEMETRY_OTLP_ENDPOINT": "http://c:4318"}
    otlp = load_proxy(write(), {}, environ).proxy.spec.telemetry.otlp
    assert (otlp.endpoint, otlp.protocol) == ("http://c:4318", "http/protobuf")


def test_relative_paths_count_from_the_folder_of_the_document(write, tmp_path, monkeypatch):
    (tmp_path / "policies").mkdir()
    file = write(TEXT + "  telemetry: {accessLog: {path: ../log}}\n")
    monkeypatch.chdir(tmp_path.parent)
    loaded = load_proxy(file.relative_to(tmp_path.parent), {}, {"WORKERS": "1"})
    assert loaded.certificates == tmp_path / "certs"
    assert loaded.policies == (tmp_path / "policies",)
    assert loaded.access_log == tmp_path.parent / "log"
    assert loaded.file == file


def test_a_default_folder_need_not_exist_but_a_named_one_counts(write, tmp_path):
    assert load_proxy(write(), {}, {"WORKERS": "1"}).policies == ()
    assert load_proxy(write(TEXT + "  policies: [/a, b]\n"), {}, {"WORKERS": "1"}).policies[1] == tmp_path / "b"


def test_off_means_no_path(write):
    loaded = load_proxy(write(), {"identity": "null", "telemetry": "null"}, {"WORKERS": "1"})
    assert (loaded.certificates, loaded.access_log) == (None, None)


def test_an_unset_variable_names_line_and_remedy(write):
    with pytest.raises(ConfigError) as caught:
        load_proxy(write(), {}, {})
    [problem] = caught.value.problems
    assert (problem.line, problem.field) == (5, "spec.workers")
    assert "set it" in problem.expected


def test_a_bad_override_names_where_it_came_from(write):
    [problem] = refusal(write(), drain="soon")
    assert (problem.file, problem.field, problem.given) == ("flag spec.drain", "spec.drain", "'soon'")
    with pytest.raises(ConfigError) as caught:
        load_proxy(write(), {}, {"WORKERS": "1", "MESHD_TELEMETRY_SAMPLING": "2"})
    assert caught.value.problems[0].file == "env MESHD_TELEMETRY_SAMPLING"


def test_a_flag_that_names_nothing_says_so(write):
    [problem] = refusal(write(), **{"spec.wrokers.x": "1"})
    assert (problem.file, problem.suggestion) == ("flag spec.wrokers.x", "did you mean 'workers'?")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there are 0"),
        (TEXT + "---\n" + TEXT, "there are 2"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n", "expected kind Proxy"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", "expected kind Proxy"),
        ("apiVersion: v1\nkind: Prxoy\n", "expected a known kind"),
        ("a: [", "not YAML"),
    ],
)
def test_the_file_holds_one_proxy(write, text, said):
    [problem] = refusal(write(text))
    assert said in problem.expected


def test_a_file_that_is_not_there(tmp_path):
    assert "cannot be read" in refusal(tmp_path / "none.yaml")[0].expected


def test_strange_variables_are_a_warning(write):
    [problem] = load_proxy(write(), {}, {"WORKERS": "1", "MESHD_DRIAN": "1s"}).problems
    assert (problem.severity, "MESHD_DRAIN" in problem.expected) == ("warning", True)


def test_places_and_travel(write):
    file = write()
    loaded = load_proxy(file, {}, {"WORKERS": "1"})
    assert loaded.where(("spec", "outbound", 0, "listen")) == (str(file), 8, 14)
    assert loaded.where(("spec", "outbound"), key=True) == (str(file), 7, 3)
    assert pickle.loads(pickle.dumps(loaded)) == loaded
    assert repr(loaded) == f"<LoadedProxy default/orders {file}>"
