from collections.abc import Sequence

import pytest
from reid.data.parallel import MapTasks, map_in_process, map_in_processes


def square(number: int) -> int:
    return number * number


def fail_on_three(number: int) -> int:
    if number == 3:
        raise ZeroDivisionError("task three")
    return number


@pytest.mark.parametrize("map_tasks", [map_in_process, map_in_processes(2)], ids=["one process", "two processes"])
class TestMapTasks:
    def test_results_come_in_the_order_of_the_tasks(self, map_tasks: MapTasks) -> None:
        tasks: Sequence[int] = range(20)
        assert list(map_tasks(square, tasks)) == [number * number for number in tasks]

    def test_a_failing_task_raises_in_the_caller(self, map_tasks: MapTasks) -> None:
        with pytest.raises(ZeroDivisionError, match="task three"):
            list(map_tasks(fail_on_three, range(6)))


def test_no_workers_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="map_in_process"):
        map_in_processes(0)
