import inspect
import pickle

import pytest

from deepscan import errors
from deepscan.cli import EXIT_CODES, exit_code
from deepscan.errors import AbstainError, DeepscanError

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
ABSTENTIONS = [kind for kind in TREE if issubclass(kind, AbstainError)]


@pytest.mark.parametrize("kind", TREE)
def test_every_error_keeps_its_message_and_is_caught_at_the_root(kind):
    with pytest.raises(DeepscanError, match="what to do"):
        raise kind("what was given, what is allowed, what to do")


@pytest.mark.parametrize("kind", TREE)
def test_every_error_travels_between_processes(kind):
    there = pickle.loads(pickle.dumps(kind("a message")))
    assert (type(there), str(there)) == (kind, "a message")


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_documented_with_a_sentence(kind):
    assert kind.__doc__.splitlines()[0].endswith(".")


def test_every_abstention_has_a_word_of_its_own():
    reasons = [kind.reason for kind in ABSTENTIONS]
    assert sorted(set(reasons)) == sorted(reasons)
    assert [reason for reason in reasons if not reason.replace("-", "").isalpha()] == []


def test_no_reason_of_an_abstention_reads_like_a_status_of_the_ledger():
    assert {"used", "corrupt"} & {kind.reason for kind in ABSTENTIONS} == set()


@pytest.mark.parametrize("kind", TREE)
def test_every_error_has_an_exit_code_and_only_the_root_is_unexpected(kind):
    code = exit_code(kind("x"))
    assert (code == 1) == (kind is DeepscanError)
    assert 1 <= code < 64


def test_every_branch_of_the_tree_has_its_own_line_in_the_table_of_exit_codes():
    assert set(EXIT_CODES) == {DeepscanError, *DeepscanError.__subclasses__()}


@pytest.mark.parametrize("kind", TREE)
def test_a_more_special_error_exits_like_its_branch(kind):
    branch = next(parent for parent in kind.__mro__ if parent in EXIT_CODES)
    assert exit_code(kind("x")) == EXIT_CODES[branch]
