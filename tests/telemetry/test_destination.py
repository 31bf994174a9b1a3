"""What the name of a cluster says of where its requests go."""

import pytest

from meshd.telemetry.destination import destination_of


@pytest.mark.parametrize(
    ("cluster", "wanted"),
    [
        ("default/reviews:80", ("reviews.default.svc.cluster.local", 80, "reviews", "default")),
        ("default/reviews:80/v2", ("reviews.default.svc.cluster.local", 80, "reviews", "default")),
        ("api.example.com:443", ("api.example.com", 443, "api.example.com", "")),
        ("*.example.com:443/canary", ("*.example.com", 443, "*.example.com", "")),
        ("[::1]:80", ("::1", 80, "[::1]", "")),
        ("app:127.0.0.1:8080", ("127.0.0.1", 8080, "", "")),
        ("app:[::1]:8080", ("::1", 8080, "", "")),
        ("app:/run/app.sock", ("/run/app.sock", 0, "", "")),
        ("", ("", 0, "", "")),
        ("nonsense", ("", 0, "", "")),
    ],
)
def test_a_clusters_name_is_read(cluster, wanted):
    assert destination_of(cluster) == wanted
