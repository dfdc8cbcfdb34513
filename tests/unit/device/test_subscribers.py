"""How subscriptions are counted, and when a connection has too many."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from pykarabo.device._subscribers import Subscribers
from pykarabo.transport import Connection
from pykarabo.wire import MAX_TOPIC_BYTES, MAX_TOPICS

_ME, _YOU = Connection(1), Connection(2)


def test_a_connection_has_too_many_topics_once() -> None:
    subscribers = Subscribers()
    for number in range(MAX_TOPICS):
        assert subscribers.add(_ME, b"%d" % number) is None
    assert subscribers.add(_YOU, b"a") is None
    reason = subscribers.add(_ME, b"one more")
    assert reason is not None
    assert f"{MAX_TOPICS + 1} topics" in reason
    assert subscribers.add(_ME, b"and another") is None  # it is being ended
    assert subscribers.cut == 1
    subscribers.ended(_ME)
    assert subscribers.topics == 1


def test_long_topics_count_by_their_size_and_what_is_given_up_counts_no_more() -> None:
    subscribers = Subscribers()
    topic = bytes(MAX_TOPIC_BYTES // 2)
    for _ in range(5):
        assert subscribers.add(_ME, topic) is None
        subscribers.remove(_ME, topic)
    subscribers.remove(_ME, topic)  # of which it has none
    subscribers.add(_ME, topic)
    subscribers.add(_ME, topic)
    assert subscribers.add(_ME, b"x") is not None


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["follow", "unfollow", "end"]), st.integers(1, 4), st.sampled_from("ab")
    )
)


@given(_STEPS)
def test_a_stream_is_unused_when_the_last_of_its_followers_is_gone(
    steps: list[tuple[str, int, str]],
) -> None:
    subscribers = Subscribers()
    model: dict[str, set[int]] = defaultdict(set)
    for step, number, stream in steps:
        connection = Connection(number)
        if step == "follow":
            subscribers.follow(connection, stream)
            model[stream].add(number)
        elif step == "unfollow":
            model[stream].discard(number)
            assert subscribers.unfollow(connection, stream) is (not model[stream])
        else:
            left = {name for name in model if number in model[name]}
            for name in left:
                model[name].discard(number)
            assert set(subscribers.ended(connection)) == {n for n in left if not model[n]}
