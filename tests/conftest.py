"""How every test runs: coroutine tests under trio, virtual time on request, hypothesis profiles."""

import functools
import inspect
import os
import sys
from pathlib import Path

import hypothesis
import pytest
import trio
import trio.testing

sys.path.insert(0, str(Path(__file__).parent))  # so that `from support.x import y` works from any test

hypothesis.settings.register_profile("fast", max_examples=50, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True)
hypothesis.settings.register_profile(
    "unit", max_examples=10, deadline=None
)  # of `make unit`: enough to see that it runs
hypothesis.settings.register_profile("deep", max_examples=5000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "fast"))


@pytest.fixture
def autojump_clock():
    """A clock that jumps to the next deadline whenever every task waits: time-outs cost no time."""
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run `async def` tests with trio, on the test's virtual clock if it asked for one."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    clock = next((value for value in arguments.values() if isinstance(value, trio.abc.Clock)), None)

    async def bounded():
        with trio.fail_after(60):
            await pyfuncitem.obj(**arguments)

    trio.run(functools.partial(bounded), clock=clock)
    return True


@pytest.fixture
def build(tmp_path):
    """Compile documents of this text, after another snapshot."""
    from support.compiled import OUTBOUND, proxy

    from meshd.compile import compile_snapshot
    from meshd.config.load import load_policies

    def built(*texts, previous=None, spec=OUTBOUND, identity="", credentials=None):
        (tmp_path / "policies.yaml").write_text("\n---\n".join(texts) or "{apiVersion: v1, kind: List, items: []}")
        documents = load_policies([tmp_path / "policies.yaml"])
        return compile_snapshot(proxy(spec, identity), documents, credentials, previous)

    return built
