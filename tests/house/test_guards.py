"""The guard is itself tested: on small test runs that leak in every way it watches."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CONFTEST = """
import sys
sys.path.insert(0, {root!r})
from tests.support.canary_guard import CanaryGuard, watched_files
from tests.support.skip_count import SkipCount

def pytest_configure(config):
    config.addinivalue_line("markers", "prints_identifiers: x")
    config.addinivalue_line("markers", "real_parts: x")
    config.addinivalue_line("markers", "shared: x")
    config.pluginmanager.register(SkipCount())
    config.pluginmanager.register(CanaryGuard())
"""

LEAKS = {
    "standard output": "def test_it(): print('CANARY^ZEBRA')",
    "standard error": "import sys\ndef test_it(): print('MRN CANARY-1', file=sys.stderr)",
    "a log": "import logging\ndef test_it(): logging.getLogger('x').warning('born %s', 'ZEBRA')",
    "output that the test read": "def test_it(capsys):\n    print('CANARY-1')\n    capsys.readouterr()",
    "a log of the fixtures": "import pytest\n@pytest.fixture\ndef f():\n    yield\n    print('CANARY-1')\ndef test_it(f): pass",
    "a log file": "def test_it(tmp_path): (tmp_path / 'server.log').write_text('CANARY-1')",
    "a model input": (
        "def test_it(tmp_path):\n    folder = tmp_path / 'deidentified' / 'job'\n    folder.mkdir(parents=True)\n"
        "    (folder / '1.dcm').write_bytes(b'\\0CANARY-1\\0')"
    ),
    "a watched file": (
        "def test_it(tmp_path, watched_files):\n    path = tmp_path / 'out'\n    path.write_text('ZEBRA')\n    watched_files.append(path)"
    ),
    "a page": (
        "import flask\ndef test_it():\n    app = flask.Flask('x')\n    app.add_url_rule('/', view_func=lambda: 'CANARY')\n"
        "    app.test_client().get('/')"
    ),
    "a command's output": (
        "import click\nfrom click.testing import CliRunner\n@click.command()\ndef show(): click.echo('CANARY-1')\n"
        "def test_it(): CliRunner().invoke(show)"
    ),
}


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("REQUIRE_REAL_PARTS", raising=False)
    pytester.makeconftest(CONFTEST.format(root=str(ROOT)))

    def run(source: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rs")

    return run


@pytest.mark.prints_identifiers
def test_every_kind_of_leak_fails_its_test(run) -> None:
    result = run("\n\n".join(code.replace("test_it", f"test_{n}") for n, code in enumerate(LEAKS.values())))
    result.assert_outcomes(passed=len(LEAKS), errors=len(LEAKS))


def test_a_test_that_shows_nobody_passes(run) -> None:
    run("def test_it(tmp_path):\n    print('job 1')\n    (tmp_path / 'phi').write_text('CANARY')").assert_outcomes(
        passed=1
    )


@pytest.mark.prints_identifiers
def test_the_marker_opts_out(run) -> None:
    source = "import pytest\n@pytest.mark.prints_identifiers\ndef test_it(): print('CANARY')"
    run(source).assert_outcomes(passed=1)


SKIPS = (
    "import pytest\n@pytest.mark.real_parts\ndef test_peer(): pytest.skip('no Orthanc here')\n"
    "@pytest.mark.shared\ndef test_material(): pytest.skip('no ../shared here')"
)


def test_a_missing_part_is_skipped_and_named(run) -> None:
    result = run(SKIPS)
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["tests with real parts*: 0 passed, 0 failed, 1 skipped", "left out: *no Orthanc here"])


def test_a_missing_part_fails_where_real_parts_are_required(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_REAL_PARTS", "1")
    run(SKIPS).assert_outcomes(failed=1, skipped=1)


def test_a_skipped_file_fails_where_real_parts_are_required(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_REAL_PARTS", "1")
    run("import pytest\npytest.importorskip('no_such_module')").assert_outcomes(errors=1)
