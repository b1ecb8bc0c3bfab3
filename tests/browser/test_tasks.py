"""Ten tasks that people come with, each in as few steps as it is promised to take."""

import pytest

from bench.tasks import TASKS, walk

pytestmark = pytest.mark.slow


@pytest.fixture
def site(land):
    return land


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_done_in_few_steps(page, site, task):
    ((_, steps, _),) = walk(page, site.url, site.run, (task,))
    assert steps <= task.steps
