import pytest

from deepscan.scoring.pace import Bucket, part_due


def test_many_takers_share_one_rate():
    bucket, now_s, begun_s = Bucket(20.0), [100.0] * 3, []
    while len(begun_s) < 200:
        taker = min(range(3), key=lambda i: now_s[i])
        now_s[taker] += bucket.take(now_s[taker])
        begun_s.append(now_s[taker])
        now_s[taker] += 0.01 * taker
    assert len([s for s in begun_s if s <= 100.0]) == 20, "a second's worth may begin at once"
    begun_s.sort()
    assert 200 / 20 - 1 - 1e-6 <= begun_s[-1] - begun_s[0] <= 200 / 20
    assert all(
        late - early >= 1 - 0.05 - 1e-9 for early, late in zip(begun_s[20:], begun_s[40:], strict=False)
    )


def test_who_pauses_saves_no_more_than_a_second():
    bucket = Bucket(4.0)
    assert [bucket.take(0.0) for _ in range(4)] == [0, 0, 0, 0]
    waits = [bucket.take(1000.0) for _ in range(6)]
    assert waits == [0, 0, 0, 0, 0.25, 0.5]


@pytest.mark.parametrize(
    ("rows", "since_s", "elapsed_s", "due"),
    [
        (0, 99, 99, False),
        (1, 0.9, 1, False),
        (1, 1.0, 1, True),
        (1, 4.9, 100, False),
        (1, 5.0, 100, True),
        (1, 59.0, 1e6, False),
        (1, 60.0, 1e6, True),
        (20_000, 0.0, 1e6, True),
    ],
)
def test_a_part_is_due_after_a_twentieth_of_the_run(rows, since_s, elapsed_s, due):
    assert part_due(rows, since_s, elapsed_s) == due
