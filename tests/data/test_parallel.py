import pytest

from reid.data.parallel import MapTasks, map_in_process, map_in_processes


def square_up_to_four(number: int) -> int:
    if number > 4:
        raise ZeroDivisionError(f"task {number}")
    return number * number


@pytest.mark.parametrize("map_tasks", [map_in_process, map_in_processes(2)], ids=["one process", "two processes"])
def test_results_come_in_the_order_of_the_tasks_and_a_failure_reaches_the_caller(map_tasks: MapTasks) -> None:
    results = map_tasks(square_up_to_four, [3, 1, 4, 2, 5])
    assert [next(results) for _ in range(4)] == [9, 1, 16, 4]
    with pytest.raises(ZeroDivisionError, match="task 5"):
        next(results)


def test_no_workers_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="map_in_process"):
        map_in_processes(0)
