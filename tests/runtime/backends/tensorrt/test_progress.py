from __future__ import annotations

import threading

import pytest

from runtime.backends.tensorrt.progress import Progress, create_monitor, run_with_bar
from tests.runtime.backends.tensorrt.tensorrt_double import make_tensorrt


def test_inner_phases_fill_the_step_of_their_parent():
    progress = Progress()
    assert progress.fraction() == (0.0, "")
    progress.start("build", None, 4)
    progress.step("build", 0)
    assert progress.fraction() == (0.25, "build")
    progress.start("tactics", "build", 10)
    progress.step("tactics", 4)
    assert progress.fraction() == (0.25 + 0.25 * 5 / 10, "tactics")
    progress.finish("tactics")
    progress.step("build", 3)
    assert progress.fraction() == (1.0, "build")
    progress.finish("build")
    assert progress.fraction() == (0.0, "")


def test_odd_reports_do_no_harm():
    progress = Progress()
    progress.start("build", None, 0)
    assert progress.step("never started", 3)
    progress.step("build", 9)
    assert progress.fraction() == (1.0, "build")
    progress.finish("never started")


def test_the_monitor_hands_on_what_tensorrt_reports():
    progress = Progress()
    monitor = create_monitor(make_tensorrt("10.3.0"), progress)
    monitor.phase_start("build", None, 2)
    assert monitor.step_complete("build", 0) is True
    assert progress.fraction() == (0.5, "build")
    progress.stop()
    assert monitor.step_complete("build", 1) is False
    monitor.phase_finish("build")
    assert progress.fraction() == (0.0, "")


def test_the_build_runs_beside_the_main_thread_and_its_result_and_errors_come_back():
    threads = []
    assert run_with_bar(lambda: threads.append(threading.current_thread()) or 7, Progress()) == 7
    assert threads[0] is not threading.current_thread()

    def fail():
        raise MemoryError

    with pytest.raises(MemoryError):
        run_with_bar(fail, Progress())


def test_ctrl_c_waits_until_the_build_has_stopped(monkeypatch):
    progress, stopped = Progress(), threading.Event()

    def build():
        while progress.step("build", 0):
            threading.Event().wait(0.01)
        stopped.set()

    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("runtime.backends.tensorrt.progress.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_with_bar(build, progress)
    assert stopped.is_set()
