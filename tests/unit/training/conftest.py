import pytest

from ..store.conftest import Log


@pytest.fixture
def open_log(tmp_path):
    opened = []

    def make(name="router.db", **options):
        opened.append(Log(tmp_path / name, **options))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


@pytest.fixture
def log(open_log):
    return open_log()
