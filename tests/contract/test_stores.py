"""Every store meets the contract; and a broken one is found."""

from pathlib import Path

import pytest

from router_sdk.store.sqlite import SQLiteEngine, SQLiteWriting
from router_sdk.testing import STORE_CHECKS, StoreTrial, check_store


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_sqlite_meets_the_contract(check, tmp_path):
    with StoreTrial(str(tmp_path / "router.db"), tmp_path) as trial:
        check(trial)


@pytest.mark.services
@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_postgresql_meets_the_contract(check, store_url, tmp_path):
    with StoreTrial(store_url, tmp_path) as trial:
        check(trial)


@pytest.mark.services
@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_postgresql_in_partitions_meets_the_contract(check, store_url, tmp_path):
    with StoreTrial(f"{store_url}&partition_days=7", tmp_path) as trial:
        check(trial)


class Forgetful(SQLiteWriting):
    """Says that all is on disk, and takes it back."""

    def transact(self, work, deadline, first):
        kept = []

        def lost(connection, found):
            kept.append(work(connection, found))
            raise KeyError

        try:
            super().transact(lost, deadline, first)
        except KeyError:
            return kept[0]


class Forgetting(SQLiteEngine):
    """A file by a URL, of which nothing is kept."""

    name = "forgetting"

    @classmethod
    def of(cls, url, schema):
        return cls(Path(url.removeprefix("forgetting://")))

    def writing(self, *, durable=True):
        return Forgetful(self._file, durable=durable)


def test_a_store_that_forgets_is_found(tmp_path):
    with pytest.raises(AssertionError, match="breaks the promise that values come back to the last bit"):
        check_store(f"forgetting://{tmp_path}/{{}}.db", engines={"forgetting": Forgetting})
