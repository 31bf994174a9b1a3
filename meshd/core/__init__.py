"""The nouns every room speaks of: slots only, no trio, pydantic, OpenTelemetry or OpenSSL, nothing from other rooms."""
