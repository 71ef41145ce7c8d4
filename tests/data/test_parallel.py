import math

import pytest

from reid.data.parallel import MapTasks, map_in_process, map_in_processes


@pytest.mark.parametrize("map_tasks", [map_in_process, map_in_processes(2)], ids=["one process", "two processes"])
def test_results_come_in_the_order_of_the_tasks_and_a_failure_reaches_the_caller(map_tasks: MapTasks) -> None:
    # A function of the standard library: fresh processes need not import the package to find it.
    results = map_tasks(math.sqrt, [9, 1, 16, 4, -1])
    assert [next(results) for _ in range(4)] == [3, 1, 4, 2]
    with pytest.raises(ValueError, match="math domain error"):
        next(results)


def test_no_workers_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="map_in_process"):
        map_in_processes(0)
