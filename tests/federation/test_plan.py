"""The plan of a round: positions, repeats, and the names of a task's random streams."""

from orchestrator.federation.plan import ClientTask, RoundPlan


def test_plan_has_a_task_for_each_client_in_the_given_order() -> None:
    plan = RoundPlan.of(4, (7, 1, 3), "probe")
    assert plan.round_idx == 4
    assert [(t.round_idx, t.position, t.client_id, t.kind) for t in plan.tasks] == [
        (4, 0, 7, "probe"),
        (4, 1, 1, "probe"),
        (4, 2, 3, "probe"),
    ]
    assert {t.repeat for t in plan.tasks} == {0}


def test_repeat_counts_earlier_tasks_of_the_same_client() -> None:
    plan = RoundPlan.of(0, (7, 1, 7, 7, 1))
    assert [t.repeat for t in plan.tasks] == [0, 0, 1, 2, 1]


def test_plan_without_clients_has_no_tasks() -> None:
    assert RoundPlan.of(0, ()).tasks == ()


def test_repeated_tasks_have_other_random_streams() -> None:
    first = ClientTask(round_idx=2, position=0, client_id=5)
    again = ClientTask(round_idx=2, position=3, client_id=5, repeat=1)
    assert first.stream_path == ("client", 2, 5)
    assert again.stream_path == ("client", 2, 5, "repeat", 1)


def test_streams_depend_on_neither_position_nor_attempt() -> None:
    first = ClientTask(round_idx=2, position=0, client_id=5)
    retried = ClientTask(round_idx=2, position=4, client_id=5, attempt=2, score=True)
    assert first.stream_path == retried.stream_path
